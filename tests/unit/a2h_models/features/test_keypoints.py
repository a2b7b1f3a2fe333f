"""Keypoints: what is drawn as heatmaps is read back, inverses invert, relative keypoints start at
the source.
"""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from a2h_models.features.keypoints import (
    Keypoints,
    coordinate_grid,
    gaussian_heatmaps,
    invert,
    pixel_grid,
    read_keypoints,
    relative_keypoints,
    soft_argmax,
)


def random_keypoints(seed: int, *shape: int) -> Keypoints:
    generator = torch.Generator().manual_seed(seed)
    value = torch.rand(*shape, 2, generator=generator) - 0.5
    jacobian = torch.eye(2) + 0.2 * torch.randn(*shape, 2, 2, generator=generator)
    return Keypoints(value=value, jacobian=jacobian)


def test_grids() -> None:
    like = torch.zeros(1)
    grid = coordinate_grid(3, 5, like)
    assert grid.shape == (3, 5, 2)
    assert grid[0, -1].tolist() == [1, -1]  # x, then y
    image = torch.rand(1, 2, 3, 5)
    same = torch.nn.functional.grid_sample(image, pixel_grid(3, 5, like)[None], align_corners=False)
    assert torch.allclose(same, image, atol=1e-6)


@given(st.integers(0, 100))
@settings(max_examples=10, deadline=None)
def test_keypoints_are_read_from_their_heatmaps(seed: int) -> None:
    value = random_keypoints(seed, 2, 3).value
    heatmap = gaussian_heatmaps(value, 58, 58, variance=0.01)
    assert torch.allclose(soft_argmax(heatmap / heatmap.sum((-2, -1), keepdim=True)), value, atol=0.01)


def test_read_keypoints_averages_jacobians_under_the_heatmaps() -> None:
    logits = torch.randn(2, 3, 4, 5)
    maps = torch.randn(2, 12, 4, 5)
    keypoints, heatmap = read_keypoints(logits, maps, temperature=0.1)
    assert torch.allclose(heatmap.sum((-2, -1)), torch.ones(2, 3))
    wanted = (heatmap[:, :, None] * maps.view(2, 3, 4, 4, 5)).sum((-2, -1)).view(2, 3, 2, 2)
    assert torch.allclose(keypoints.jacobian, wanted, atol=1e-6)


def test_invert() -> None:
    matrices = random_keypoints(0, 5, 4).jacobian.double()
    assert torch.allclose(invert(matrices), torch.linalg.inv(matrices))


def test_relative_keypoints_begin_at_the_source() -> None:
    source, first, later = (random_keypoints(seed, 1, 10) for seed in (1, 2, 3))
    begin = relative_keypoints(first, first, source)
    assert torch.allclose(begin.value, source.value, atol=1e-6)
    assert torch.allclose(begin.jacobian, source.jacobian, atol=1e-5)
    moved = relative_keypoints(later, first, source)
    assert torch.allclose(moved.value - source.value, later.value - first.value, atol=1e-6)


def test_relative_to_itself_is_absolute() -> None:
    first, later = random_keypoints(2, 1, 10), random_keypoints(3, 1, 10)
    same = relative_keypoints(later, first, first)
    assert torch.allclose(same.jacobian, later.jacobian, atol=1e-5)


def test_each() -> None:
    keypoints = random_keypoints(0, 4, 3).each(lambda x: x[:2])
    assert keypoints.value.shape == (2, 3, 2)
    assert keypoints.jacobian.shape == (2, 3, 2, 2)
