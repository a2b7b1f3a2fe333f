"""How far the work is, in numbers and in a log."""

from __future__ import annotations

import itertools

import pytest

from pipelines.core import progress
from pipelines.core.progress import Progress, duration, shown


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass only when a test says so."""
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_pace_time_left_and_hours_of_video_an_hour(clock):
    moving = Progress(describe="building", total=10, done=4, hours=2.0, started=clock[0])
    clock[0] += 1800
    assert moving.per_second == pytest.approx(4 / 1800)
    assert moving.hours_per_hour == pytest.approx(4.0)
    assert moving.left_s == pytest.approx(2700)
    moving.counts.update({"no_face": 1, "accepted": 5})
    assert str(moving) == "building: 4/10 (40 %), 0.00222/s, 4.0 h of video an hour, 45 min left; accepted 5 no_face 1"


def test_nothing_is_promised_before_the_first_piece(clock):
    start = Progress(describe="building", total=10, started=clock[0])
    assert start.left_s is None
    assert str(start) == "building: 0/10 (0 %), 0/s"
    assert str(Progress(describe="building", total=0, started=clock[0])).startswith("building: 0/0")


@pytest.mark.parametrize(("seconds", "words"), [(45, "45 s"), (119, "119 s"), (720, "12 min"), (12_240, "3.4 h")])
def test_durations_as_people_say_them(seconds, words):
    assert duration(seconds) == words


def test_a_log_gets_a_line_now_and_then_and_one_at_the_end(clock, capsys):
    moving = Progress(describe="building", total=300, started=clock[0])
    with shown(moving) as changed:
        for _ in range(300):  # one a second
            clock[0] += 1
            moving.done += 1
            changed()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 11
    assert lines[0].startswith("building: 30/300 (10 %)")
    assert lines[-1].startswith("building: 300/300 (100 %)")


def test_whoever_watches_is_told_each_time(clock):
    told = []
    moving = Progress(describe="building", total=3, started=clock[0])
    with shown(moving, lambda seen: told.append(seen.done)) as changed:
        for _ in itertools.repeat(None, 3):
            moving.done += 1
            changed()
    assert told == [1, 2, 3]
