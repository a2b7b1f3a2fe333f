"""CPBD: edges of known width, and blur that grows."""

import cv2
import numpy as np
import pytest

from a2h_models.metrics.sharpness import cpbd, edge_widths, upright_edges


def ramp(width: int, low: int = 40, high: int = 220) -> np.ndarray:
    """A film of one frame with one upright edge that rises within `width` steps, in the middle of a
    block.
    """
    row = np.concatenate([np.full(96, low), np.linspace(low, high, width + 1), np.full(159 - width, high)])
    return np.repeat(np.repeat(row.round().astype(np.uint8)[None, None, :, None], 256, axis=1), 3, axis=3)


@pytest.mark.parametrize("width", [1, 2, 3, 6, 11])
def test_the_width_of_an_edge_is_found(width: int) -> None:
    grey = ramp(width)[0, :, :, 0].astype(np.float64)
    edges = upright_edges(grey)
    assert edges.any(axis=1).all()
    np.testing.assert_array_equal(edge_widths(grey)[edges], width)
    np.testing.assert_array_equal(edge_widths(255 - grey)[edges], width)


@pytest.mark.parametrize(
    ("width", "contrast", "expected"), [(3, 180, 1.0), (4, 180, 0.0), (4, 45, 1.0), (5, 45, 1.0), (6, 45, 0.0)]
)
def test_what_is_noticed_depends_on_width_and_contrast(width: int, contrast: int, expected: float) -> None:
    np.testing.assert_array_equal(cpbd(ramp(width, 40, 40 + contrast)), expected)


def test_more_blur_is_never_sharper() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8).repeat(16, 0).repeat(16, 1)
    film = np.stack([noise, *(cv2.GaussianBlur(noise, (0, 0), sigma) for sigma in (0.5, 1.0, 2.0, 4.0))])
    values = cpbd(film)
    assert values[0] == 1.0
    assert (np.diff(values) <= 0).all()
    assert values[-1] < 0.1


def test_a_picture_without_edges_has_none_that_are_sharp() -> None:
    np.testing.assert_array_equal(cpbd(np.full((2, 128, 128, 3), 90, np.uint8)), 0.0)
