"""Frames that arrive in blocks and are read by their number: what lets a long speech be animated in
the memory of a short one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np


class StreamBuffer:
    """Blocks of frames, pulled only as far as somebody reads. Frames that nobody needs any more are
    let go.

    Args:
        blocks: arrays with the frame axis first.
    """

    def __init__(self, blocks: Iterable[np.ndarray]) -> None:
        self._arriving = iter(blocks)
        self._kept: list[np.ndarray] = []
        self._start = 0  # of what is kept
        self._stop = 0  # of what has arrived

    def has(self, frame: int) -> bool:
        """Whether there is such a frame, or was."""
        self._pull(frame + 1)
        return frame < self._stop

    def read(self, start: int, stop: int) -> np.ndarray:
        """Frames start … stop, fewer past the end. The first of them must exist.

        Raises:
            IndexError: for a first frame that does not, or was let go.
        """
        if not (self.has(start) and self._start <= start):
            raise IndexError(f"frame {start} is not among the frames {self._start} to {self._stop} of the tape")
        self._pull(stop)
        if len(self._kept) > 1:
            self._kept = [np.concatenate(self._kept)]
        return self._kept[0][start - self._start : stop - self._start]

    def last(self) -> np.ndarray:
        """The very last frame, with its axis; everything before it is pulled."""
        while self.has(self._stop):
            pass
        return self._kept[-1][-1:]

    def blocks(self) -> Iterator[np.ndarray]:
        """All that is kept and still arrives. Who reads them takes them off the tape."""
        yield from self._kept
        yield from self._arriving

    def forget(self, before: int) -> None:
        """Let go of frames before this one; the last that has arrived stays."""
        if self._kept and before > self._start:
            joined = np.concatenate(self._kept) if len(self._kept) > 1 else self._kept[0]
            dropped = min(before - self._start, len(joined) - 1)
            self._kept, self._start = [joined[dropped:]], self._start + dropped

    def _pull(self, stop: int) -> None:
        while self._stop < stop:
            block = next(self._arriving, None)
            if block is None:
                return
            if len(block):
                self._kept.append(block)
                self._stop += len(block)
