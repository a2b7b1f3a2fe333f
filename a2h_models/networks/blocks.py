"""The blocks that the image networks share: anti-aliased down-sampling, convolution blocks, the
hourglass.

Layer for layer what the released networks are made of (FOMM); names and wording are ours.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

# The release leaves grid_sample and bilinear interpolate to their default: False since torch 1.3.
# test_parity.py holds us to it.
ALIGN_CORNERS = False


def channels_at(level: int, *, width: int, max_width: int) -> int:
    """Channels of an hourglass after `level` halvings."""
    return min(max_width, width << level)


def gaussian_kernel(factor: int) -> Float[Tensor, "1 1 n n"]:
    """The blur before taking every `factor`-th pixel: σ = (factor − 1) / 2, cut at 4σ (FOMM)."""
    sigma = (factor - 1) / 2
    radius = round(4 * sigma)
    offset = torch.arange(-radius, radius + 1, dtype=torch.float64)
    line = torch.exp(-offset.square() / (2 * sigma**2)) if radius else torch.ones(1, dtype=torch.float64)
    square = torch.outer(line, line)
    return (square / square.sum()).float()[None, None]


def blur_down(
    image: Float[Tensor, "b c h w"], kernel: Float[Tensor, "1 1 n n"], factor: int
) -> Float[Tensor, "b c h//{factor} w//{factor}"]:
    """Blur and take every `factor`-th pixel.

    One strided convolution: the same numbers as the release's blur, then nearest interpolation, for
    1/factor² of the work. It also avoids `F.interpolate(scale_factor=1/n)`, with which this
    training diverges on torch > 1.0 (method.md §4).
    """
    if factor == 1:
        return image
    channels = image.shape[1]
    weight = kernel.to(image.dtype).expand(channels, 1, -1, -1)
    return F.conv2d(image, weight, stride=factor, padding=kernel.shape[-1] // 2, groups=channels)


class BlurDown(nn.Module):
    """`blur_down` by a fixed factor.

    The kernel is a buffer, because the released checkpoint stores it.
    """

    kernel: Tensor

    def __init__(self, factor: int) -> None:
        super().__init__()
        self.factor = factor
        self.register_buffer("kernel", gaussian_kernel(factor))

    def forward(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h//{self.factor} w//{self.factor}"]:
        return blur_down(image, self.kernel, self.factor)


class SameBlock(nn.Module):
    """Convolution, norm, ReLU at the same resolution."""

    def __init__(self, inputs: int, outputs: int, *, kernel: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        return F.relu(self.norm(self.conv(x)), inplace=True)


class DownBlock(SameBlock):
    """Halves the resolution."""

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h//2 w//2"]:
        return F.avg_pool2d(super().forward(x), 2)


class UpBlock(SameBlock):
    """Doubles the resolution, nearest, before it convolves."""

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d 2*h 2*w"]:
        return super().forward(F.interpolate(x, scale_factor=2))


class ResidualBlock(nn.Module):
    """Norm, ReLU, convolution, twice, and the input added; `dims` is 2 for images, 3 for windows of
    them.
    """

    def __init__(self, channels: int, *, dims: int = 2) -> None:
        super().__init__()
        conv, norm = (nn.Conv2d, nn.BatchNorm2d) if dims == 2 else (nn.Conv3d, nn.BatchNorm3d)  # noqa: PLR2004 (dimensions of a picture)
        self.norm1, self.conv1 = norm(channels), conv(channels, channels, 3, padding=1)
        self.norm2, self.conv2 = norm(channels), conv(channels, channels, 3, padding=1)

    def forward(self, x: Float[Tensor, "b c *grid"]) -> Float[Tensor, "b c *grid"]:
        inner = self.conv1(F.relu(self.norm1(x), inplace=True))
        change: Tensor = self.conv2(F.relu(self.norm2(inner), inplace=True))
        return x + change


class Hourglass(nn.Module):
    """Down `depth` times and up again, each level joined with its skip; gives `width + inputs`
    channels.
    """

    def __init__(self, inputs: int, *, width: int, max_width: int, depth: int) -> None:
        super().__init__()
        sizes = [channels_at(level, width=width, max_width=max_width) for level in range(depth + 1)]
        self.down = nn.ModuleList(DownBlock(a, b) for a, b in zip([inputs, *sizes[1:]], sizes[1:], strict=False))
        joined = [2 * size for size in sizes[1:-1]] + [sizes[-1]]
        self.up = nn.ModuleList(UpBlock(a, b) for a, b in zip(reversed(joined), reversed(sizes[:-1]), strict=True))
        self.channels = width + inputs

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        levels = [x]
        for down in self.down:
            levels.append(down(levels[-1]))
        out = levels.pop()
        for up in self.up:
            out = torch.cat([up(out), levels.pop()], dim=1)
        return out


def start_as_identity(head: nn.Conv2d) -> None:
    """Make a head of 2×2 matrices give the identity everywhere, as the release's does before
    training.
    """
    nn.init.zeros_(head.weight)
    assert head.bias is not None
    with torch.no_grad():
        head.bias.copy_(torch.eye(2).flatten().repeat(head.out_channels // 4))
