"""Seconds are added up by step, also of steps that raise."""

import pytest

from pipelines.core.timing import Stopwatch


def test_seconds_are_added_up_by_step() -> None:
    stopwatch = Stopwatch()
    with stopwatch("decode"):
        pass
    first = stopwatch.seconds["decode"]
    with pytest.raises(ValueError, match="stop"), stopwatch("decode"):
        raise ValueError("stop")
    assert stopwatch.seconds["decode"] > first > 0
