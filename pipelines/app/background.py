"""Run a function in a thread and receive its messages as an iterator."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

Message = TypeVar("Message")


@dataclass(frozen=True)
class _End:
    error: BaseException | None


class ClientDisconnected(Exception):  # noqa: N818  no error: it only ends the work, and never leaves this module
    """Raised inside the work when it sends a message and the iterator was closed."""


def run_in_background(work: Callable[[Callable[[Message], None]], None]) -> Iterator[Message]:
    """Yield the messages of `work`, which runs in a thread of its own.

    An exception of the work is raised after its last message. If the iterator is closed, the work
    ends when it sends its next message.

    Args:
        work: is called with a function that sends a message.
    """
    messages: queue.SimpleQueue[Message | _End] = queue.SimpleQueue()
    closed = threading.Event()
    worker = threading.Thread(target=_run, args=(work, messages, closed), name="a2h-background", daemon=True)
    worker.start()
    try:
        while not isinstance(message := messages.get(), _End):
            yield message
        if message.error is not None:
            raise message.error
    finally:
        closed.set()
        worker.join()


def _run(
    work: Callable[[Callable[[Message], None]], None],
    messages: queue.SimpleQueue[Message | _End],
    closed: threading.Event,
) -> None:
    def send(message: Message) -> None:
        if closed.is_set():
            raise ClientDisconnected
        messages.put(message)

    error: BaseException | None = None
    try:
        work(send)
    except ClientDisconnected:
        pass
    except BaseException as caught:  # noqa: BLE001  it is raised again where the messages are read
        error = caught
    messages.put(_End(error))
