"""Iterators whose items are computed in a thread of their own."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import TypeVar

Item = TypeVar("Item")

PREFETCH = 3  # items that wait for their reader: batches of frames for the encoder; more would only be memory
POLL_S = 0.1  # how often a full queue is tried again, and whether the reader has stopped is checked
THREAD_NAME = "a2h-items"


@dataclass(frozen=True)
class _End:
    error: BaseException | None


class ReaderStoppedError(Exception):
    """Raised in the thread, where it emits an item, once its reader has stopped; never seen outside."""


def prefetch(items: Iterable[Item], *, count: int = PREFETCH) -> Iterator[Item]:
    """Read an iterable in a thread, up to `count` items ahead of the reader, in order.

    An exception of the iterable is raised after the items before it. If the reader closes the
    iterator, the iterable is closed and the thread ends.
    """

    def read(emit: Callable[[Item], None]) -> None:
        with closing(_generator(items)) as running:
            for item in running:
                emit(item)

    return items_from_thread(read, max_waiting=count)


def _generator(items: Iterable[Item]) -> Generator[Item]:
    yield from items


def items_from_thread(work: Callable[[Callable[[Item], None]], None], *, max_waiting: int = 0) -> Iterator[Item]:
    """Run `work` in a thread and give the items that it emits, in order.

    An exception of the work is raised after the items before it. If the reader closes the iterator,
    the work ends at the next item that it emits, and the thread with it.

    Args:
        work: is called with the function that emits an item.
        max_waiting: items that may wait for the reader before `emit` blocks; 0 is no limit.
    """
    items: queue.Queue[Item | _End] = queue.Queue(maxsize=max_waiting)
    stopped = threading.Event()
    thread = threading.Thread(target=_run, args=(work, items, stopped), name=THREAD_NAME, daemon=True)
    thread.start()
    try:
        while not isinstance(item := items.get(), _End):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        stopped.set()
        thread.join()


def _run(
    work: Callable[[Callable[[Item], None]], None], items: queue.Queue[Item | _End], stopped: threading.Event
) -> None:
    def emit(item: Item | _End) -> None:
        while not stopped.is_set():
            if _put(items, item):
                return
        raise ReaderStoppedError

    error: BaseException | None = None
    try:
        work(emit)
    except BaseException as caught:  # noqa: BLE001  raised again where the items are read
        error = caught
    with suppress(ReaderStoppedError):
        emit(_End(error))


def _put(items: queue.Queue[Item | _End], item: Item | _End) -> bool:
    """Whether the item found room within a while."""
    try:
        items.put(item, timeout=POLL_S)
    except queue.Full:
        return False
    return True
