"""A task travels to workers as it is."""

import pickle
from dataclasses import FrozenInstanceError

import pytest

from pipelines.execution.task import Task


def length(word: str) -> int:
    return len(word)


def test_a_task_survives_pickling() -> None:
    task = Task(function=length, describe="counting", key=str.lower, hours=float, isolated=True, retries=2)
    copy = pickle.loads(pickle.dumps(task))
    assert copy == task
    assert (copy.function("four"), copy.key("A")) == (4, "a")


def test_by_default_a_task_runs_in_the_worker_and_counts_nothing() -> None:
    task = Task(function=length, describe="counting", key=str)
    assert (task.isolated, task.retries, task.tally, task.hours) == (False, None, None, None)


def test_a_task_cannot_be_changed() -> None:
    task = Task(function=length, describe="counting", key=str)
    with pytest.raises(FrozenInstanceError):
        task.isolated = True  # type: ignore[misc]
