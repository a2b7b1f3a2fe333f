"""The shape of a face, whatever its pose."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from a2h_models.metrics.landmark_shape import landmark_shape_distance, still_points


def some_face(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(128, 40, (100, 3))


def test_pose_place_and_size_do_not_count() -> None:
    face = some_face()
    film = np.stack(
        [
            scale * face @ turn.as_matrix() + 9
            for scale, turn in zip((0.5, 1, 2), Rotation.random(3, rng=1), strict=True)
        ]
    )
    assert landmark_shape_distance(film, face) == pytest.approx(0.0, abs=1e-6)


def test_a_mirrored_face_is_another() -> None:
    face = some_face()
    assert landmark_shape_distance((face * [-1, 1, 1])[None], face) > 10


def test_another_face_is_farther_than_a_noisy_one() -> None:
    face = some_face()
    noisy = face + np.random.default_rng(5).normal(0, 1, face.shape)
    assert 0 < landmark_shape_distance(noisy[None], face) < landmark_shape_distance(some_face(1)[None], face)


def test_noise_of_the_tracker_averages_out() -> None:
    face = some_face()
    film = face + np.random.default_rng(5).normal(0, 2, (64, *face.shape))
    assert landmark_shape_distance(film, face) < landmark_shape_distance(film[:1], face) / 4


def test_a_film_without_frames_is_refused() -> None:
    with pytest.raises(ValueError, match="no frame"):
        landmark_shape_distance(np.zeros((0, 100, 3)), some_face())


def test_still_points_are_all_but_the_lips() -> None:
    assert still_points().shape == (468,)
    assert still_points().sum() == 468 - 40
