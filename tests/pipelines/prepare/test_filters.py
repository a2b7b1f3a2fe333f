"""The judgement: a closed list of reasons, each reachable, each from its own threshold."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.compose import compose
from pipelines.config import FiltersConfig, PrepareConfig
from pipelines.prepare.filters import LIMITS, SCORES, Reason, Scores, Status, judge, status_of

SURE = 3.0  # a confidence far beyond chance
GOOD = Scores(
    face_px=200.0,
    faces=1.0,
    face_share=1.0,
    inside_share=1.0,
    speech_db=-25.0,
    voiced_share=0.6,
    sync_offset=1.0,
    sync_confidence=1.6,
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
        ({"voiced_share": 0.01}, Reason.NO_SPEECH),
        ({"mouth_range": 0.001}, Reason.NO_SPEECH),
        ({"sync_offset": 9.0, "sync_confidence": SURE}, Reason.OUT_OF_SYNC),
        ({"sync_offset": -9.0, "sync_confidence": SURE}, Reason.OUT_OF_SYNC),
        ({"yaw_deg": 75.0}, Reason.EXTREME_POSE),
        ({"pitch_deg": 75.0}, Reason.EXTREME_POSE),
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


def test_status_follows_from_the_reason():
    assert status_of(None) == Status.ACCEPTED
    assert status_of(Reason.NO_FACE) == Status.REJECTED
    assert status_of(Reason.DECODER_CRASHED) == Status.FAILED


def test_the_default_preset_is_what_the_schema_says():
    assert compose("prepare", ["videos=a", "out=b"]).prepare == PrepareConfig()


def test_presets_are_ordered():
    strict, none = (compose("prepare", ["videos=a", "out=b", f"prepare={name}"]).prepare.filters for name in ("strict", "none"))
    for limit in LIMITS:
        loose, usual, tight = (getattr(config, limit.setting) for config in (none, DEFAULT, strict))
        assert (loose <= usual <= tight) if limit.below else (loose >= usual >= tight), limit.setting
