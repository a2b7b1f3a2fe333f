"""Mouth and speech: planted offsets are found."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter1d

from a2h_models.metrics import av_sync
from a2h_models.timebase import SAMPLE_RATE, SAMPLES_PER_FRAME


def mouths(frames: int, seed: int = 0) -> np.ndarray:
    """Three numbers of a mouth that change some times a second."""
    return gaussian_filter1d(np.random.default_rng(seed).normal(size=(frames, 3)), 1.5, axis=0)


@given(offset=st.integers(-12, 12), seed=st.integers(0, 20))
def test_a_planted_offset_is_found(offset: int, seed: int) -> None:
    """Positive: the sound comes late."""
    curve = mouths(200, seed)
    mouth, expected = curve[50:150], curve[50 - offset : 150 - offset]
    found = av_sync.match(mouth, 40 * expected)
    assert found.offset == offset
    assert found.confidence > 0.8 * 2  # four seconds


def test_in_step_and_against_it() -> None:
    curve = mouths(100)
    assert av_sync.match(curve, curve).correlation == pytest.approx(1.0)
    assert av_sync.match(curve, curve).confidence == pytest.approx(2.0)
    assert av_sync.match(curve, -curve).correlation == pytest.approx(-1.0)


def test_slow_trends_do_not_count() -> None:
    curve = mouths(200)
    assert av_sync.match(curve + np.linspace(0, 9, 200)[:, None], curve).correlation > 0.95


def test_frames_without_a_face_are_left_out() -> None:
    curve = mouths(120)
    gaps = curve.copy()
    gaps[::7] = np.nan
    assert av_sync.match(gaps, curve).correlation > 0.9


@pytest.mark.parametrize("still", [np.zeros((50, 3)), np.full((50, 3), np.nan)])
def test_a_mouth_that_never_moves_says_nothing(still: np.ndarray) -> None:
    assert av_sync.match(still, mouths(50)) == av_sync.Match(0, 0.0, 0.0)


def test_too_short_says_nothing() -> None:
    assert av_sync.match(mouths(3), mouths(3)) == av_sync.Match(0, 0.0, 0.0)


def test_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="3 frames of mouth and 4 of speech"):
        av_sync.match(np.zeros((3, 3)), np.zeros((4, 3)))


def test_chance_is_not_believed() -> None:
    """Mouths against others' mouths, five seconds each: the confidence from which preparation
    believes is beyond them.
    """
    confidences = [av_sync.match(mouths(125, seed), mouths(125, seed + 1000)).confidence for seed in range(200)]
    assert max(confidences) < 1.2


@given(st.floats(0.05, 1.0), st.integers(0, 5))
@settings(max_examples=10, deadline=None)
def test_the_expected_mouth_does_not_depend_on_the_level(gain: float, seed: int) -> None:
    noise = np.random.default_rng(seed)
    wave = np.repeat(noise.uniform(0.1, 1, 40), SAMPLES_PER_FRAME) * noise.normal(0, 0.2, 40 * SAMPLES_PER_FRAME)
    expected = av_sync.expected_mouth(wave, 40)
    assert expected.shape == (40, 3)
    np.testing.assert_allclose(av_sync.expected_mouth(wave * gain, 40), expected, atol=1e-6)


def test_silence_lets_expect_nothing() -> None:
    assert not av_sync.expected_mouth(np.zeros(20 * SAMPLES_PER_FRAME, np.int16), 20).any()
    assert av_sync.expected_mouth(np.zeros(5, np.int16), 7).shape == (7, 3)


def test_a_louder_voice_lets_expect_a_wider_mouth() -> None:
    """What was learned has the right sign: vowels open the mouth and drop the jaw."""
    time = np.arange(100 * SAMPLES_PER_FRAME) / SAMPLE_RATE
    vowel = sum(np.sin(2 * np.pi * 120 * harmonic * time) / harmonic for harmonic in range(1, 20))
    loud = 0.02 + (np.sin(2 * np.pi * 3 * time) > 0)  # three syllables a second
    opening, jaw, _ = av_sync.expected_mouth(0.1 * vowel * loud, 100).T
    heard = loud.reshape(100, -1).mean(axis=1)
    # lips are ahead of their sound
    assert np.corrcoef(opening[:-2], heard[2:])[0, 1] > 0.5
    assert np.corrcoef(jaw[:-2], heard[2:])[0, 1] > 0.5


def test_mouths_are_free_of_size() -> None:
    face = np.random.default_rng(0).uniform(50, 200, (4, 468, 3))
    np.testing.assert_allclose(av_sync.mouth_shape(face * 3), av_sync.mouth_shape(face))
    face[:] = 0
    face[:, av_sync.FOREHEAD, 1], face[:, av_sync.CHIN, 1] = 50, 150
    for (upper, lower), drop in zip(av_sync.INNER_LIPS, (20, 10, 0), strict=True):
        face[:, upper, 1], face[:, lower, 1] = 110, 110 + drop
    np.testing.assert_allclose(av_sync.mouth_opening(face), 0.1)


def test_speech_beats_are_onsets() -> None:
    """Three tones that set in at once and fade, as syllables do."""
    wave = np.zeros(2 * SAMPLE_RATE, np.int16)
    tone = (
        8000
        * np.sin(2 * np.pi * 220 * np.arange(SAMPLE_RATE // 3) / SAMPLE_RATE)
        * np.geomspace(1, 1e-3, SAMPLE_RATE // 3)
    )
    for start_s in (0.4, 1.0, 1.6):
        wave[int(start_s * SAMPLE_RATE) :][: len(tone)] = tone
    np.testing.assert_allclose(av_sync.speech_beats(wave), [0.4, 1.0, 1.6], atol=0.03)
    assert len(av_sync.speech_beats(np.zeros(SAMPLE_RATE, np.int16))) == 0
