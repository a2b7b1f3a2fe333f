"""The plan is a pure function: of content and config, never of order, place or host."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from a2h_models.errors import DatasetError
from pipelines.config import PlanConfig, PrepareConfig
from pipelines.prepare.plan import Plan, Video, assign_splits, by_split, plan, position, unit_frames


def _video(name, identity="", frames=500, content="", reason=""):
    return Video(file=name, sha256=content or f"hash-of-{name}", size=1, identity=identity or name, frames=frames, reason=reason)


videos = st.lists(
    st.builds(
        _video,
        name=st.text("abcdef", min_size=1, max_size=4),
        identity=st.text("xyz", max_size=2),
        frames=st.integers(1, 100_000),
        content=st.text("01", max_size=3),
        reason=st.sampled_from(["", "", "no_audio", "unreadable"]),
    ),
    max_size=30,
    unique_by=lambda video: video.file,
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
    kept = [video for unit in made.units for video in unit.videos]
    assert len({video.sha256 for video in kept}) == len(kept)
    assert sorted(video.file for video in [*kept, *made.dropped]) == sorted(video.file for video in found)
    splits = {}
    for unit in made.units:
        for video in unit.videos:
            assert splits.setdefault(video.identity, unit.split) == unit.split
    for units in by_split(made).values():
        assert [unit.number for unit in units] == list(range(len(units)))
        hashes = [video.sha256 for unit in units for video in unit.videos]
        assert hashes == sorted(hashes)


@settings(deadline=None)
@given(st.sets(st.text(min_size=1, max_size=6), min_size=3, max_size=40), st.integers(0, 5))
def test_no_split_is_empty_with_identities_enough(identities, seed):
    splits = assign_splits(identities, PlanConfig(seed=seed))
    assert set(splits) == identities
    assert set(splits.values()) == {"train", "val", "test"}


def test_few_identities_all_train():
    assert assign_splits({"a", "b"}, PlanConfig()) == {"a": "train", "b": "train"}


def test_a_split_without_share_stays_empty():
    splits = assign_splits({str(n) for n in range(20)}, PlanConfig(val_share=0.0, test_share=0.0))
    assert set(splits.values()) == {"train"}


def test_a_new_identity_moves_nobody_in_a_large_set():
    many = {str(number) for number in range(500)}
    before, after = assign_splits(many, PlanConfig()), assign_splits({*many, "new"}, PlanConfig())
    assert {identity: after[identity] for identity in many} == before
    shares = Counter(before.values())
    assert 30 <= shares["val"] <= 70
    assert 30 <= shares["test"] <= 70


def test_positions_are_for_ever():
    # golden: a change would move people between the splits of every existing dataset
    assert position("someone", 0) == pytest.approx(0.6062673964232522, abs=1e-12)
    assert position("someone", 1) != position("someone", 0)


def test_the_same_bytes_are_kept_once():
    made = plan([_video("b.mp4", content="same"), _video("a.mp4", content="same"), _video("c.mp4")], PrepareConfig())
    (dropped,) = made.dropped
    assert (dropped.file, dropped.reason) == ("b.mp4", "duplicate")
    assert "a.mp4" in dropped.error_message


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
    made = plan([_video("a"), _video("b\udcff"), _video("c"), _video("d", reason="no_audio")], PrepareConfig())
    assert Plan.from_bytes(made.to_bytes(), name="plan.json") == made


def test_a_damaged_plan_is_named():
    made = plan([_video("a")], PrepareConfig()).to_bytes()
    with pytest.raises(DatasetError, match=r"plan\.json is not a plan"):
        Plan.from_bytes(made[:40], name="plan.json")
    with pytest.raises(DatasetError, match="schema version 9"):
        Plan.from_bytes(made.replace(b'"schema_version": 1', b'"schema_version": 9'), name="plan.json")
