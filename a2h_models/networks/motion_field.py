"""The motion field generator: speech, head pose and portrait → keypoints and Jacobians of a window
of frames (method.md §3).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Self

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from a2h_models.data_types import POSE_DIM, SIZE, SPEECH_DIM
from a2h_models.features.keypoints import Keypoints, no_autocast, read_keypoints, to_float32
from a2h_models.networks.blocks import (
    BlurDown,
    ResidualBlock,
    blur_down,
    channels_at,
    gaussian_kernel,
    start_as_identity,
)
from a2h_models.networks.keypoint_detector import KeypointDetector, KeypointDetectorConfig
from a2h_models.settings import setting
from a2h_models.timebase import HOPS_PER_FRAME, exact_div

LIFT = 32  # cells a side of the picture that a frame's speech is lifted to
LIFT_WIDTH, LIFT_PADDING = 14, 11  # of the transposed convolution along the feature axis: 41 → 32
SPEECH_CHANNELS = 2  # of the lifted speech
CHANGES = 2 + 4  # of an anchored keypoint: where it is, and its Jacobian
TURN_GAIN = 10.0  # so that weights of usual size, and a usual rate, do for what a turned head moves
INPUTS = SPEECH_CHANNELS + 3 + 1  # speech, RGB portrait, box


@dataclass
class MotionFieldConfig:
    """Defaults: the release's."""

    width: int = setting(32, at_least=1)
    """Channels of the hourglass before its first halving; each halving doubles them."""

    max_width: int = setting(512, at_least=1)
    """Most channels, however often they are doubled."""

    depth: int = setting(5, at_least=1)
    """Halvings of the window, in time and space."""

    grid: int = setting(64, at_least=32)
    """Cells a side, a multiple of 32; portrait and pose map are brought down to it."""

    head_kernel: int = setting(7, at_least=1)
    """Kernel of the heads; as the keypoint detector's, the heatmaps of both agree cell for cell."""

    lift_channels: int = setting(8, at_least=1)
    """Channels between the two convolutions that lift speech to a picture."""

    lift_kernel: int = setting(13, at_least=1)
    """Kernel of the second of these convolutions."""

    temperature: float = setting(0.1, above=0)
    """Temperature of the heatmaps' softmax."""

    # An untrained network repeats the portrait's keypoints; only the motion of a new face is left to learn.
    anchored: bool = setting(default=False)
    """Predict how far each of the portrait's own keypoints moves; not in the release."""


class MotionFieldOutput(NamedTuple):
    keypoints: Keypoints  # (b, t, k, …)
    heatmap: Float[Tensor, "b t k h w"]  # each sums to 1; of an anchored network the portrait's
    logits: Float[Tensor, "b t k h w"]


