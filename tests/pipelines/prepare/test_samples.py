"""Features and scores of a clip, against known signals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from a2h_models.timebase import SAMPLES_PER_FRAME, Span
from pipelines.prepare.filters import Scores
from pipelines.prepare.samples import (
    angles,
    cut_wave,
    fill_gaps,
    jitter,
    level_db,
    loudness,
    match,
    mouth_motion,
    mouth_opening,
    rounded,
    sharpness,
    smooth,
    standardised,
)

FRAMES = 150


def _syllables(seed, frames=FRAMES):
    """A mouth that opens and shuts a few times a second."""
    noise = np.random.default_rng(seed).normal(size=frames + 40)
    kernel = np.exp(-0.5 * (np.arange(-6, 7) / 1.8) ** 2)
    return np.convolve(noise, kernel, "same")[20:-20]


def _speech(opening, shift):
    """A hum of 500 Hz that is loud where the mouth is open, `shift` frames later."""
    time = np.arange(len(opening) * SAMPLES_PER_FRAME) / 16000
    loud = np.repeat(np.roll(opening, shift), SAMPLES_PER_FRAME)
    return (4000 * np.sin(2 * np.pi * 500 * time) * np.exp(loud)).clip(-32000, 32000).astype(np.int16)


@pytest.mark.parametrize("shift", range(-8, 9))
def test_offsets_of_sound_are_found(shift):
    opening = _syllables(3)
    found = match(opening, loudness(_speech(opening, shift)))
    assert abs(found.offset - shift) <= 1
    assert found.confidence > 1.4


def test_the_sound_of_another_clip_is_not_believed():
    confidences = [match(_syllables(seed), loudness(_speech(_syllables(seed + 100), 0))).confidence for seed in range(20)]
    assert np.percentile(confidences, 90) < 1.4


def test_a_still_mouth_or_silence_matches_nothing():
    flat = np.zeros(FRAMES)
    assert match(flat, _syllables(1)) == (0.0, 0.0)
    assert match(_syllables(1), loudness(np.zeros(FRAMES * SAMPLES_PER_FRAME, np.int16))) == (0.0, 0.0)


@given(st.lists(st.booleans(), min_size=1, max_size=40))
def test_gaps_are_filled_from_their_borders(found):
    found = np.array(found)
    truth = np.arange(len(found), dtype=np.float32)[:, None, None] * np.ones((1, 468, 3), np.float32)
    holed = np.where(found[:, None, None], truth, 0)
    filled = fill_gaps(holed, found)
    assert filled.shape == holed.shape
    np.testing.assert_array_equal(filled[found], truth[found])
    if found.any():
        known = np.flatnonzero(found)
        inner = slice(known[0], known[-1] + 1)
        np.testing.assert_allclose(filled[inner], truth[inner], rtol=1e-5)  # float32
        assert (filled[: known[0]] == known[0]).all()
        assert (filled[known[-1] :] == known[-1]).all()


def test_mouth_opening_does_not_depend_on_the_distance():
    face = np.random.default_rng(0).uniform(50, 200, (1, 468, 3)).astype(np.float32)
    np.testing.assert_allclose(mouth_opening(face), mouth_opening(face * 0.5), rtol=1e-4)
    assert mouth_motion(np.repeat(face, 5, axis=0)).tolist() == [0.0] * 5


def test_smoothing_keeps_a_still_head_and_softens_a_jump():
    still = np.ones((20, 6), np.float32)
    np.testing.assert_allclose(smooth(still, 1.0), still, rtol=1e-6)
    jump = np.concatenate([np.zeros((10, 6)), np.ones((10, 6))]).astype(np.float32)
    assert 0.2 < smooth(jump, 1.0)[9, 0] < 0.5
    assert smooth(jump, 0.0) is jump


def test_the_wave_of_a_span_is_as_long_as_the_span():
    wave = np.arange(10 * SAMPLES_PER_FRAME, dtype=np.int16)
    np.testing.assert_array_equal(cut_wave(wave, Span(2, 5)), wave[2 * SAMPLES_PER_FRAME : 5 * SAMPLES_PER_FRAME])
    late = cut_wave(wave, Span(8, 14))
    assert len(late) == 6 * SAMPLES_PER_FRAME
    assert not late[2 * SAMPLES_PER_FRAME :].any()


def test_levels_are_relative_to_full_scale():
    assert level_db(np.zeros(100, np.int16)) == -100
    assert level_db(np.full(100, -32768, np.int16)) == pytest.approx(0)
    assert level_db(np.full(100, 3277, np.int16)) == pytest.approx(-20, abs=0.01)


def test_angles_are_pitch_yaw_and_roll():
    pose = np.zeros((3, 6), np.float32)
    pose[[0, 1, 2], [0, 1, 2]] = np.radians(20)
    np.testing.assert_allclose(angles(pose), np.eye(3) * 20, atol=1e-4)


def test_sharpness_and_jitter_tell_blur_and_shaking():
    sharp = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    assert sharpness(sharp) > 1000 > sharpness(sharp // 32) > sharpness(np.full_like(sharp, 9))
    steady = np.linspace(0, 5, 20)[:, None, None] * np.ones((1, 468, 2))
    shaken = steady + 2 * (np.arange(20) % 2)[:, None, None]
    assert jitter(steady.astype(np.float32)) < 1e-4 < jitter(shaken.astype(np.float32))


def test_scores_are_rounded_and_gaps_stay_gaps():
    assert rounded(Scores(face_px=1.23456789)) == Scores(face_px=1.2346)
    assert standardised(np.zeros(3)).tolist() == [0, 0, 0]


@pytest.mark.slow
@pytest.mark.parametrize("offset", [-3, 5])
def test_the_offset_of_a_talkers_sound_is_found(tmp_path, offset):
    from pipelines import media
    from pipelines.config import PrepareConfig
    from pipelines.prepare.clips import find_clips, look
    from pipelines.prepare.samples import to_features
    from pipelines.talkers import make_talkers

    config = PrepareConfig()
    config.features.f0 = "dio"
    (path,) = make_talkers(tmp_path, count=1, seed=5, seconds=6.0, audio_offset_frames=offset)
    with media.open_video(path) as video:
        (clip,) = find_clips(look(video, config.clips), "ab" * 32, config.clips)
        scores = to_features(video, clip, media.read_speech(path), None, config.features).scores
    assert scores.face_share == 1.0
    assert abs(scores.sync_offset - offset) <= 1
