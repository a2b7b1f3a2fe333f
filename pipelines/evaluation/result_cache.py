"""Results of clips, stored beside the report until it is written.

An interrupted evaluation goes on where it stopped.
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
from pipelines.evaluation.clips import NO_STRIP, ClipResult

FOLDER_DIGITS, NAME_DIGITS = 16, 32  # of the hashes in names
FOLDER = "unfinished"
FEATURES_SUFFIX = ".npz"

FeatureSamples = dict[str, dict[str, np.ndarray]]  # row → metric → samples


class ResultCache:
    """The results of one evaluation so far.

    Args:
        out: where its report will be.
        dependencies: what the results depend on; stored ones count only for equal ones.
    """

    def __init__(self, out: Storage, dependencies: Sequence[str]) -> None:
        self._out = out
        self._folder = f"{FOLDER}/{sha256_of_json(list(dependencies), digits=FOLDER_DIGITS)}"

    def put(self, result: ClipResult) -> None:
        """Store the result of a clip."""
        values = asdict(replace(result, strip=NO_STRIP, features={})) | {"strip": _encode_png(result.strip)}
        if any(result.features.values()):
            self._out.publish(self._name(result.key, FEATURES_SUFFIX), _encode_npz(result.features))
        self._out.publish(self._name(result.key), json.dumps(values).encode())

    def get(self, key: str) -> ClipResult | None:
        """Load the result of a clip, if it is stored; without features, which are large."""
        name = self._name(key)
        if not self._out.exists(name):
            return None
        values = json.loads(self._out.read(name))
        return ClipResult(**values | {"strip": _decode_png(values["strip"])})

    def get_features(self, key: str) -> FeatureSamples:
        """Load what metrics of sets compare, of a stored clip; empty where there is nothing."""
        name = self._name(key, FEATURES_SUFFIX)
        if not self._out.exists(name):
            return {}
        features: FeatureSamples = {}
        with np.load(io.BytesIO(self._out.read(name)), allow_pickle=False) as file:
            for entry in file.files:
                row, _, metric = entry.rpartition("/")
                features.setdefault(row, {})[metric] = file[entry]
        return features

    def clear(self) -> None:
        """Delete everything, also what earlier evaluations with this output folder left."""
        self._out.remove_folder(FOLDER)

    def _name(self, key: str, suffix: str = ".json") -> str:
        return f"{self._folder}/{sha256_of_text(key, digits=NAME_DIGITS)}{suffix}"


def _encode_npz(features: FeatureSamples) -> bytes:
    arrays: dict[str, Any] = {
        f"{row}/{metric}": values for row, metrics in features.items() for metric, values in metrics.items()
    }
    data = io.BytesIO()
    np.savez(data, **arrays)
    return data.getvalue()


def _encode_png(strip: np.ndarray) -> str:
    from PIL import Image

    if not strip.size:
        return ""
    data = io.BytesIO()
    Image.fromarray(strip).save(data, format="PNG")
    return base64.b64encode(data.getvalue()).decode()


def _decode_png(text: str) -> np.ndarray:
    from PIL import Image

    if not text:
        return NO_STRIP
    with Image.open(io.BytesIO(base64.b64decode(text))) as picture:
        return np.asarray(picture)
