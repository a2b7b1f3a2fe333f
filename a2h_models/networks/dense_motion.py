"""Dense motion: from keypoints of the portrait and of the frame to be drawn to a flow between them
(FOMM; method.md §3).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from a2h_models.features.keypoints import Keypoints, coordinate_grid, gaussian_heatmaps, invert, no_autocast, to_float32
from a2h_models.networks.blocks import ALIGN_CORNERS, Hourglass
from a2h_models.settings import setting


@dataclass
class DenseMotionConfig:
    """Defaults: the release's."""

    width: int = setting(64, at_least=1)
    """Channels of the hourglass before its first halving; each halving doubles them."""

    max_width: int = setting(1024, at_least=1)
    """Most channels, however often they are doubled."""

    depth: int = setting(5, at_least=1)
    """Halvings."""

    downscale: int = setting(4, at_least=1)
    """Image size / size of the flow."""

    head_kernel: int = setting(7, at_least=1)
    """Kernel of the convolutions that give masks and occlusion."""

    variance: float = setting(0.01, above=0)
    """Variance of the keypoints' Gaussians, in coordinates from -1 to 1."""


class DenseMotionOutput(NamedTuple):
    deformation: Float[Tensor, "b h w 2"]  # where in the portrait each cell looks, [-1, 1]
    occlusion: Float[Tensor, "b 1 h w"]  # 1: seen in the portrait; 0: to be invented
    mask: Float[Tensor, "b m h w"]  # m = k + 1: which motion moves each cell; index 0 is the still background


class DenseMotion(nn.Module):
    def __init__(self, config: DenseMotionConfig, *, keypoints: int) -> None:
        super().__init__()
        self.variance = config.variance
        motions = keypoints + 1
        self.hourglass = Hourglass(
            motions * (3 + 1), width=config.width, max_width=config.max_width, depth=config.depth
        )
        self.mask = nn.Conv2d(self.hourglass.channels, motions, config.head_kernel, padding=config.head_kernel // 2)
        self.occlusion = nn.Conv2d(self.hourglass.channels, 1, config.head_kernel, padding=config.head_kernel // 2)

    def forward(self, portrait: Float[Tensor, "b 3 h w"], source: Keypoints, driving: Keypoints) -> DenseMotionOutput:
        """The portrait comes at the flow's resolution."""
        height, width = portrait.shape[-2:]
        motions = self.sparse_motions(height, width, source, driving)
        candidates = torch.cat([self.heatmaps(height, width, source, driving), warp_by_each(portrait, motions)], dim=2)
        features = self.hourglass(candidates.flatten(1, 2))
        logits = self.mask(features)
        with no_autocast(motions):
            mask = torch.softmax(to_float32(logits), dim=1)
            deformation = torch.einsum("bmhw,bmhwc->bhwc", mask, motions)
        return DenseMotionOutput(deformation=deformation, occlusion=torch.sigmoid(self.occlusion(features)), mask=mask)

    def heatmaps(self, height: int, width: int, source: Keypoints, driving: Keypoints) -> Float[Tensor, "b m 1 h w"]:
        """Where each keypoint comes from (−1) and goes to (+1); zeros for the background."""
        gone = gaussian_heatmaps(driving.value, height, width, variance=self.variance)
        left = gaussian_heatmaps(source.value, height, width, variance=self.variance)
        return F.pad(gone - left, (0, 0, 0, 0, 1, 0)).unsqueeze(2)

    def sparse_motions(
        self, height: int, width: int, source: Keypoints, driving: Keypoints
    ) -> Float[Tensor, "b m h w 2"]:
        """Each keypoint's own affine motion from the frame back to the portrait (FOMM, eq.

        4); first the identity.
        """
        grid = coordinate_grid(height, width, source.value)
        offset = grid - driving.value[:, :, None, None, :]
        with no_autocast(grid):
            turn = source.jacobian @ invert(driving.jacobian)
            moved = torch.einsum("bkij,bkhwj->bkhwi", turn, offset) + source.value[:, :, None, None, :]
        return torch.cat([grid.expand(len(moved), 1, -1, -1, -1), moved], dim=1)


def warp_by_each(image: Float[Tensor, "b c h w"], motions: Float[Tensor, "b m h w 2"]) -> Float[Tensor, "b m c h w"]:
    """One warped copy for each motion; the motions are stacked in height, so that the image need
    not be repeated.
    """
    stacked = F.grid_sample(image, rearrange(motions, "b m h w xy -> b (m h) w xy"), align_corners=ALIGN_CORNERS)
    return rearrange(stacked, "b c (m h) w -> b m c h w", m=motions.shape[1])


def resize_flow(deformation: Float[Tensor, "b h w 2"], height: int, width: int) -> Float[Tensor, "b H W 2"]:
    """Bilinear, as the release resizes a flow to the features it warps."""
    if deformation.shape[1:3] == (height, width):
        return deformation
    resized = F.interpolate(
        rearrange(deformation, "b h w xy -> b xy h w"),
        size=(height, width),
        mode="bilinear",
        align_corners=ALIGN_CORNERS,
    )
    return rearrange(resized, "b xy h w -> b h w xy")
