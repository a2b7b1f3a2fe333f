"""SIGTERM as Ctrl-C: what a cluster's scheduler sends before it kills, answered in the same clean
way.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Terminated(KeyboardInterrupt):
    """The process was asked to end.

    A KeyboardInterrupt, so that whoever cleans up after Ctrl-C cleans up here.
    """


@contextmanager
def terminated_cleanly() -> Iterator[None]:
    """While the block lasts, SIGTERM raises `Terminated` in the main thread.

    Nothing changes in another thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked = False

    def end(*_: int | FrameType | None) -> None:
        nonlocal asked
        asked = True
        raise Terminated

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    except KeyboardInterrupt:
        if asked:  # Ray makes a KeyboardInterrupt of its own of whatever ends its waiting
            raise Terminated from None
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
