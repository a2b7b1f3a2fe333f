"""Mouth and speech: planted offsets are found."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter1d

from a2h_models.metrics import sync
from a2h_models.timebase import SAMPLE_RATE, SAMPLES_PER_FRAME


def syllables(frames: int, seed: int = 0) -> np.ndarray:
    """A curve that opens and closes some times a second, in [0, 1]."""
    curve = gaussian_filter1d(np.random.default_rng(seed).normal(size=frames), 1.5)
    return (curve - curve.min()) / np.ptp(curve)


@given(offset=st.integers(-12, 12), seed=st.integers(0, 20))
def test_a_planted_offset_is_found(offset: int, seed: int) -> None:
    """Positive: the sound comes late."""
    curve = syllables(200, seed)
    mouth, level = curve[50:150], curve[50 - offset : 150 - offset]
    found = sync.mouth_speech(mouth, 40 * level)
    assert found.offset == offset
    assert found.best > 0.8


def test_in_step_and_against_it() -> None:
    curve = syllables(100)
    assert sync.mouth_speech(curve, curve).correlation == pytest.approx(1.0)
    assert sync.mouth_speech(curve, -curve).correlation == pytest.approx(-1.0)


def test_slow_trends_do_not_count() -> None:
    curve = syllables(200)
    assert sync.mouth_speech(curve + np.linspace(0, 2, 200), curve).correlation > 0.8


def test_frames_without_a_face_are_left_out() -> None:
    curve = syllables(120)
    gaps = curve.copy()
    gaps[::7] = np.nan
    assert sync.mouth_speech(gaps, curve).correlation > 0.95


@pytest.mark.parametrize("still", [np.zeros(50), np.full(50, np.nan)])
def test_a_mouth_that_never_moves_says_nothing(still: np.ndarray) -> None:
    assert sync.mouth_speech(still, syllables(50)) == sync.MouthSpeech(0.0, 0, 0.0)


def test_too_short_says_nothing() -> None:
    assert sync.mouth_speech(np.arange(3.0), np.arange(3.0)) == sync.MouthSpeech(0.0, 0, 0.0)


def test_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="3 frames of mouth and 4 of speech"):
        sync.mouth_speech(np.zeros(3), np.zeros(4))


def test_level_of_a_sine_is_known() -> None:
    """A full-scale sine has -3.01 dB; silence is held at 40 dB below the loud frames."""
    sine = np.sin(2 * np.pi * 1000 * np.arange(10 * SAMPLES_PER_FRAME) / SAMPLE_RATE)
    level = sync.speech_level((sine * 32767).astype(np.int16), 12)
    np.testing.assert_allclose(level[:10], -3.01, atol=0.01)
    np.testing.assert_allclose(level[10:], -43.01, atol=0.01)
    np.testing.assert_allclose(sync.speech_level(sine, 10), level[:10], atol=0.01)


def test_mouth_opening_is_free_of_size() -> None:
    face = np.zeros((2, 468, 3))
    face[:, sync.FOREHEAD, 1], face[:, sync.CHIN, 1] = 50, 150
    face[:, sync.UPPER_LIP, 1], face[:, sync.LOWER_LIP, 1] = 110, [110, 120]
    np.testing.assert_allclose(sync.mouth_opening(face), [0.0, 0.1])
    np.testing.assert_allclose(sync.mouth_opening(face * 3), [0.0, 0.1])


def test_speech_beats_are_onsets() -> None:
    """Three tones that set in at once and fade, as syllables do."""
    wave = np.zeros(2 * SAMPLE_RATE, np.int16)
    tone = 8000 * np.sin(2 * np.pi * 220 * np.arange(SAMPLE_RATE // 3) / SAMPLE_RATE) * np.geomspace(1, 1e-3, SAMPLE_RATE // 3)
    for start_s in (0.4, 1.0, 1.6):
        wave[int(start_s * SAMPLE_RATE) :][: len(tone)] = tone
    np.testing.assert_allclose(sync.speech_beats(wave), [0.4, 1.0, 1.6], atol=0.03)
    assert len(sync.speech_beats(np.zeros(SAMPLE_RATE, np.int16))) == 0
