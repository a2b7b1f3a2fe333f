"""I3D (Carreira and Zisserman 2017): 16 frames → 400 numbers, as FVD uses it.

Weights: `i3d_pretrained_400.pt`, from a local file.
"""

from __future__ import annotations

from math import ceil
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from a2h_models.data_types import UNIT
from a2h_models.networks.weights import fill, on_meta, read_foreign

INPUT = 224  # pixels a side
CLIP = 16  # frames
CLASSES = 400  # of Kinetics; FVD compares the logits
BN_EPSILON = 1e-3
# Channels in, and of the branches: 1×1; 1×1 and 3×3; 1×1 and 3×3; after the pool
MIXED = {
    "Mixed_3b": (192, 64, 96, 128, 16, 32, 32),
    "Mixed_3c": (256, 128, 128, 192, 32, 96, 64),
    "Mixed_4b": (480, 192, 96, 208, 16, 48, 64),
    "Mixed_4c": (512, 160, 112, 224, 24, 64, 64),
    "Mixed_4d": (512, 128, 128, 256, 24, 64, 64),
    "Mixed_4e": (512, 112, 144, 288, 32, 64, 64),
    "Mixed_4f": (528, 256, 160, 320, 32, 128, 128),
    "Mixed_5b": (832, 256, 160, 320, 32, 128, 128),
    "Mixed_5c": (832, 384, 192, 384, 48, 128, 128),
}
Shape = tuple[int, int, int]


def pad_as_tensorflow(x: Float[Tensor, "b c t h w"], kernel: Shape, stride: Shape) -> Float[Tensor, "b c t2 h2 w2"]:
    """Zeros around, so that each size comes out as itself / stride, rounded up; the odd one of them
    stands behind.
    """
    pads: list[int] = []
    for size, width, step in zip(x.shape[:1:-1], kernel[::-1], stride[::-1], strict=True):
        total = max((ceil(size / step) - 1) * step + width - size, 0)
        pads += [total // 2, total - total // 2]
    return F.pad(x, pads)


class ConvUnit(nn.Module):
    """Convolution, norm, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, *, stride: int = 1) -> None:
        super().__init__()
        self.kernel, self.stride = (kernel, kernel, kernel), (stride, stride, stride)
        self.conv3d = nn.Conv3d(inputs, outputs, kernel, stride=stride, bias=False)
        self.bn = nn.BatchNorm3d(outputs, eps=BN_EPSILON)

    def forward(self, x: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b d t2 h2 w2"]:
        return F.relu(self.bn(self.conv3d(pad_as_tensorflow(x, self.kernel, self.stride))))


class Pool(nn.Module):
    def __init__(self, kernel: Shape, stride: Shape) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, x: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b c t2 h2 w2"]:
        return F.max_pool3d(pad_as_tensorflow(x, self.kernel, self.stride), self.kernel, self.stride)


class I3DMixed(nn.Module):
    """Four branches side by side."""

    def __init__(self, inputs: int, one: int, two_a: int, two_b: int, three_a: int, three_b: int, pooled: int) -> None:
        super().__init__()
        self.b0 = ConvUnit(inputs, one)
        self.b1a, self.b1b = ConvUnit(inputs, two_a), ConvUnit(two_a, two_b, 3)
        self.b2a, self.b2b = ConvUnit(inputs, three_a), ConvUnit(three_a, three_b, 3)
        self.b3a, self.b3b = Pool((3, 3, 3), (1, 1, 1)), ConvUnit(inputs, pooled)

    def forward(self, x: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b d t h w"]:
        return torch.cat([self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(self.b3a(x))], dim=1)


class I3D(nn.Module):
    """Clips → logits, mean over time."""

    def __init__(self) -> None:
        super().__init__()
        mixed = {name: I3DMixed(*channels) for name, channels in MIXED.items()}
        layers: dict[str, nn.Module] = {
            "Conv3d_1a_7x7": ConvUnit(3, 64, 7, stride=2),
            "pool_2": Pool((1, 3, 3), (1, 2, 2)),
            "Conv3d_2b_1x1": ConvUnit(64, 64),
            "Conv3d_2c_3x3": ConvUnit(64, 192, 3),
            "pool_3": Pool((1, 3, 3), (1, 2, 2)),
            **{name: layer for name, layer in mixed.items() if name.startswith("Mixed_3")},
            "pool_4": Pool((3, 3, 3), (2, 2, 2)),
            **{name: layer for name, layer in mixed.items() if name.startswith("Mixed_4")},
            "pool_5": Pool((2, 2, 2), (2, 2, 2)),
            **{name: layer for name, layer in mixed.items() if name.startswith("Mixed_5")},
            "average": nn.AvgPool3d((2, 7, 7), stride=1),
            "logits": Logits(),
        }
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, clips: UInt8[Tensor, "b 3 16 h w"]) -> Float[Tensor, "b 400"]:
        """Features of RGB bytes of any size, which are made 224×224 first."""
        x = F.interpolate(
            clips.float() * UNIT, size=(clips.shape[2], INPUT, INPUT), mode="trilinear", align_corners=False
        )
        x = 2 * x - 1
        for layer in self.children():
            x = layer(x)
        return x.mean(dim=(2, 3, 4))


class Logits(nn.Module):
    """The last layer, with a bias and without a norm."""

    def __init__(self) -> None:
        super().__init__()
        self.conv3d = nn.Conv3d(sum(MIXED["Mixed_5c"][place] for place in (1, 3, 5, 6)), CLASSES, 1)

    def forward(self, x: Float[Tensor, "b 1024 t h w"]) -> Float[Tensor, "b 400 t h w"]:
        found: Tensor = self.conv3d(x)
        return found


def load_i3d(path: Path) -> I3D:
    """With the published weights.

    Raises:
        CheckpointError: if the file cannot be read without running its code, or holds something
            else.
    """
    network = on_meta(I3D)
    fill(network, read_foreign(path, hint="get them with `a2h assets fetch i3d`"), source=str(path))
    return network.eval().requires_grad_(requires_grad=False)
