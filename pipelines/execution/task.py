"""A function, and how it is run over pieces of work."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

Piece = TypeVar("Piece")
Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class Task(Generic[Piece, Result]):
    """A function for one piece of work, and how pieces are named, counted and isolated."""

    function: Callable[[Piece], Result]
    """A plain, picklable function of one piece."""

    describe: str
    """Name of the work in the progress and in messages: `building shards`."""

    key: Callable[[Piece], str]
    """Name of a piece, for messages."""

    tally: Callable[[Result], Mapping[str, int]] | None = None
    """Counts of a result, by name, which are added up beside the progress."""

    hours: Callable[[Piece], float] | None = None
    """Hours of video in a piece."""

    isolated: bool = False
    """Run the function in a process of its own (`sandbox`).

    That process may crash, exceed `config.memory_mb_per_worker`, or report nothing for
    `config.timeout_s`: a Failure that names what was worked on. Otherwise the worker itself dies,
    and `config.timeout_s` is the limit of a whole piece.
    """

    retries: int | None = None
    """How often an isolated piece that crashed is tried again; None: `config.max_retries`."""
