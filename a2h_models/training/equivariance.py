"""Random transforms of the image plane, with their Jacobians: what keypoints are made to follow
(FOMM; method.md §4).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from a2h_models.features.keypoints import coordinate_grid, no_autocast, pixel_grid
from a2h_models.networks.blocks import ALIGN_CORNERS

LOG_GUARD = 1e-6  # keeps the thin-plate spline's logarithm finite at a control point


@dataclass(frozen=True, kw_only=True)
class Warping:
    """How far random transforms are from the identity."""

    affine_sigma: float
    tps_sigma: float
    tps_points: int


@dataclass(frozen=True, kw_only=True)
class Transform:
    """An affine map plus a thin-plate spline, one for each image of a batch: from the transformed
    image back to the image.

    The spline is FOMM's: it moves x and y alike, and its distance is |dx| + |dy|.
    """

    affine: Float[Tensor, "b 2 3"]
    centres: Float[Tensor, "n 2"]
    weights: Float[Tensor, "b n"]

    def warp(self, points: Float[Tensor, "b k 2"]) -> Float[Tensor, "b k 2"]:
        distance = self._offsets(points).abs().sum(-1)
        with no_autocast(points):
            linear = torch.einsum("bij,bkj->bki", self.affine[..., :2], points) + self.affine[:, None, :, 2]
            bend = torch.einsum("bkn,bn->bk", distance.square() * torch.log(distance + LOG_GUARD), self.weights)
        return linear + bend[..., None]

    def jacobian(self, points: Float[Tensor, "b k 2"]) -> Float[Tensor, "b k 2 2"]:
        """Closed form of ∂warp/∂points. At a control point the spline's share is zero."""
        offsets = self._offsets(points)
        distance = offsets.abs().sum(-1)
        slope = 2 * distance * torch.log(distance + LOG_GUARD) + distance.square() / (distance + LOG_GUARD)
        with no_autocast(points):
            gradient = torch.einsum("bkn,bkni,bn->bki", slope, offsets.sign(), self.weights)
        return self.affine[:, None, :, :2] + gradient[..., None, :]

    def apply(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """The transformed image; what lies outside is mirrored in.

        The identity leaves every pixel as it is.
        """
        batch, _, height, width = image.shape
        grid = pixel_grid(height, width, image).reshape(1, -1, 2).expand(batch, -1, -1)
        where = self.warp(grid).reshape(batch, height, width, 2)
        return F.grid_sample(image, where, padding_mode="reflection", align_corners=ALIGN_CORNERS)

    def _offsets(self, points: Float[Tensor, "b k 2"]) -> Float[Tensor, "b k n 2"]:
        return points[:, :, None, :] - self.centres


def random_transform(
    like: Float[Tensor, "b c h w"],
    *,
    affine_sigma: float,
    tps_sigma: float,
    tps_points: int,
    generator: torch.Generator | None = None,
) -> Transform:
    """One transform for each image of a batch.

    Args:
        like: the images: how many, on which device.
        affine_sigma: spread of the six affine numbers around the identity.
        tps_sigma: spread of the spline's weights.
        tps_points: control points a side.
        generator: where the randomness comes from; None takes the device's own.
    """
    batch = len(like)
    draw = generator.device if generator is not None else like.device
    affine = torch.eye(2, 3, device=draw) + affine_sigma * torch.randn(batch, 2, 3, device=draw, generator=generator)
    weights = tps_sigma * torch.randn(batch, tps_points**2, device=draw, generator=generator)
    centres = coordinate_grid(tps_points, tps_points, like).reshape(-1, 2)
    return Transform(affine=affine.to(like), centres=centres, weights=weights.to(like))
