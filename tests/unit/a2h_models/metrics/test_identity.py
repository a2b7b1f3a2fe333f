"""CSIM with made-up weights: how faces are laid, and what is made of cosines."""

import numpy as np
import pytest
import torch

from a2h_models.evaluators.arcface import ArcFace
from a2h_models.metrics.av_sync import EYE_CORNERS, MOUTH_CORNERS, NOSE
from a2h_models.metrics.identity import INNER_EYE_CORNERS, PLACES, align, identities, identity_similarity


def _face(points: np.ndarray) -> np.ndarray:
    """Landmarks whose eyes, nose and mouth corners lie at five points."""
    landmarks = np.zeros((1, 468, 3), np.float32)
    for point, outer, inner in zip(points[:2], EYE_CORNERS, INNER_EYE_CORNERS, strict=True):
        landmarks[0, outer, :2], landmarks[0, inner, :2] = point - 4, point + 4
    landmarks[0, NOSE, :2] = points[2]
    landmarks[0, MOUTH_CORNERS, :2] = points[3:]
    return landmarks


@pytest.mark.parametrize(("scale", "degrees", "shift"), [(1.0, 0, (0, 0)), (1.5, 20, (60, 20)), (0.8, -35, (40, 120))])
def test_a_face_is_turned_scaled_and_moved_to_where_it_is_expected(
    scale: float, degrees: float, shift: tuple[float, float]
) -> None:
    angle = np.radians(degrees)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = PLACES @ turn.T + shift
    picture = np.zeros((1, 256, 256, 3), np.uint8)
    x, y = points[2].round().astype(int)
    picture[0, y - 2 : y + 3, x - 2 : x + 3] = 255  # a white nose
    face = align(picture, _face(points))[0]
    assert face.shape == (3, 112, 112)
    row, column = np.argwhere(face[0].numpy() > 0).mean(axis=0) + 0.5
    np.testing.assert_allclose((column, row), PLACES[2], atol=1.5)


def test_cosines_are_averaged_and_the_worst_are_told() -> None:
    found = identity_similarity(np.array([0.9] * 90 + [0.05] * 10))
    assert found.mean == pytest.approx(0.815)
    assert found.low == pytest.approx(0.05)
    assert found.collapsed == pytest.approx(0.1)
    with pytest.raises(ValueError, match="no face"):
        identity_similarity(np.zeros(0))


def test_identities_are_unit_vectors_of_the_frames_with_a_face() -> None:
    torch.manual_seed(0)
    network = ArcFace().eval()
    frames = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3)).astype(np.uint8)
    landmarks = np.repeat(_face(PLACES * 2), 3, axis=0)
    found = identities(network, frames, landmarks, np.array([True, False, True]))
    assert found.shape == (2, 512)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(
        found[1:], identities(network, frames, landmarks, np.array([False, False, True])), atol=1e-5
    )
    assert identities(network, frames, landmarks, np.zeros(3, bool)).shape == (0, 512)
