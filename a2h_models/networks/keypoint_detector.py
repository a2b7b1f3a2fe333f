"""The keypoint detector: an image's keypoints and their Jacobians, learned without labels (FOMM;
method.md §3).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

from a2h_models.features.keypoints import Keypoints, read_keypoints
from a2h_models.networks.blocks import BlurDown, Hourglass, start_as_identity
from a2h_models.settings import setting


@dataclass
class KeypointDetectorConfig:
    """Defaults: the release's."""

    width: int = setting(32, at_least=1)
    """Channels of the hourglass before its first halving; each halving doubles them."""

    max_width: int = setting(1024, at_least=1)
    """Most channels, however often they are doubled."""

    depth: int = setting(5, at_least=1)
    """Halvings."""

    downscale: int = setting(4, at_least=1)
    """Image size / size of the maps."""

    head_kernel: int = setting(7, at_least=1)
    """Kernel of the convolutions that give heatmaps and Jacobians, without padding."""

    temperature: float = setting(0.1, above=0)
    """Temperature of the heatmaps' softmax."""


class DetectorOutput(NamedTuple):
    keypoints: Keypoints
    heatmap: Float[Tensor, "b k h w"]  # each sums to 1
    logits: Float[Tensor, "b k h w"]  # before temperature and softmax


class KeypointDetector(nn.Module):
    def __init__(self, config: KeypointDetectorConfig, *, keypoints: int) -> None:
        super().__init__()
        self.temperature = config.temperature
        self.blur = BlurDown(config.downscale)
        self.hourglass = Hourglass(3, width=config.width, max_width=config.max_width, depth=config.depth)
        self.heatmap = nn.Conv2d(self.hourglass.channels, keypoints, config.head_kernel)
        self.jacobian = nn.Conv2d(self.hourglass.channels, 4 * keypoints, config.head_kernel)
        start_as_identity(self.jacobian)

    def detect(self, image: Float[Tensor, "b 3 H W"]) -> DetectorOutput:
        """Keypoints with the heatmaps they were read from. The image is RGB in [0, 1]."""
        features = self.hourglass(self.blur(image))
        logits = self.heatmap(features)
        keypoints, heatmap = read_keypoints(logits, self.jacobian(features), self.temperature)
        return DetectorOutput(keypoints=keypoints, heatmap=heatmap, logits=logits)

    def forward(self, image: Float[Tensor, "b 3 H W"]) -> Keypoints:
        return self.detect(image).keypoints
