"""Results of clips, kept beside the report until it is written: an interrupted evaluation goes on where it stopped."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, replace

import numpy as np

from pipelines.evaluation.clips import NO_PICTURE, ClipResult
from pipelines.storage import Storage

FOLDER = "unfinished"


class Diary:
    """The results of one evaluation so far.

    Args:
        out: where its report will be.
        parents: what the results depend on; kept ones count only for the same.
    """

    def __init__(self, out: Storage, parents: Sequence[str]) -> None:
        self._out = out
        self._folder = f"{FOLDER}/{hashlib.sha256(json.dumps(list(parents)).encode()).hexdigest()[:16]}"

    def keep(self, result: ClipResult) -> None:
        values = asdict(replace(result, strip=NO_PICTURE)) | {"strip": _packed(result.strip)}
        self._out.publish(self._name(result.key), json.dumps(values).encode())

    def find(self, key: str) -> ClipResult | None:
        """The result of a clip, if it was kept."""
        name = self._name(key)
        if not self._out.exists(name):
            return None
        values = json.loads(self._out.read(name))
        return ClipResult(**values | {"strip": _unpacked(values["strip"])})

    def close(self) -> None:
        """Throw everything away, also what earlier evaluations to the same folder left."""
        for name in self._out.files(f"{FOLDER}/**"):
            self._out.remove(name)

    def _name(self, key: str) -> str:
        return f"{self._folder}/{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"


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
