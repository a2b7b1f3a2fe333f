"""Blinks, on a face that is nothing but two eyes."""

import numpy as np
import pytest

from a2h_models.metrics.blink import EYES, blink_rate, openness


def eyes(opened: np.ndarray) -> np.ndarray:
    """Landmarks of eyes 30 pixels wide whose lids are `opened` times that apart."""
    landmarks = np.zeros((len(opened), 468, 3), np.float32)
    for middle, (outer, upper_out, upper_in, inner, lower_in, lower_out) in zip((80, 180), EYES, strict=True):
        landmarks[:, outer, 0], landmarks[:, inner, 0] = middle - 15, middle + 15
        for point, across, side in ((upper_out, -5, -1), (upper_in, 5, -1), (lower_in, 5, 1), (lower_out, -5, 1)):
            landmarks[:, point, 0] = middle + across
            landmarks[:, point, 1] = side * opened * 15
    return landmarks


def course(frames: int, *shut: tuple[int, int]) -> np.ndarray:
    opened = np.full(frames, 0.3)
    for start, stop in shut:
        opened[start:stop] = 0.05
    return opened


def test_openness_is_height_over_width() -> None:
    np.testing.assert_allclose(openness(eyes(np.array([0.3, 0.1, 0.0]))), [0.3, 0.1, 0.0], atol=1e-6)


@pytest.mark.parametrize(
    ("shut", "blinks"),
    [
        ([], 0),
        ([(20, 23)], 1),
        ([(20, 23), (60, 65), (100, 112)], 3),
        ([(20, 21)], 0),  # one frame: noise
        ([(20, 40)], 0),  # eyes that stay closed
        ([(0, 4), (70, 74)], 1),  # nobody knows how long the first one was
        ([(146, 150)], 0),  # nor the last
    ],
)
def test_blinks_are_counted_by_the_minute(shut: list[tuple[int, int]], blinks: int) -> None:
    landmarks = eyes(course(150, *shut))  # 6 s
    assert blink_rate(landmarks, np.ones(150, bool)) == pytest.approx(10 * blinks)


def test_frames_without_a_face_do_not_count() -> None:
    landmarks, found = eyes(course(150, (20, 23))), np.ones(150, bool)
    found[75:] = False
    assert blink_rate(landmarks, found) == pytest.approx(20)
    assert np.isnan(blink_rate(landmarks, np.zeros(150, bool)))
