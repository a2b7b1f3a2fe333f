"""Beside the reader: the same items, errors where they belong, and no thread that stays."""

import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.inference.prefetch import ahead


def names() -> list[str]:
    return [thread.name for thread in threading.enumerate()]


@given(st.lists(st.integers()), st.integers(1, 4))
def test_the_same_items_in_order(items: list[int], count: int) -> None:
    assert list(ahead(iter(items), count=count)) == items


def test_an_error_comes_after_the_items_before_it() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise ValueError("two")

    stream = ahead(broken())
    assert next(stream) == 1
    with pytest.raises(ValueError, match="two"):
        next(stream)
    assert "a2h-ahead" not in names()


def test_it_works_while_the_reader_does_and_not_too_far() -> None:
    made, enough = [], threading.Event()

    def items() -> Iterator[int]:
        for number in range(100):
            made.append(number)
            if number == 3:
                enough.set()
            yield number

    stream = ahead(items(), count=2)
    next(stream)
    assert enough.wait(10)  # without another item read, two wait in the queue and one in the hand
    assert len(made) == 4
    stream.close()
    assert "a2h-ahead" not in names()


def test_who_leaves_early_closes_the_items() -> None:
    closed = []

    def items() -> Iterator[int]:
        try:
            while True:
                yield 0
        finally:
            closed.append(True)

    stream = ahead(items())
    next(stream)
    stream.close()
    assert closed == [True]