class ResidualDown(nn.Module):
    """A residual block, then a convolution, at half the resolution in time and space."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.residual, self.residual_norm = ResidualBlock(inputs, dims=3), nn.BatchNorm3d(inputs)
        self.conv, self.norm = nn.Conv3d(inputs, outputs, 3, padding=1), nn.BatchNorm3d(outputs)

    def forward(self, x: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b d t//2 h//2 w//2"]:
        x = F.relu(self.residual_norm(self.residual(x)), inplace=True)
        return F.avg_pool3d(F.relu(self.norm(self.conv(x)), inplace=True), 2)


class ResidualUp(nn.Module):
    """A convolution at twice the resolution, nearest, then a residual block."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv3d(inputs, outputs, 3, padding=1), nn.BatchNorm3d(outputs)
        self.residual, self.residual_norm = ResidualBlock(outputs, dims=3), nn.BatchNorm3d(outputs)

    def forward(self, x: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b d 2*t 2*h 2*w"]:
        x = F.relu(self.norm(self.conv(F.interpolate(x, scale_factor=2))), inplace=True)
        return F.relu(self.residual_norm(self.residual(x)), inplace=True)


class Skip(nn.Module):
    """What a level hands over to the way up."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.residual, self.norm = ResidualBlock(channels, dims=3), nn.BatchNorm3d(channels)

    def forward(self, x: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b c t h w"]:
        return F.relu(self.norm(self.residual(x)), inplace=True)


class ResidualHourglass(nn.Module):
    """The hourglass of a window: residual blocks everywhere, also in the skips; gives `width +
    inputs` channels.
    """

    def __init__(self, inputs: int, *, width: int, max_width: int, depth: int) -> None:
        super().__init__()
        sizes = [channels_at(level, width=width, max_width=max_width) for level in range(depth + 1)]
        kept = [inputs, *sizes[1:-1]]  # channels of the skips, outermost first
        self.down = nn.ModuleList(ResidualDown(a, b) for a, b in zip(kept, sizes[1:], strict=True))
        joined = [2 * size for size in sizes[1:-1]] + [sizes[-1]]
        self.up = nn.ModuleList(ResidualUp(a, b) for a, b in zip(reversed(joined), reversed(sizes[:-1]), strict=True))
        self.skip = nn.ModuleList(Skip(channels) for channels in reversed(kept))
        self.channels = width + inputs

    def forward(self, x: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b d t h w"]:
        levels = [x]
        for down in self.down:
            levels.append(down(levels[-1]))
        out = levels.pop()
        for up, skip in zip(self.up, self.skip, strict=True):
            out = torch.cat([up(out), skip(levels.pop())], dim=1)
        return out


class PortraitAnchor(nn.Module):
    """The portrait's keypoints by the teacher's detector, which no longer learns, and what each
    does over the window.

    The features of a frame are averaged under the portrait's heatmap of a keypoint, and a linear
    map says from this how the keypoint moves and how its Jacobian changes: as the detector reads a
    Jacobian, so that the same motion is read wherever a face is. Another linear map knows how far
    the head is from the portrait's own pose.
    """

    def __init__(self, config: KeypointDetectorConfig, *, keypoints: int, channels: int) -> None:
        super().__init__()
        self.detector = KeypointDetector(config, keypoints=keypoints).requires_grad_(requires_grad=False)
        self.weight = nn.Parameter(torch.zeros(keypoints, channels, CHANGES))
        self.bias = nn.Parameter(torch.zeros(keypoints, CHANGES))
        self.turn = nn.Parameter(torch.zeros(keypoints, POSE_DIM, CHANGES))

    @override
    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        self.detector.eval()
        return self

    def forward(
        self,
        portrait: Float[Tensor, "b 3 h w"],
        features: Float[Tensor, "b c t grid grid"],
        turned: Float[Tensor, "b t 6"],
    ) -> MotionFieldOutput:
        seen = self.detector.detect(portrait)
        margin = (features.shape[-1] - seen.heatmap.shape[-1]) // 2
        inside = features[..., margin : margin + seen.heatmap.shape[-2], margin : margin + seen.heatmap.shape[-1]]
        with no_autocast(features):
            read = torch.einsum("bkhw,bcthw->btkc", seen.heatmap, to_float32(inside))
            change = torch.einsum("btkc,kcd->btkd", read, self.weight) + self.bias
            change = change + torch.einsum("btp,kpd->btkd", TURN_GAIN * turned, self.turn)
        frames = features.shape[2]
        return MotionFieldOutput(
            keypoints=Keypoints(
                value=seen.keypoints.value[:, None] + change[..., :2],
                jacobian=seen.keypoints.jacobian[:, None] + rearrange(change[..., 2:], "b t k (i j) -> b t k i j", i=2),
            ),
            heatmap=repeat(seen.heatmap, "b k h w -> b t k h w", t=frames),
            logits=repeat(seen.logits, "b k h w -> b t k h w", t=frames),
        )


class MotionField(nn.Module):
    """Speech as a picture, portrait and box, stacked over the window and read by a 3-D hourglass."""

    def __init__(
        self,
        config: MotionFieldConfig,
        *,
        keypoints: int,
        image_size: int,
        detector: KeypointDetectorConfig | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.listen = nn.Sequential(
            nn.ConvTranspose2d(
                1, config.lift_channels, (LIFT - HOPS_PER_FRAME + 1, LIFT_WIDTH), padding=(0, LIFT_PADDING)
            ),
            nn.BatchNorm2d(config.lift_channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(config.lift_channels, SPEECH_CHANNELS, config.lift_kernel, padding=config.lift_kernel // 2),
        )
        self.blur_portrait = BlurDown(exact_div(image_size, config.grid))
        self.blur_box = BlurDown(exact_div(SIZE, config.grid))
        self.hourglass = ResidualHourglass(INPUTS, width=config.width, max_width=config.max_width, depth=config.depth)
        self.anchor: PortraitAnchor | None = None
        if config.anchored:
            assert detector is not None
            self.anchor = PortraitAnchor(detector, keypoints=keypoints, channels=self.hourglass.channels)
            return
        kernel = config.head_kernel
        self.heatmap = nn.Conv3d(self.hourglass.channels, keypoints, kernel, padding=(kernel // 2, 0, 0))
        self.jacobian = nn.Conv2d(self.hourglass.channels, 4 * keypoints, kernel)
        start_as_identity(self.jacobian)

    def forward(
        self,
        speech: Float[Tensor, "b t 4 41"],
        box: Float[Tensor, "b t 1 H W"],  # 0..255, not rescaled
        portrait: Float[Tensor, "b 3 h w"],
        turned: Float[Tensor, "b t 6"] | None = None,
    ) -> MotionFieldOutput:
        """Read a window. Its length must be a multiple of 2^depth.

        An anchored network needs `turned`, too: normalised poses less the portrait's own.

        Raises:
            ValueError: if it lacks that.
        """
        batch, frames = speech.shape[:2]
        heard = self.lift(rearrange(speech, "b t rows dims -> (b t) 1 rows dims"))
        boxes = self.to_grid(rearrange(box, "b t c h w -> (b t) c h w"), self.blur_box)
        shown = repeat(self.to_grid(portrait, self.blur_portrait), "b c h w -> b c t h w", t=frames)
        heard, boxes = (rearrange(x, "(b t) c h w -> b c t h w", b=batch) for x in (heard, boxes))
        features = self.hourglass(torch.cat([heard, shown, boxes], dim=1))
        if self.anchor is not None:
            if turned is None:
                raise ValueError(
                    "an anchored motion field must be told how far the head is from the portrait's own pose"
                )
            anchored: MotionFieldOutput = self.anchor(portrait, features, turned)
            return anchored
        logits = rearrange(self.heatmap(features), "b k t h w -> b t k h w")
        jacobian = self.jacobian(rearrange(features, "b c t h w -> (b t) c h w"))
        keypoints, heatmap = read_keypoints(
            logits, rearrange(jacobian, "(b t) c h w -> b t c h w", b=batch), self.config.temperature
        )
        return MotionFieldOutput(keypoints=keypoints, heatmap=heatmap, logits=logits)

    def lift(self, speech: Float[Tensor, "n 1 4 41"]) -> Float[Tensor, "n 2 grid grid"]:
        """Each frame's 4×41 numbers as a picture."""
        return F.interpolate(self.listen(speech), scale_factor=exact_div(self.config.grid, LIFT))

    def to_grid(self, image: Float[Tensor, "n c h w"], blur: BlurDown) -> Float[Tensor, "n c grid grid"]:
        """Bring a picture down to the grid; of the usual size, by the stored kernel."""
        factor = exact_div(image.shape[-1], self.config.grid)
        return blur(image) if factor == blur.factor else blur_down(image, gaussian_kernel(factor).to(image), factor)


assert SPEECH_DIM - 1 - 2 * LIFT_PADDING + LIFT_WIDTH == LIFT
