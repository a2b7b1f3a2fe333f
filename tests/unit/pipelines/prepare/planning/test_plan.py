"""The plan is a pure function: of content and config, never of order, place or host."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from a2h_models.errors import DatasetError
from pipelines.config import PlanConfig, PrepareConfig
from pipelines.prepare.planning.plan import Plan, Video, by_split, drop_duplicates, plan, unit_frames


def _video(name, identity="", frames=500, content="", reason="", start=0, whole=True):
    return Video(
        file=name,
        sha256=content or f"hash-of-{name}",
        size=1,
        identity=identity or name,
        frames=frames,
        reason=reason,
        start=start,
        stop=None if whole else start + frames,
    )


videos = st.lists(
    st.builds(
        _video,
        name=st.text("abcdef", min_size=1, max_size=4),
        identity=st.text("xyz", max_size=2),
        frames=st.integers(1, 1000),
        content=st.text("01", max_size=3),
        reason=st.sampled_from(["", "", "", "no_audio", "unreadable", "no_consent"]),
        start=st.integers(0, 2000),
        whole=st.just(value=False),
    ),
    max_size=30,
)


@settings(deadline=None)
@given(videos, st.randoms())
def test_the_order_of_videos_does_not_matter(found, random):
    shuffled = list(found)
    random.shuffle(shuffled)
    assert plan(found, PrepareConfig()).to_bytes() == plan(shuffled, PrepareConfig()).to_bytes()


@settings(deadline=None)
@given(videos)
def test_nothing_is_lost_and_nobody_is_in_two_splits(found):
    made = plan(found, PrepareConfig())
    assert made.inputs == len(found)
    assert sorted((video.file, video.start, video.frames) for video in made.videos) == sorted(
        (v.file, v.start, v.frames) for v in found
    )
    splits: dict[str, str] = {}
    for unit in made.units:
        for video in unit.videos:
            assert splits.setdefault(video.identity, unit.split) == unit.split
            # all spans of a video, also of different people
            assert splits.setdefault(video.sha256, unit.split) == unit.split
    for units in by_split(made).values():
        assert [unit.number for unit in units] == list(range(len(units)))
        places = [(video.sha256, video.start) for unit in units for video in unit.videos]
        assert places == sorted(set(places))


@settings(deadline=None)
@given(videos)
def test_no_frame_goes_in_twice_and_none_without_consent(found):
    made = plan(found, PrepareConfig())
    taken: set[tuple[str, int]] = set()
    for video in (video for unit in made.units for video in unit.videos):
        frames = {(video.sha256, frame) for frame in range(video.start, video.start + video.frames)}
        assert not frames & taken
        taken |= frames
    refused = {
        (v.sha256, frame) for v in found if v.reason == "no_consent" for frame in range(v.start, v.start + v.frames)
    }
    assert not taken & refused


@settings(deadline=None)
@given(videos)
def test_settling_twice_changes_nothing(found):
    once = drop_duplicates(found)
    assert drop_duplicates(once) == once


def test_a_span_dropped_for_anothers_refusal_drops_no_third_one():
    """`a2h split` plans the rows of an earlier plan again."""
    spans = [(0, 1, ""), (1, 1, "no_consent"), (0, 2, "")]  # first frame, frames, reason
    found = [
        _video("a", content="same", start=start, frames=frames, reason=reason, whole=False)
        for start, frames, reason in spans
    ]
    once = drop_duplicates(found)
    assert [(video.frames, video.reason) for video in once] == [(1, ""), (2, "no_consent"), (1, "no_consent")]
    assert drop_duplicates(once) == once


def test_the_same_bytes_are_kept_once():
    made = plan([_video("b.mp4", content="same"), _video("a.mp4", content="same"), _video("c.mp4")], PrepareConfig())
    (dropped,) = made.dropped
    assert (dropped.file, dropped.reason) == ("b.mp4", "duplicate")
    assert "a.mp4" in dropped.error_message


def test_one_copy_without_consent_takes_all_copies_out():
    made = plan(
        [_video("a.mp4", content="same"), _video("b.mp4", content="same", reason="no_consent"), _video("c.mp4")],
        PrepareConfig(),
    )
    assert [(video.file, video.reason) for video in made.dropped] == [("a.mp4", "no_consent"), ("b.mp4", "no_consent")]
    assert "b.mp4" in made.dropped[0].error_message


def test_spans_of_one_video_stay_apart_and_overlapping_ones_do_not():
    spans = [_video("a.mp4", start=start, frames=100, whole=False) for start in (0, 100, 150, 300)]
    made = plan(spans, PrepareConfig())
    assert [video.start for unit in made.units for video in unit.videos] == [0, 100, 300]
    assert [(video.start, video.reason) for video in made.dropped] == [(150, "duplicate")]


def test_one_person_under_two_names_is_in_one_split():
    # the same bytes under two names tell that these names mean one person
    seeds = range(20)
    for seed in seeds:
        found = [_video("1", "ann", content="same"), _video("2", "anna", content="same"), _video("3", "anna")]
        found += [_video(f"other{number}") for number in range(10)]
        made = plan(found, PrepareConfig(plan=PlanConfig(seed=seed)))
        splits = {video.file: unit.split for unit in made.units for video in unit.videos}
        assert splits["1"] == splits["3"]


def test_the_place_of_a_table_makes_no_other_plan():
    found = [_video("a", "ann")]
    elsewhere = PrepareConfig(plan=PlanConfig(identity_csv="/somewhere/people.csv", opt_out="o.txt"))
    assert plan(found, elsewhere).to_bytes() == plan(found, PrepareConfig()).to_bytes()


def test_a_broken_file_is_no_duplicate_of_another():
    broken = [_video(name, content="same", reason="unreadable") for name in "ab"]
    assert [video.reason for video in plan(broken, PrepareConfig()).dropped] == ["unreadable", "unreadable"]


def test_unit_size_is_bounded_from_both_sides():
    config = PlanConfig(unit_minutes=1.0, min_units=4)
    assert unit_frames(10**6, config) == 1500
    assert unit_frames(400, config) == 100
    assert unit_frames(0, config) == 1


def test_any_setting_makes_another_plan():
    found = [_video(name) for name in "abcd"]
    config = PrepareConfig()
    other = PrepareConfig(plan=replace(config.plan, unit_minutes=5.0))
    assert plan(found, config).hash != plan(found, other).hash
    assert plan(found, config).hash != plan([*found, _video("e")], config).hash


def test_a_plan_survives_the_way_to_bytes_and_back():
    found = [
        _video("a"),
        _video("b\udcff"),
        _video("c", start=3, whole=False)._replace(consent=True, extra='{"x": 1}'),
        _video("d", reason="no_audio"),
    ]
    made = replace(plan(found, PrepareConfig()), parents=("of another",))
    assert Plan.from_bytes(made.to_bytes(), name="plan") == made


def test_a_damaged_plan_is_named():
    made = plan([_video("a"), _video("b")], PrepareConfig()).to_bytes()
    for damaged in (
        b"",
        made[:40],
        made[: len(made) - 4],
        b"".join(made.splitlines(keepends=True)[:-1]),
        b"{}",
        b"[]",
        b"\xff",
    ):
        with pytest.raises(DatasetError, match=r"plan\.jsonl is not a plan"):
            Plan.from_bytes(damaged, name="plan.jsonl")
    with pytest.raises(DatasetError, match="schema version 9"):
        Plan.from_bytes(made.replace(b'"schema_version":1', b'"schema_version":9'), name="plan.jsonl")
