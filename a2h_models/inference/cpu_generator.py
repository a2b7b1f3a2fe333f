"""A generator for drawing alone, on CPUs: the same function of the same weights, by less work.

Four identities, exact up to rounding; docs/decisions/0031-cpu-generator.md has their gains:
* in evaluation mode, a norm behind a convolution is part of the convolution;
* nearest ×2 and a 3×3 convolution are one transposed convolution, 4×4 at stride 2: 4 products for
  each output instead of 9;
* a convolution to three colours, which leaves most lanes of a processor idle, is one to 12: of four
  pixels from fours of pixels;
* laid out channels last, which a CPU's convolutions are fastest in, fours of pixels are only
  another view.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from a2h_models.networks.blocks import ResidualBlock, SameBlock, UpBlock
from a2h_models.networks.generator import Generator

FOUR = 4  # pixels of a row that are drawn together
# pairs of channels; with more, in the depth of an hourglass, a transposed convolution is slower
# than what it replaces
LARGEST = 1 << 18


def optimize_for_cpu(generator: Generator, kind: torch.dtype) -> Generator:
    """A copy that draws as `generator` does in evaluation mode, its convolutions in `kind`. The
    original stays as it is.

    Coordinates, flow, masks and the norms that stand before a convolution stay in 32 bits.
    """
    with torch.inference_mode(mode=False), torch.no_grad():
        copied = _copied(generator).eval()
        for block in list(copied.modules()):
            fold(block)
        for block in list(copied.modules()):
            _double(block)
        copied.register_module("last", PackedConv(copied.last))
        for block in copied.modules():
            if isinstance(block, nn.Conv2d | FusedUpsampleConv | PackedConv):
                _lay_out(block, kind)
    for part in (copied.first, copied.bottleneck, copied.dense_motion.hourglass):
        part.register_forward_pre_hook(
            lambda _, inputs: tuple(x.to(kind, memory_format=torch.channels_last) for x in inputs)
        )
    return copied.requires_grad_(requires_grad=False)


class FusedUpsampleConv(nn.Module):
    """An `UpBlock` whose norm is folded: twice the resolution, nearest, a 3×3 convolution and ReLU.

    A nearest ×2 is the transposed convolution by 2×2 ones; the two kernels make one of 4×4.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        kernels = rearrange(conv.weight, "o i h w -> (o i) 1 h w")
        spread = F.conv2d(kernels, kernels.new_ones(1, 1, 2, 2), padding=1)
        self.weight = nn.Parameter(rearrange(spread, "(o i) 1 h w -> i o h w", o=conv.out_channels).flip(-1, -2))
        self.bias = conv.bias

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d 2*h 2*w"]:
        return F.relu(F.conv_transpose2d(x, self.weight, self.bias, stride=2, padding=1), inplace=True)


class PackedConv(nn.Module):
    """A convolution of odd kernel at the same resolution, four pixels of a row at a time; the width
    must be a multiple of four.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        height, width = conv.weight.shape[-2:]
        reach = width // 2
        fours = -(-reach // FOUR)  # of pixels that are seen to each side
        edge = fours * FOUR - reach
        shifted = torch.stack([F.pad(conv.weight, (edge + pixel, edge + FOUR - 1 - pixel)) for pixel in range(FOUR)])
        self.weight = nn.Parameter(rearrange(shifted, "pixel o i h (w four) -> (pixel o) (four i) h w", four=FOUR))
        self.bias = None if conv.bias is None else nn.Parameter(conv.bias.repeat(FOUR))
        self.padding = (height // 2, fours)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        fours = rearrange(x, "b c h (w four) -> b (four c) h w", four=FOUR)
        return rearrange(
            F.conv2d(fours, self.weight, self.bias, padding=self.padding), "b (four d) h w -> b d h (w four)", four=FOUR
        )


def fold(block: nn.Module) -> None:
    """Make norms part of the convolutions before them."""
    if isinstance(block, SameBlock):
        block.conv = fuse_conv_bn_eval(block.conv, block.norm)
        block.register_module("norm", nn.Identity())
    elif isinstance(block, ResidualBlock):
        block.conv1 = fuse_conv_bn_eval(block.conv1, block.norm2)
        block.register_module("norm2", nn.Identity())


def _copied(generator: Generator) -> Generator:
    """Modules of their own, around the same memory."""
    weights = {id(x): nn.Parameter(x.detach(), requires_grad=False) for x in generator.parameters()}
    return copy.deepcopy(generator, weights | {id(x): x.detach() for x in generator.buffers()})


def _double(parent: nn.Module) -> None:
    """Replace those of its blocks that double the resolution."""
    for name, block in parent.named_children():
        if isinstance(block, UpBlock) and block.conv.in_channels * block.conv.out_channels <= LARGEST:
            parent.register_module(name, FusedUpsampleConv(block.conv))


def _lay_out(block: Any, kind: torch.dtype) -> None:  # torch's own types know no memory_format here
    block.to(kind, memory_format=torch.channels_last)
