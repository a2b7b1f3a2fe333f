"""The estimate is arithmetic over a sample that is the same everywhere."""

from __future__ import annotations

import random

import pytest

from pipelines.config import ClusterConfig, PrepareConfig
from pipelines.prepare.planning.estimate import (
    SAMPLE_FRAMES,
    SAMPLE_VIDEOS,
    Estimate,
    MeasuredSample,
    estimate,
    forecast,
    sample,
    sized,
)
from pipelines.prepare.planning.plan import Video, plan

LOOP = ClusterConfig(workers=0)


def _plan(number, frames=1000):
    videos = [
        Video(file=f"{n}.mp4", sha256=f"{n:064d}", size=1, identity=f"p{n}", frames=frames, start=n)
        for n in range(number)
    ]
    random.Random(1).shuffle(videos)
    return plan(videos, PrepareConfig())


def test_the_sample_is_the_middle_of_the_first_by_content():
    unit = sample(_plan(20))
    assert [video.file for video in unit.videos] == [f"{n}.mp4" for n in range(SAMPLE_VIDEOS)]
    for number, video in enumerate(unit.videos):
        assert (video.start, video.stop, video.frames) == (number + 425, number + 575, SAMPLE_FRAMES)


def test_a_short_video_is_in_the_sample_as_it_is():
    (video,) = sample(_plan(1, frames=70)).videos
    assert (video.start, video.stop, video.frames) == (0, 70, 70)


def test_of_a_video_with_many_spans_the_sample_takes_one():
    video = Video(file="a.mp4", sha256="a" * 64, size=1, identity="ann", frames=100)
    spans = [video._replace(start=start, stop=start + 100) for start in (0, 200, 400)]
    (video,) = sample(plan(spans, PrepareConfig())).videos
    assert video.start == 0


MEASURED = MeasuredSample(videos=5, video_s=30.0, accepted_s=24.0, work_s=15.0, size=3_000_000)


def test_time_storage_and_cost_follow_the_sample():
    found = Estimate(
        MEASURED, video_s=36_000.0, longest_s=3600.0, config=ClusterConfig(workers=4, price_per_worker_hour=2.0)
    )
    assert found.work_s == 18_000.0
    assert found.wall_s == 4500.0
    assert found.size == 3.6e9
    assert "5 videos, 30 s of them, built in 15.0 s by one worker alone; 24 s accepted" in str(found)
    assert "75 min with 4 workers (0.50 s of work for a second of video)" in str(found)
    assert "3.6 GB (100 KB for a second of video)" in str(found)
    assert "10 (5 worker-hours at 2)" in str(found)


def test_no_number_of_workers_makes_the_longest_unit_shorter():
    found = Estimate(MEASURED, video_s=36_000.0, longest_s=3600.0, config=ClusterConfig(workers=1000))
    assert found.wall_s == 1800.0


def test_what_is_not_known_is_not_said():
    found = str(Estimate(MEASURED._replace(accepted_s=0.0), video_s=100.0, longest_s=10.0, config=LOOP))
    assert "storage  not known" in found
    assert "cost" not in found


def test_what_is_built_is_measured_and_thrown_away():
    places = []

    def build(unit, out):
        places.append(out)
        out.publish("a2h-train-000000.tar", bytes(1000 * len(unit.videos)))

    found = estimate(_plan(7), build, LOOP)
    assert (found.measured.size, found.measured.videos, found.measured.video_s) == (5000, 5, 30.0)
    assert found.video_s == 280.0
    assert not any(place.exists("") for place in places)


def test_the_forecast_names_the_splits_in_their_order():
    said = forecast(_plan(40), lambda unit, out: out.publish("x", b"x"), LOOP)
    assert [line.split()[0] for line in said.splitlines()[:3]] == ["train", "val", "test"]
    assert forecast(_plan(0), lambda unit, out: None, LOOP) == "there is nothing to build"


@pytest.mark.parametrize(
    ("count", "words"), [(0, "0 B"), (999, "999 B"), (12_345, "12.3 KB"), (5.6e17, "560 PB"), (1e20, "1e+05 PB")]
)
def test_sizes_are_written_for_people(count, words):
    assert sized(count) == words
