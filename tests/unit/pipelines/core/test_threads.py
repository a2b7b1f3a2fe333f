"""Items come in order, errors after the items before them, and no thread outlives its reader."""

import itertools
import threading
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.core.threads import THREAD_NAME, items_from_thread, prefetch


def thread_names() -> list[str]:
    return [thread.name for thread in threading.enumerate()]


@given(st.lists(st.integers()), st.integers(1, 4))
def test_prefetch_keeps_items_and_order(items: list[int], count: int) -> None:
    assert list(prefetch(iter(items), count=count)) == items


def test_prefetch_raises_after_the_items_before_the_error() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise ValueError("two")

    stream = prefetch(broken())
    assert next(stream) == 1
    with pytest.raises(ValueError, match="two"):
        next(stream)
    assert THREAD_NAME not in thread_names()


def test_prefetch_stays_within_its_bound() -> None:
    read, enough = [], threading.Event()

    def items() -> Iterator[int]:
        for number in range(100):
            read.append(number)
            if number == 3:
                enough.set()
            yield number

    stream = prefetch(items(), count=2)
    next(stream)
    assert enough.wait(10)  # without another item read, two wait in the queue and one in the thread
    assert len(read) == 4
    stream.close()
    assert THREAD_NAME not in thread_names()


def test_closing_prefetch_closes_the_iterable() -> None:
    closed = []

    def items() -> Iterator[int]:
        try:
            while True:
                yield 0
        finally:
            closed.append(True)

    stream = prefetch(items())
    next(stream)
    stream.close()
    assert closed == [True]


def test_emitted_items_come_in_order() -> None:
    def count(send: Callable[[int], None]) -> None:
        for number in range(100):
            send(number)

    assert list(items_from_thread(count)) == list(range(100))


def test_an_error_comes_after_the_emitted_items() -> None:
    def fail(send: Callable[[str], None]) -> None:
        send("one")
        raise ValueError("two")

    messages = items_from_thread(fail)
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

    messages = items_from_thread(count)
    assert next(messages) == 0
    messages.close()  # comes back when the work has ended
    assert ended.is_set()
