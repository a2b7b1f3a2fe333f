"""Work that runs in a thread and is listened to: for a caller that must answer while somebody else
pulls the strings.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

Word = TypeVar("Word")


@dataclass(frozen=True)
class _End:
    error: BaseException | None


class NobodyListens(Exception):  # noqa: N818  no error: it only ends the work, and is never seen outside
    """Raised inside the work when it speaks and its listener has left."""


def follow(work: Callable[[Callable[[Word], None]], None]) -> Iterator[Word]:
    """What `work` says, as it says it; its exception comes at the end. If the listener leaves, the
    work ends at its next word.

    Args:
        work: is given the function to speak with.
    """
    said: queue.SimpleQueue[Word | _End] = queue.SimpleQueue()
    left = threading.Event()
    worker = threading.Thread(target=_run, args=(work, said, left), name="a2h-follow", daemon=True)
    worker.start()
    try:
        while not isinstance(word := said.get(), _End):
            yield word
        if word.error is not None:
            raise word.error
    finally:
        left.set()
        worker.join()


def _run(
    work: Callable[[Callable[[Word], None]], None], said: queue.SimpleQueue[Word | _End], left: threading.Event
) -> None:
    def say(word: Word) -> None:
        if left.is_set():
            raise NobodyListens
        said.put(word)

    error: BaseException | None = None
    try:
        work(say)
    except NobodyListens:
        pass
    except BaseException as caught:  # noqa: BLE001  it is raised again where the words are heard
        error = caught
    said.put(_End(error))
