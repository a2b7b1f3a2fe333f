"""Prefetching: items in order, exceptions in their place, and no thread left behind."""

import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.inference.prefetch import prefetch


def thread_names() -> list[str]:
    return [thread.name for thread in threading.enumerate()]


@given(st.lists(st.integers()), st.integers(1, 4))
def test_items_keep_their_order(items: list[int], count: int) -> None:
    assert list(prefetch(iter(items), count=count)) == items


def test_an_error_comes_after_the_items_before_it() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise ValueError("two")

    stream = prefetch(broken())
    assert next(stream) == 1
    with pytest.raises(ValueError, match="two"):
        next(stream)
    assert "a2h-prefetch" not in thread_names()


def test_it_stays_a_bounded_number_of_items_ahead() -> None:
    produced, enough = [], threading.Event()

    def items() -> Iterator[int]:
        for number in range(100):
            produced.append(number)
            if number == 3:
                enough.set()
            yield number

    stream = prefetch(items(), count=2)
    next(stream)
    assert enough.wait(10)  # without another item read, two wait in the queue and one is about to be put
    assert len(produced) == 4
    stream.close()
    assert "a2h-prefetch" not in thread_names()


def test_closing_the_generator_closes_the_iterator() -> None:
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
