"""How we ask decord: open, pick frames or stream them, and its several kinds of error turned into
ours.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from a2h_models.errors import MediaError

MAIN_MEMORY = (1, 0)  # DLPack's device


def open_reader(source: Path | bytes, *, name: str, size: tuple[int, int] | None = None) -> Any:
    """A reader of decord; `size` (width, height) has the decoder scale every picture.

    Open it in the process that reads: one opened before a fork hangs in the child.

    Raises:
        MediaError: `unreadable`.
    """
    import decord

    decord.logging.set_level(decord.logging.QUIET)
    scale = {} if size is None else {"width": size[0], "height": size[1]}
    try:
        return decord.VideoReader(
            io.BytesIO(source) if isinstance(source, bytes) else str(source), num_threads=1, **scale
        )
    except (decord.DECORDError, RuntimeError) as error:  # the first is no RuntimeError, and opening raises the second
        raise MediaError(f"{name}: cannot be opened ({_first_line(error)})") from None


def pick(reader: Any, indices: Sequence[int] | np.ndarray, *, name: str) -> UInt8[np.ndarray, "k h w 3"]:
    """Frames in the order asked for, repeats included; each is decoded once. All at once: for small
    pictures.

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


def stream(reader: Any, indices: Iterable[int], *, name: str) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """Frames one by one, for indices that never fall; the same index twice gives the same picture
    twice. Not to be written into.

    A picture is handed on in the decoder's own memory. Batches are allocated and copied twice: 32
    frames of 720p in one took twice the time and ten times the memory.

    Raises:
        MediaError: `unreadable` if the decoder gives up.
    """
    import decord

    here, picture = -1, None  # the index of the picture at hand
    for index in map(int, indices):
        try:
            if picture is None:
                reader.seek_accurate(index)
            elif index > here + 1:
                reader.skip_frames(index - here - 1)
            if picture is None or index > here:
                here, picture = index, np.from_dlpack(_Lent(reader.next()))
        except StopIteration:
            raise MediaError(f"{name}: the decoder found no frame {index}") from None
        except (decord.DECORDError, RuntimeError) as error:
            raise MediaError(f"{name}: the decoder gave up at frame {index} ({_first_line(error)})") from None
        yield picture


class _Lent:
    """A picture of decord as numpy takes it without copying: decord knows DLPack, but not numpy's
    way to ask for it.
    """

    def __init__(self, picture: Any) -> None:
        self._picture = picture

    def __dlpack__(self, **_: object) -> Any:
        return self._picture.to_dlpack()

    def __dlpack_device__(self) -> tuple[int, int]:
        return MAIN_MEMORY


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]
