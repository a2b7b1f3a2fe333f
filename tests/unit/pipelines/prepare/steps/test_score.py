"""Features and scores of a clip, against known signals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from a2h_models.metrics.av_sync import INNER_LIPS
from a2h_models.timebase import SAMPLE_RATE, SAMPLES_PER_FRAME, Span
from pipelines.prepare.scores import Scores, rounded
from pipelines.prepare.sound import cut_wave, level_db, voice_share
from pipelines.prepare.steps.score import angles, jitter, mouth_range, sharpness


def test_the_wave_of_a_span_is_as_long_as_the_span():
    wave = np.arange(10 * SAMPLES_PER_FRAME, dtype=np.int16)
    np.testing.assert_array_equal(cut_wave(wave, Span(2, 5)), wave[2 * SAMPLES_PER_FRAME : 5 * SAMPLES_PER_FRAME])
    late = cut_wave(wave, Span(8, 14))
    assert len(late) == 6 * SAMPLES_PER_FRAME
    assert not late[2 * SAMPLES_PER_FRAME :].any()


@given(st.integers(0, 12), st.integers(0, 12), st.integers(-15, 15))
def test_shifted_sound_is_the_videos_own_and_silence_beyond_its_ends(start, length, late):
    """Nothing is padded where the video has sound, and nothing of it is lost."""
    # ten frames; each sounds like its number from 1
    wave = np.repeat(np.arange(1, 11, dtype=np.int16), SAMPLES_PER_FRAME)
    cut = cut_wave(wave, Span(start, start + length), late)
    assert len(cut) == length * SAMPLES_PER_FRAME
    heard = cut.reshape(length, SAMPLES_PER_FRAME)[:, 0] if length else []
    assert list(heard) == [frame + late + 1 if 0 <= frame + late < 10 else 0 for frame in range(start, start + length)]


def test_levels_are_relative_to_full_scale():
    assert level_db(np.zeros(100, np.int16)) == -100
    assert level_db(np.full(100, -32768, np.int16)) == pytest.approx(0)
    assert level_db(np.full(100, 3277, np.int16)) == pytest.approx(-20, abs=0.01)


def test_voice_is_told_from_silence_and_from_noise():
    time = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    vowel = sum(np.sin(2 * np.pi * 120 * harmonic * time) / harmonic for harmonic in range(1, 30))
    speech = (6000 * vowel * (np.sin(2 * np.pi * 3 * time) > 0)).astype(np.int16)
    assert voice_share(np.zeros(SAMPLE_RATE, np.int16)) == 0
    assert voice_share(np.zeros(100, np.int16)) == 0  # shorter than what is judged at once
    assert voice_share(speech) > 0.5
    hiss = np.random.default_rng(0).normal(0, 5, SAMPLE_RATE).astype(np.int16)
    assert voice_share(hiss) < 0.2


def test_a_mouths_range_is_that_of_its_lips():
    face = np.zeros((100, 468, 3), np.float32)
    face[:, 10, 1], face[:, 152, 1] = 0, 200
    for upper, lower in INNER_LIPS:
        face[:, lower, 1] = face[:, upper, 1] + np.linspace(0, 20, 100)
    assert mouth_range(face) == pytest.approx(0.08, abs=1e-3)  # 80 % of 20 pixels of 200


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
