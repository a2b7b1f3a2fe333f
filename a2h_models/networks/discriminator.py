"""The judges of the adversarial terms: of an image and its keypoints, and of a pose sequence
(method.md §4). Not in the release.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from a2h_models.data_types import POSE_DIM
from a2h_models.features.keypoints import Keypoints, gaussian_heatmaps
from a2h_models.networks.blocks import channels_at
from a2h_models.settings import setting

LEAK = 0.2  # slope of the leaky ReLUs
KERNEL = 4


@dataclass
class PatchDiscriminatorConfig:
    """Defaults: FOMM's for faces at 256×256."""

    width: int = setting(32, at_least=1)
    """Channels of the first layer; each layer doubles them."""

    max_width: int = setting(512, at_least=1)
    """Most channels, however often they are doubled."""

    depth: int = setting(4, at_least=1)
    """Layers."""

    variance: float = setting(0.01, above=0)
    """Variance of the keypoints' Gaussians, in coordinates from -1 to 1."""


@dataclass
class PoseDiscriminatorConfig:
    """Convolutions over time."""

    width: int = setting(64, at_least=1)
    """Channels of the first layer; each layer doubles them."""

    depth: int = setting(3, at_least=1)
    """Layers."""


class DiscriminatorOutput(NamedTuple):
    """1: real, 0: made (LSGAN). The features are what feature matching compares."""

    patches: Float[Tensor, "b 1 *grid"]
    features: list[Tensor]


class PatchDiscriminator(nn.Module):
    """Is each patch of this image real, given where its keypoints are said to be?"""

    def __init__(self, config: PatchDiscriminatorConfig, *, keypoints: int) -> None:
        super().__init__()
        self.variance = config.variance
        sizes = [
            channels_at(level, width=config.width, max_width=config.max_width) for level in range(1, config.depth + 1)
        ]
        self.convs = nn.ModuleList(
            spectral_norm(nn.Conv2d(a, b, KERNEL)) for a, b in zip([3 + keypoints, *sizes], sizes, strict=False)
        )
        self.norms = nn.ModuleList([nn.Identity(), *(nn.InstanceNorm2d(size, affine=True) for size in sizes[1:])])
        self.last = spectral_norm(nn.Conv2d(sizes[-1], 1, 1))

    def forward(self, image: Float[Tensor, "b 3 h w"], keypoints: Keypoints) -> DiscriminatorOutput:
        x = torch.cat([image, gaussian_heatmaps(keypoints.value, *image.shape[-2:], variance=self.variance)], dim=1)
        features: list[Tensor] = []
        for level, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True), start=1):
            x = F.leaky_relu(norm(conv(x)), LEAK)
            x = F.avg_pool2d(x, 2) if level < len(self.convs) else x
            features.append(x)
        return DiscriminatorOutput(patches=self.last(x), features=features)


class PoseDiscriminator(nn.Module):
    """Is each stretch of this pose sequence real?"""

    def __init__(self, config: PoseDiscriminatorConfig) -> None:
        super().__init__()
        sizes = [config.width * 2**level for level in range(config.depth)]
        self.convs = nn.ModuleList(
            nn.Conv1d(a, b, KERNEL, stride=2, padding=1) for a, b in zip([POSE_DIM, *sizes], sizes, strict=False)
        )
        self.last = nn.Conv1d(sizes[-1], 1, 3, padding=1)

    def forward(self, pose: Float[Tensor, "b t 6"]) -> DiscriminatorOutput:
        x = pose.transpose(1, 2)
        features: list[Tensor] = []
        for conv in self.convs:
            x = F.leaky_relu(conv(x), LEAK)
            features.append(x)
        return DiscriminatorOutput(patches=self.last(x), features=features)
