"""Run an iterator in a thread of its own, a few items ahead of its reader.

The networks compute the next frames while the encoder writes the last ones.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import TypeVar

Item = TypeVar("Item")

PREFETCH_COUNT = 3  # batches that wait for the encoder; more would only cost memory
POLL_S = 0.1  # seconds between two tries to put into a full queue; each try notices a closed reader


@dataclass(frozen=True)
class _End:
    error: BaseException | None


def prefetch(items: Iterable[Item], *, count: int = PREFETCH_COUNT) -> Iterator[Item]:
    """Yield the items in order from a background thread.

    An exception of the iterator is raised after the items before it. Closing the generator stops
    the thread.
    """
    buffer: queue.Queue[Item | _End] = queue.Queue(maxsize=count)
    stopped = threading.Event()
    worker = threading.Thread(target=_fill_queue, args=(items, buffer, stopped), name="a2h-prefetch", daemon=True)
    worker.start()
    try:
        while not isinstance(item := buffer.get(), _End):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        stopped.set()
        worker.join()


def _fill_queue(items: Iterable[Item], buffer: queue.Queue[Item | _End], stopped: threading.Event) -> None:
    error: BaseException | None = None
    try:
        with closing(_as_generator(items)) as generator:
            for item in generator:
                if not _put(buffer, item, stopped):
                    return
    except BaseException as caught:  # noqa: BLE001  it is raised again where the items are read
        error = caught
    _put(buffer, _End(error), stopped)


def _as_generator(items: Iterable[Item]) -> Generator[Item]:
    yield from items


def _put(buffer: queue.Queue[Item | _End], item: Item | _End, stopped: threading.Event) -> bool:
    while not stopped.is_set():
        try:
            buffer.put(item, timeout=POLL_S)
        except queue.Full:
            continue
        return True
    return False
