"""Keypoints with their local affine frames, and the maps they are read from and drawn into.

FOMM's conventions (method.md §2): coordinates in [-1, 1], x then y; a Jacobian maps the keypoint's own
frame to the image.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import NamedTuple

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor


class Keypoints(NamedTuple):
    """Where k points are, and how the image is stretched and turned around each."""

    value: Float[Tensor, "*b k 2"]
    jacobian: Float[Tensor, "*b k 2 2"]

    def each(self, change: Callable[[Tensor], Tensor]) -> Keypoints:
        """The same change of leading axes (an index, a detach, a move to a device) for values and
        Jacobians.
        """
        return Keypoints(value=change(self.value), jacobian=change(self.jacobian))


def no_autocast(like: Tensor) -> AbstractContextManager[None]:
    """No autocast within: what places things needs more than bfloat16's 8 bits, whose steps near ±1
    are half a pixel of 256.
    """
    context: AbstractContextManager[None] = torch.autocast(like.device.type, enabled=False)
    return context


def to_float32(x: Tensor) -> Tensor:
    """The same numbers in 32 bits at least."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def coordinate_grid(height: int, width: int, like: Tensor) -> Float[Tensor, "h w 2"]:
    """Coordinates of a map's cells, the corner cells at exactly ±1: the grid of the released
    networks.
    """
    x = torch.linspace(-1, 1, width, device=like.device, dtype=like.dtype)
    y = torch.linspace(-1, 1, height, device=like.device, dtype=like.dtype)
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)


def pixel_grid(height: int, width: int, like: Tensor) -> Float[Tensor, "h w 2"]:
    """Coordinates of pixel centres: where `grid_sample(align_corners=False)` gives an image back
    unchanged.
    """
    edge = torch.tensor([1 - 1 / width, 1 - 1 / height], device=like.device, dtype=like.dtype)
    return coordinate_grid(height, width, like) * edge


def gaussian_heatmaps(
    value: Float[Tensor, "*b k 2"], height: int, width: int, *, variance: float
) -> Float[Tensor, "*b k h w"]:
    """Draw each keypoint as a Gaussian of height 1."""
    offset = coordinate_grid(height, width, value) - value[..., None, None, :]
    return torch.exp(-0.5 * offset.square().sum(-1) / variance)


def soft_argmax(heatmap: Float[Tensor, "*b k h w"]) -> Float[Tensor, "*b k 2"]:
    """The expected position under heatmaps that each sum to 1."""
    x = torch.linspace(-1, 1, heatmap.shape[-1], device=heatmap.device, dtype=heatmap.dtype)
    y = torch.linspace(-1, 1, heatmap.shape[-2], device=heatmap.device, dtype=heatmap.dtype)
    return torch.stack([heatmap.sum(-2) @ x, heatmap.sum(-1) @ y], dim=-1)


def read_keypoints(
    logits: Float[Tensor, "*b k h w"],
    jacobian_maps: Float[Tensor, "*b k*4 h w"],
    temperature: float,
) -> tuple[Keypoints, Float[Tensor, "*b k h w"]]:
    """Keypoints, and the heatmaps (each sums to 1) under which positions and Jacobians were
    averaged.
    """
    with no_autocast(logits):
        heatmap = torch.softmax(to_float32(logits).flatten(-2) / temperature, dim=-1).view_as(logits)
        maps = rearrange(to_float32(jacobian_maps), "... (k i j) h w -> ... k i j h w", i=2, j=2)
        jacobian = torch.einsum("...khw,...kijhw->...kij", heatmap, maps)
        return Keypoints(value=soft_argmax(heatmap), jacobian=jacobian), heatmap


def invert(matrix: Float[Tensor, "*b 2 2"]) -> Float[Tensor, "*b 2 2"]:
    """Closed form of the 2×2 inverse: no batched solver call, and it compiles."""
    (a, b), (c, d) = (row.unbind(-1) for row in matrix.unbind(-2))
    adjugate = torch.stack([torch.stack([d, -b], dim=-1), torch.stack([-c, a], dim=-1)], dim=-2)
    return adjugate / (a * d - b * c)[..., None, None]


def relative_keypoints(driving: Keypoints, first_driving: Keypoints, source: Keypoints) -> Keypoints:
    """Move the source as the driving moved since its first frame, instead of to where the driving
    is.

    The first remedy for the release's identity collapse (method.md §2): the portrait's own layout of
    keypoints is kept.
    """
    with no_autocast(source.value):
        return Keypoints(
            value=source.value + driving.value - first_driving.value,
            jacobian=driving.jacobian @ invert(first_driving.jacobian) @ source.jacobian,
        )
