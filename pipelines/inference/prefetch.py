"""The networks beside the encoder: an iterator runs in a thread of its own, a few items ahead of
who reads it.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import TypeVar

Item = TypeVar("Item")

AHEAD = 3  # batches that wait for the encoder; more would only be memory
POLL_S = 0.1  # how often a full queue is tried again, and a reader who left is noticed


@dataclass(frozen=True)
class _End:
    error: BaseException | None


def ahead(items: Iterable[Item], *, count: int = AHEAD) -> Iterator[Item]:
    """The same items in the same order; an exception comes where it belongs.

    Who stops reading stops the thread.
    """
    ready: queue.Queue[Item | _End] = queue.Queue(maxsize=count)
    left = threading.Event()
    worker = threading.Thread(target=_fill, args=(items, ready, left), name="a2h-ahead", daemon=True)
    worker.start()
    try:
        while not isinstance(item := ready.get(), _End):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        left.set()
        worker.join()


def _fill(items: Iterable[Item], ready: queue.Queue[Item | _End], left: threading.Event) -> None:
    error: BaseException | None = None
    try:
        with closing(_generator(items)) as running:
            for item in running:
                if not _put(ready, item, left):
                    return
    except BaseException as caught:  # noqa: BLE001  it is raised again where the items are read
        error = caught
    _put(ready, _End(error), left)


def _generator(items: Iterable[Item]) -> Generator[Item]:
    yield from items


def _put(ready: queue.Queue[Item | _End], item: Item | _End, left: threading.Event) -> bool:
    while not left.is_set():
        try:
            ready.put(item, timeout=POLL_S)
        except queue.Full:
            continue
        return True
    return False
