"""A silent head sways by its seed alone, and a speaking one does not."""

import numpy as np

from a2h_models.features.speech import speech_features
from a2h_models.inference.idle_motion import FADE_FRAMES, IdleMotion, silent


def speech(frames: int) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((frames, 4, 41)).astype(np.float32)


def test_idle_motion_is_of_silence_of_its_seed_and_of_any_pieces() -> None:
    quiet, loud = speech_features(np.zeros(64_000, np.int16), frames=100), speech(100)
    move = [IdleMotion(scale=1.0, seed=seed).after(quiet) for seed in (0, 0, 1)]
    assert np.array_equal(move[0], move[1])
    assert not np.allclose(move[0], move[2])
    assert not IdleMotion(scale=1.0, seed=0).after(loud).any()
    pieces = IdleMotion(scale=1.0, seed=0)
    assert np.allclose(np.concatenate([pieces.after(quiet[:33]), pieces.after(quiet[33:])]), move[0])


def test_a_frame_is_silent_when_all_its_rows_are_below_the_threshold() -> None:
    features = np.zeros((3, 4, 41), np.float32)
    features[:, :, 0] = -7.0
    features[1, 2, 0] = -5.0  # one loud row of four
    features[2, :, 1:] = 9.0  # only column 0 is the energy
    assert silent(features).tolist() == [True, False, True]


def test_idle_motion_is_proportional_to_its_scale_and_fades_in() -> None:
    quiet = np.full((10 * FADE_FRAMES, 4, 41), -20, np.float32)
    natural, double = (IdleMotion(scale=scale, seed=3).after(quiet) for scale in (1.0, 2.0))
    np.testing.assert_allclose(double, 2 * natural)
    first, last = np.abs(natural[:FADE_FRAMES]).mean(), np.abs(natural[-5 * FADE_FRAMES :]).mean()
    assert first < 0.6 * last
