"""Head pose: the range inverts, the camera agrees with the release, boxes are drawn."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from a2h_models.features.head_pose import (
    CENTRE,
    FOCAL,
    POSE_MAX,
    POSE_MIN,
    box_tensor,
    denormalise,
    draw_boxes,
    normalise,
    project,
)

FACING = np.array([0, 0, 0, 0, 0, 280], np.float32)
poses = st.lists(st.floats(-2, 2, width=32), min_size=6, max_size=6).map(lambda numbers: np.array(numbers, np.float32))


@given(poses)
def test_normalise_inverts(normal: np.ndarray) -> None:
    assert np.allclose(normalise(denormalise(normal)), normal, atol=1e-5)
    tensor = torch.from_numpy(normal)
    assert torch.allclose(denormalise(tensor), torch.from_numpy(denormalise(normal)))
    assert torch.allclose(normalise(denormalise(tensor)), tensor, atol=1e-5)


def test_the_range_is_minus_one_to_one() -> None:
    assert np.allclose(normalise(np.array(POSE_MIN, np.float32)), -1)
    assert np.allclose(normalise(np.array(POSE_MAX, np.float32)), 1)


def test_camera() -> None:
    points = np.array([[0.0, 0, 0], [28, 0, 0], [0, -28, 0]])
    assert np.allclose(
        project(points, FACING), [[CENTRE, CENTRE], [CENTRE + FOCAL / 10, CENTRE], [CENTRE, CENTRE - FOCAL / 10]]
    )
    assert np.allclose(project(points, FACING, size=128) * 2, project(points, FACING))


def test_box_of_a_facing_head_is_symmetric() -> None:
    (box,) = draw_boxes(FACING[None])
    assert set(np.unique(box)) == {0, 255}  # no grey: the release's lines are not smoothed
    reach = np.flatnonzero(box.any(0))
    assert abs((reach[0] + reach[-1]) / 2 - CENTRE) <= 1
    assert 2 * 75 * FOCAL / 280 <= reach[-1] - reach[0] <= 2 * 75 * FOCAL / 280 + 4


@given(poses)
@settings(max_examples=25, deadline=None)
def test_any_pose_is_drawn(normal: np.ndarray) -> None:
    assert draw_boxes(denormalise(normal)[None] * np.float32(3)).shape == (1, 256, 256)


def test_poses_that_are_no_numbers_draw_something() -> None:
    assert draw_boxes(np.array([[np.nan] * 6, [0, 0, 0, 0, 0, 0]], np.float32)).dtype == np.uint8


def test_box_tensor() -> None:
    boxes = box_tensor(np.stack([FACING] * 3))
    assert boxes.shape == (3, 1, 256, 256)
    assert boxes.max() == 255
    assert draw_boxes(np.zeros((0, 6), np.float32), size=64).shape == (0, 64, 64)
