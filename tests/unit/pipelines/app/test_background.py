"""Background work: messages in order, and an end when the iterator is closed."""

import itertools
import threading
from collections.abc import Callable

import pytest

from pipelines.app.background import run_in_background


def test_messages_come_in_order() -> None:
    def count(send: Callable[[int], None]) -> None:
        for number in range(100):
            send(number)

    assert list(run_in_background(count)) == list(range(100))


def test_an_error_comes_after_the_messages_before_it() -> None:
    def fail(send: Callable[[str], None]) -> None:
        send("one")
        raise ValueError("two")

    messages = run_in_background(fail)
    assert next(messages) == "one"
    with pytest.raises(ValueError, match="two"):
        next(messages)


def test_closing_the_iterator_ends_the_work() -> None:
    ended = threading.Event()

    def count(send: Callable[[int], None]) -> None:
        try:
            for number in itertools.count():
                send(number)
        finally:
            ended.set()

    messages = run_in_background(count)
    assert next(messages) == 0
    messages.close()  # comes back when the work has ended
    assert ended.is_set()
