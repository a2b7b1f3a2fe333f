"""The judgement: a closed list of reasons, each reachable, each from its own threshold."""

from __future__ import annotations

import functools
from dataclasses import asdict, fields, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.config import FiltersConfig, PrepareConfig
from pipelines.config.compose import compose
from pipelines.prepare.reasons import Reason, Status, status_of
from pipelines.prepare.scores import LIMITS, SCORES, Scores
from pipelines.prepare.steps.filter import judge

SURE = 3.0  # a confidence far beyond chance
GOOD = Scores(
    face_px=200.0,
    faces=1.0,
    face_share=1.0,
    inside_share=1.0,
    speech_db=-25.0,
    voice_share=0.9,
    covered_share=0.0,
    sync_offset=1.0,
    sync_confidence=1.6,
    sync_corrected=0.0,
    mouth_range=0.06,
    yaw_deg=10.0,
    pitch_deg=10.0,
    roll_deg=5.0,
    motion_deg=4.0,
    sharpness=100.0,
    brightness=110.0,
    jitter_px=0.3,
)
DEFAULT = FiltersConfig()
SHARP = replace(DEFAULT, min_sharpness=10.0, min_brightness=20.0, max_jitter_px=5.0)


def test_a_good_clip_passes():
    assert judge(GOOD, DEFAULT) is None
    assert judge(Scores(), DEFAULT) is None  # what was not measured breaks nothing


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"speech_db": -60.0}, Reason.SILENT),
        ({"face_px": 46.0}, Reason.FACE_TOO_SMALL),
        ({"faces": 2.0}, Reason.SEVERAL_FACES),
        ({"faces": 2.0, "speaker_confidence": SURE, "speaker_lead": 0.05}, Reason.SEVERAL_FACES),
        ({"faces": 2.0, "speaker_confidence": 0.2, "speaker_lead": SURE}, Reason.SEVERAL_FACES),
        ({"face_share": 0.5}, Reason.FACE_LOST),
        ({"inside_share": 0.5}, Reason.FACE_LOST),
        ({"voice_share": 0.01}, Reason.NO_SPEECH),
        ({"mouth_range": 0.001}, Reason.NO_SPEECH),
        ({"sync_offset": 9.0, "sync_confidence": SURE}, Reason.OUT_OF_SYNC),
        ({"sync_offset": -9.0, "sync_confidence": SURE}, Reason.OUT_OF_SYNC),
        ({"sync_offset": 9.0, "lse_c": 7.0, "sync_confidence": 0.1}, Reason.OUT_OF_SYNC),
        ({"expert_offset": -9.0, "expert_certainty": SURE, "sync_confidence": 0.1}, Reason.OUT_OF_SYNC),
        ({"sync_offset": 12.0, "sync_corrected": 5.0, "sync_confidence": SURE}, Reason.OUT_OF_SYNC),
        ({"yaw_deg": 75.0}, Reason.EXTREME_POSE),
        ({"pitch_deg": 75.0}, Reason.EXTREME_POSE),
        ({"roll_deg": 75.0}, Reason.EXTREME_POSE),
        ({"covered_share": 0.9}, Reason.COVERED),
        ({"sharpness": 1.0}, Reason.BLURRED),
        ({"brightness": 1.0}, Reason.TOO_DARK),
        ({"jitter_px": 9.0}, Reason.UNSTEADY),
    ],
)
def test_each_reason_from_its_own_score(changes, reason):
    assert judge(replace(GOOD, **changes), SHARP) == reason


def test_one_of_several_faces_passes_if_it_is_the_one_who_speaks():
    assert judge(replace(GOOD, faces=3.0, speaker_confidence=SURE, speaker_lead=SURE), DEFAULT) is None


def test_an_offset_without_confidence_is_not_believed():
    assert judge(replace(GOOD, sync_offset=14.0, sync_confidence=0.1), DEFAULT) is None
    # SyncNet has the last word
    assert judge(replace(GOOD, sync_offset=14.0, sync_confidence=SURE, lse_c=1.0), DEFAULT) is None
    unsure = DEFAULT.min_expert_certainty - 1e-3
    far = replace(GOOD, sync_offset=14.0, sync_confidence=SURE, expert_offset=14.0)
    assert judge(replace(far, expert_certainty=unsure), DEFAULT) is None  # so has our expert
    assert judge(replace(far, expert_offset=1.0, expert_certainty=SURE), DEFAULT) is None


def test_what_was_corrected_is_in_sync():
    strict = replace(DEFAULT, max_sync_frames=2.0)
    assert judge(replace(GOOD, sync_offset=5.0, sync_confidence=SURE), strict) == Reason.OUT_OF_SYNC
    assert judge(replace(GOOD, sync_offset=5.0, sync_corrected=5.0, sync_confidence=SURE), strict) is None


