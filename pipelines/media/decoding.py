"""How we ask decord: open, pick frames, and its several kinds of error turned into ours."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from a2h_models.errors import MediaError


def open_reader(source: Path | bytes, *, name: str, size: int | None = None) -> Any:
    """A reader of decord; `size` scales every picture to a square of that side.

    Open it in the process that reads: one opened before a fork hangs in the child.

    Raises:
        MediaError: `unreadable`.
    """
    import decord

    decord.logging.set_level(decord.logging.QUIET)
    scale = {} if size is None else {"width": size, "height": size}
    try:
        return decord.VideoReader(io.BytesIO(source) if isinstance(source, bytes) else str(source), num_threads=1, **scale)
    except (decord.DECORDError, RuntimeError) as error:  # the first is no RuntimeError, and opening raises the second
        raise MediaError(f"{name}: cannot be opened ({_first_line(error)})") from None


def pick(reader: Any, indices: Sequence[int] | np.ndarray, *, name: str) -> UInt8[np.ndarray, "k h w 3"]:
    """Frames in the order asked for, repeats included; each is decoded once.

    Raises:
        MediaError: `unreadable` if the decoder gives up.
    """
    import decord

    once, back = np.unique(np.asarray(indices, np.int64), return_inverse=True)
    try:
        batch: np.ndarray = reader.get_batch(once.tolist()).asnumpy()
    except (decord.DECORDError, RuntimeError) as error:
        raise MediaError(f"{name}: the decoder gave up at frames {once[0]}–{once[-1]} ({_first_line(error)})") from None
    return batch if np.array_equal(back, np.arange(len(batch))) else batch[back]


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]
