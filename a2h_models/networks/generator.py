"""The renderer: a portrait, its keypoints and the keypoints to be drawn → a frame (FOMM's
generator; method.md §3).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from a2h_models.features.keypoints import Keypoints, coordinate_grid, pixel_grid
from a2h_models.networks.blocks import (
    ALIGN_CORNERS,
    BlurDown,
    DownBlock,
    ResidualBlock,
    SameBlock,
    UpBlock,
    channels_at,
)
from a2h_models.networks.dense_motion import DenseMotion, DenseMotionConfig, DenseMotionOutput, resize_flow
from a2h_models.settings import setting

BLEND_OCCLUSION = 3.0  # logit: a blending generator starts with 95 % of the warped portrait
# logit of the still background over each keypoint's motion, at the start of a blending generator
BLEND_BACKGROUND = 2.0


@dataclass
class GeneratorConfig:
    """Defaults: the release's."""

    width: int = setting(64, at_least=1)
    """Channels of the first layer; each halving doubles them."""

    max_width: int = setting(512, at_least=1)
    """Most channels, however often they are doubled."""

    depth: int = setting(2, at_least=0)
    """Halvings before the bottleneck."""

    residual_blocks: int = setting(6, at_least=0)
    """Residual blocks of the bottleneck."""

    # A small network is recognisable after a minute of training: it starts as a copy of the portrait.
    blend_source: bool = setting(default=False)
    """Warp the portrait at full resolution and synthesise only the rest; not in the release."""

    dense_motion: DenseMotionConfig = field(default_factory=DenseMotionConfig)


class EncodedPortrait(NamedTuple):
    """What of a portrait does not depend on the frame: computed once for a whole video."""

    image: Float[Tensor, "b 3 H W"]
    small: Float[Tensor, "b 3 h w"]  # at the flow's resolution
    features: Float[Tensor, "b c h2 w2"]
    keypoints: Keypoints


class GeneratorOutput(NamedTuple):
    prediction: Float[Tensor, "b 3 H W"]  # RGB in [0, 1]
    deformation: Float[Tensor, "b h w 2"]
    occlusion: Float[Tensor, "b 1 h w"]
    mask: Float[Tensor, "b m h w"]


class Generator(nn.Module):
    def __init__(self, config: GeneratorConfig, *, keypoints: int) -> None:
        super().__init__()
        sizes = [
            channels_at(level, width=config.width, max_width=config.max_width) for level in range(config.depth + 1)
        ]
        self.blend_source = config.blend_source
        self.blur = BlurDown(config.dense_motion.downscale)
        self.dense_motion = DenseMotion(config.dense_motion, keypoints=keypoints)
        self.first = SameBlock(3, config.width, kernel=7)
        self.down = nn.ModuleList(DownBlock(a, b) for a, b in pairwise(sizes))
        self.bottleneck = nn.Sequential(*(ResidualBlock(sizes[-1]) for _ in range(config.residual_blocks)))
        self.up = nn.ModuleList(UpBlock(b, a) for a, b in reversed(list(pairwise(sizes))))
        self.last = nn.Conv2d(config.width, 3, 7, padding=3)
        if self.blend_source:
            start_as_copy(self.dense_motion)

    def forward(self, portrait: Float[Tensor, "b 3 H W"], source: Keypoints, driving: Keypoints) -> GeneratorOutput:
        return self.render(self.encode(portrait, source), driving)

    def encode(self, portrait: Float[Tensor, "b 3 H W"], source: Keypoints) -> EncodedPortrait:
        features = self.first(portrait)
        for down in self.down:
            features = down(features)
        return EncodedPortrait(image=portrait, small=self.blur(portrait), features=features, keypoints=source)

    def render(self, portrait: EncodedPortrait, driving: Keypoints) -> GeneratorOutput:
        """Draw frames.

        One encoded portrait may stand for as many frames as there are driving keypoints.
        """
        portrait = _repeat(portrait, len(driving.value))
        motion = self.dense_motion(portrait.small, portrait.keypoints, driving)
        features = warp(portrait.features, motion.deformation)
        features = features * resize_map(motion.occlusion, *features.shape[-2:])
        for up in (self.bottleneck, *self.up):
            features = up(features)
        prediction = torch.sigmoid(self.last(features))
        if self.blend_source:
            prediction = blend(portrait.image, prediction, motion)
        return GeneratorOutput(prediction, motion.deformation, motion.occlusion, motion.mask)


def start_as_copy(dense_motion: DenseMotion) -> None:
    """Let nearly everything be seen in the portrait, and the background win where keypoints
    disagree.
    """
    nn.init.zeros_(dense_motion.occlusion.weight)
    with torch.no_grad():
        for head, logit in ((dense_motion.occlusion, BLEND_OCCLUSION), (dense_motion.mask, BLEND_BACKGROUND)):
            assert head.bias is not None
            head.bias[0] = logit


def _repeat(portrait: EncodedPortrait, count: int) -> EncodedPortrait:
    """Views of the one portrait for `count` frames; nothing is copied."""
    if len(portrait.image) == count:
        return portrait
    image, small, features, keypoints = portrait
    return EncodedPortrait(
        image=image.expand(count, -1, -1, -1),
        small=small.expand(count, -1, -1, -1),
        features=features.expand(count, -1, -1, -1),
        keypoints=keypoints.each(lambda x: x.expand(count, *x.shape[1:])),
    )


def warp(features: Float[Tensor, "b c h w"], deformation: Float[Tensor, "b h2 w2 2"]) -> Float[Tensor, "b c h w"]:
    """In the flow's type: bfloat16's steps are half a pixel of 256."""
    return F.grid_sample(
        features.to(deformation.dtype), resize_flow(deformation, *features.shape[-2:]), align_corners=ALIGN_CORNERS
    )


def resize_map(values: Float[Tensor, "b 1 h w"], height: int, width: int) -> Float[Tensor, "b 1 H W"]:
    if values.shape[-2:] == (height, width):
        return values
    return F.interpolate(values, size=(height, width), mode="bilinear", align_corners=ALIGN_CORNERS)


def blend(
    portrait: Float[Tensor, "b 3 H W"], synthesised: Float[Tensor, "b 3 H W"], motion: DenseMotionOutput
) -> Float[Tensor, "b 3 H W"]:
    """The portrait, warped at full resolution, where it shows the frame; the synthesised picture
    elsewhere.

    What is resized is the displacement, so that no motion leaves every pixel exactly where it is.
    """
    height, width = portrait.shape[-2:]
    rows, columns = motion.deformation.shape[1:3]
    displacement = motion.deformation - coordinate_grid(rows, columns, motion.deformation)
    flow = pixel_grid(height, width, displacement) + resize_flow(displacement, height, width)
    warped = F.grid_sample(portrait, flow, padding_mode="border", align_corners=ALIGN_CORNERS)
    seen = resize_map(motion.occlusion, height, width)
    return seen * warped + (1 - seen) * synthesised
