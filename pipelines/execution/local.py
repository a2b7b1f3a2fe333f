"""Pieces of work in a loop in this process, one after the other.

Nothing protects the run from a piece that crashes, hangs or runs out of memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pipelines.execution.task import Piece, Result, Task


def run_locally(task: Task[Piece, Result], pieces: Iterable[Piece]) -> Iterator[tuple[Piece, Result]]:
    """Yield each piece with its result, in order; an exception of the function ends the loop."""
    for piece in pieces:
        yield piece, task.function(piece)
