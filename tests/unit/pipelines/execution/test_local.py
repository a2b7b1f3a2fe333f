"""The local loop gives results in order, one piece at a time, and ends with the first error."""

import pytest

from a2h_models.errors import InputError
from pipelines.execution.local import run_locally
from pipelines.execution.task import Task


def test_each_piece_comes_with_its_result_in_order() -> None:
    task = Task(function=len, describe="counting", key=str)
    assert list(run_locally(task, ["ccc", "a", "bb"])) == [("ccc", 3), ("a", 1), ("bb", 2)]


def test_no_piece_is_computed_before_it_is_asked_for() -> None:
    computed: list[int] = []
    results = run_locally(Task(function=computed.append, describe="noting", key=str), iter(range(9)))
    assert computed == []
    next(results)
    assert computed == [0]


def test_an_error_ends_the_loop() -> None:
    computed: list[int] = []

    def compute(piece: int) -> int:
        computed.append(piece)
        if piece == 2:
            raise InputError("2.mp4 is not a video")
        return piece

    with pytest.raises(InputError, match=r"2\.mp4"):
        list(run_locally(Task(function=compute, describe="computing", key=str), [1, 2, 3]))
    assert computed == [1, 2]