@given(st.sampled_from(LIMITS), st.floats(0.01, 50))
def test_what_stands_on_the_threshold_passes(limit, beyond):
    bound = float(getattr(DEFAULT, limit.setting))
    on = replace(Scores(), **{limit.score: bound})
    assert not limit.breaks(on, DEFAULT)
    assert limit.breaks(replace(on, **{limit.score: bound - beyond if limit.below else bound + beyond}), DEFAULT)


def test_limits_name_scores_and_settings_that_exist():
    settings = {entry.name for entry in fields(FiltersConfig)}
    assert {limit.score for limit in LIMITS} <= set(SCORES)
    assert {limit.setting for limit in LIMITS} <= settings


CONDITIONS = (
    "min_speaker_confidence",
    "min_speaker_lead",
    "min_sync_confidence",
    "min_lse_c",
    "min_expert_certainty",
    "min_fps",
)


def test_every_threshold_is_used():
    """A setting is a limit of its own, or decides within one; the frame rate is judged before there
    are clips.
    """
    assert {entry.name for entry in fields(FiltersConfig)} == {limit.setting for limit in LIMITS} | set(CONDITIONS)


@pytest.mark.parametrize(
    ("below", "on", "reason"),
    [
        (
            {"speaker_confidence": DEFAULT.min_speaker_confidence},
            {"speaker_lead": SURE, "faces": 2.0},
            Reason.SEVERAL_FACES,
        ),
        ({"speaker_lead": DEFAULT.min_speaker_lead}, {"speaker_confidence": SURE, "faces": 2.0}, Reason.SEVERAL_FACES),
    ],
)
def test_both_sides_of_who_speaks(below, on, reason):
    (score, bound) = next(iter(below.items()))
    assert judge(replace(GOOD, **on, **below), DEFAULT) is None
    assert judge(replace(GOOD, **on, **{score: bound - 1e-3}), DEFAULT) == reason


@pytest.mark.parametrize(
    ("score", "bound"), [("sync_confidence", DEFAULT.min_sync_confidence), ("lse_c", DEFAULT.min_lse_c)]
)
def test_both_sides_of_what_is_believed(score, bound):
    far = replace(GOOD, sync_offset=9.0)
    assert judge(replace(far, **{score: bound}), DEFAULT) == Reason.OUT_OF_SYNC
    assert judge(replace(far, **{score: bound - 1e-3}), DEFAULT) is None


def test_both_sides_of_what_the_expert_is_believed():
    far, bound = replace(GOOD, expert_offset=9.0), DEFAULT.min_expert_certainty
    assert judge(replace(far, expert_certainty=bound), DEFAULT) == Reason.OUT_OF_SYNC
    assert judge(replace(far, expert_certainty=bound - 1e-3), DEFAULT) is None


@functools.cache
def _none() -> FiltersConfig:
    return compose("prepare", ["videos=a", "out=b", "prepare=none"]).prepare.filters


@given(st.builds(Scores, **{name: st.none() | st.floats(-1e3, 1e3) for name in SCORES}))
@settings(deadline=None)  # the first composes the configuration
def test_the_preset_none_rejects_nothing_that_a_clip_can_be(scores):
    """Shares, angles and levels within what they can be at all."""
    possible = {
        name: None if value is None else min(max(value, 0.0), 1.0 if name.endswith("_share") else 180.0)
        for name, value in asdict(scores).items()
        if name not in {"speech_db", "sync_offset", "sync_corrected", "expert_offset"}
    }
    assert (
        judge(
            replace(scores, **possible, sync_offset=15.0, expert_offset=-15.0, sync_corrected=0.0, speech_db=-100.0),
            _none(),
        )
        is None
    )


def test_status_follows_from_the_reason():
    assert status_of(None) == Status.ACCEPTED
    assert status_of(Reason.NO_FACE) == Status.REJECTED
    assert status_of(Reason.DECODER_CRASHED) == Status.FAILED


def test_the_default_preset_is_what_the_schema_says():
    assert compose("prepare", ["videos=a", "out=b"]).prepare == PrepareConfig()


def test_presets_are_ordered():
    strict, none = (
        compose("prepare", ["videos=a", "out=b", f"prepare={name}"]).prepare.filters for name in ("strict", "none")
    )
    for limit in LIMITS:
        loose, usual, tight = (getattr(config, limit.setting) for config in (none, DEFAULT, strict))
        assert (loose <= usual <= tight) if limit.below else (loose >= usual >= tight), limit.setting
