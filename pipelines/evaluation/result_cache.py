"""Results of clips, kept beside the report until it is written: an interrupted evaluation goes on
where it stopped.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from pipelines.core.hashing import sha256_of_json, sha256_of_text
from pipelines.core.storage import Storage
from pipelines.evaluation.clips import NO_PICTURE, ClipResult

FOLDER_DIGITS, NAME_DIGITS = 16, 32  # of the hashes in names
FOLDER = "unfinished"
FEATURES = ".npz"

FeatureSamples = dict[str, dict[str, np.ndarray]]  # row → metric → samples


class ResultCache:
    """The results of one evaluation so far.

    Args:
        out: where its report will be.
        parents: what the results depend on; kept ones count only for the same.
    """

    def __init__(self, out: Storage, parents: Sequence[str]) -> None:
        self._out = out
        self._folder = f"{FOLDER}/{sha256_of_json(list(parents), digits=FOLDER_DIGITS)}"

    def keep(self, result: ClipResult) -> None:
        values = asdict(replace(result, strip=NO_PICTURE, features={})) | {"strip": _packed(result.strip)}
        if any(result.features.values()):
            self._out.publish(self._name(result.key, FEATURES), _archive(result.features))
        self._out.publish(self._name(result.key), json.dumps(values).encode())

    def find(self, key: str) -> ClipResult | None:
        """The result of a clip, if it was kept; without features, which are large."""
        name = self._name(key)
        if not self._out.exists(name):
            return None
        values = json.loads(self._out.read(name))
        return ClipResult(**values | {"strip": _unpacked(values["strip"])})

    def features(self, key: str) -> FeatureSamples:
        """What metrics of sets compare, of a clip that was kept; nothing where there are none."""
        name = self._name(key, FEATURES)
        if not self._out.exists(name):
            return {}
        found: FeatureSamples = {}
        with np.load(io.BytesIO(self._out.read(name)), allow_pickle=False) as file:
            for entry in file.files:
                row, _, metric = entry.rpartition("/")
                found.setdefault(row, {})[metric] = file[entry]
        return found

    def close(self) -> None:
        """Throw everything away, also what earlier evaluations to the same folder left."""
        self._out.remove_folder(FOLDER)

    def _name(self, key: str, suffix: str = ".json") -> str:
        return f"{self._folder}/{sha256_of_text(key, digits=NAME_DIGITS)}{suffix}"


def _archive(features: FeatureSamples) -> bytes:
    arrays: dict[str, Any] = {
        f"{row}/{metric}": values for row, metrics in features.items() for metric, values in metrics.items()
    }
    data = io.BytesIO()
    np.savez(data, **arrays)
    return data.getvalue()


def _packed(strip: np.ndarray) -> str:
    from PIL import Image

    if not strip.size:
        return ""
    data = io.BytesIO()
    Image.fromarray(strip).save(data, format="PNG")
    return base64.b64encode(data.getvalue()).decode()


def _unpacked(text: str) -> np.ndarray:
    from PIL import Image

    if not text:
        return NO_PICTURE
    with Image.open(io.BytesIO(base64.b64decode(text))) as picture:
        return np.asarray(picture)
