"""Inception v3 as FID uses it: the 2015 network of TensorFlow, not torchvision's. The weights are
pytorch-fid's, from a local file.

Blocks are described as chains of layers that are joined at their ends; layers have the published
names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from a2h_models.data_types import UNIT
from a2h_models.networks.weights import fill, on_meta, read_foreign

INPUT = 299  # pixels a side
FEATURES = 2048
BN_EPSILON = 1e-3
POOL = "pool"  # a layer without weights, of each block's own kind
UNUSED = ("fc.",)  # entries of the file that FID does not look at

Chain = tuple[str, ...]
Kernel = int | tuple[int, int]
Layers = Mapping[str, nn.Module]


def _conv(inputs: int, outputs: int, kernel: Kernel = 1, *, stride: int = 1, padding: Kernel = 0) -> nn.Module:
    layer = nn.Sequential()
    layer.add_module("conv", nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=padding, bias=False))
    layer.add_module("bn", nn.BatchNorm2d(outputs, eps=BN_EPSILON))
    layer.add_module("relu", nn.ReLU())
    return layer


def _wide(inputs: int, outputs: int, width: int) -> nn.Module:
    return _conv(inputs, outputs, (1, width), padding=(0, width // 2))


def _high(inputs: int, outputs: int, height: int) -> nn.Module:
    return _conv(inputs, outputs, (height, 1), padding=(height // 2, 0))


def _mean_pool(x: Tensor) -> Tensor:
    """TensorFlow's: what is past the border does not count."""
    return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


def _max_pool(x: Tensor) -> Tensor:
    return F.max_pool2d(x, 3, stride=1, padding=1)


def _halve(x: Tensor) -> Tensor:
    return F.max_pool2d(x, 3, stride=2)


class InceptionMixed(nn.Module):
    """Chains of layers side by side; chains that begin alike share what they begin with."""

    def __init__(self, layers: Layers, chains: Sequence[Chain], pool: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.chains, self.pool = tuple(chains), pool
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h2 w2"]:
        done: dict[Chain, Tensor] = {(): x}

        def run(chain: Chain) -> Tensor:
            if chain not in done:
                layer = self.pool if chain[-1] == POOL else self.get_submodule(chain[-1])
                done[chain] = layer(run(chain[:-1]))
            return done[chain]

        return torch.cat([run(chain) for chain in self.chains], dim=1)


def _double(count: int, name: str) -> Chain:
    return tuple(f"{name}_{number}" for number in range(1, count + 1))


def _block_a(inputs: int, pooled: int) -> InceptionMixed:
    layers = {
        "branch1x1": _conv(inputs, 64),
        "branch5x5_1": _conv(inputs, 48),
        "branch5x5_2": _conv(48, 64, 5, padding=2),
        "branch3x3dbl_1": _conv(inputs, 64),
        "branch3x3dbl_2": _conv(64, 96, 3, padding=1),
        "branch3x3dbl_3": _conv(96, 96, 3, padding=1),
        "branch_pool": _conv(inputs, pooled),
    }
    return InceptionMixed(
        layers, [("branch1x1",), _double(2, "branch5x5"), _double(3, "branch3x3dbl"), (POOL, "branch_pool")], _mean_pool
    )


def _block_b(inputs: int) -> InceptionMixed:
    layers = {
        "branch3x3": _conv(inputs, 384, 3, stride=2),
        "branch3x3dbl_1": _conv(inputs, 64),
        "branch3x3dbl_2": _conv(64, 96, 3, padding=1),
        "branch3x3dbl_3": _conv(96, 96, 3, stride=2),
    }
    return InceptionMixed(layers, [("branch3x3",), _double(3, "branch3x3dbl"), (POOL,)], _halve)


def _block_c(inputs: int, inner: int) -> InceptionMixed:
    layers = {
        "branch1x1": _conv(inputs, 192),
        "branch7x7_1": _conv(inputs, inner),
        "branch7x7_2": _wide(inner, inner, 7),
        "branch7x7_3": _high(inner, 192, 7),
        "branch7x7dbl_1": _conv(inputs, inner),
        "branch7x7dbl_2": _high(inner, inner, 7),
        "branch7x7dbl_3": _wide(inner, inner, 7),
        "branch7x7dbl_4": _high(inner, inner, 7),
        "branch7x7dbl_5": _wide(inner, 192, 7),
        "branch_pool": _conv(inputs, 192),
    }
    return InceptionMixed(
        layers, [("branch1x1",), _double(3, "branch7x7"), _double(5, "branch7x7dbl"), (POOL, "branch_pool")], _mean_pool
    )


def _block_d(inputs: int) -> InceptionMixed:
    layers = {
        "branch3x3_1": _conv(inputs, 192),
        "branch3x3_2": _conv(192, 320, 3, stride=2),
        "branch7x7x3_1": _conv(inputs, 192),
        "branch7x7x3_2": _wide(192, 192, 7),
        "branch7x7x3_3": _high(192, 192, 7),
        "branch7x7x3_4": _conv(192, 192, 3, stride=2),
    }
    return InceptionMixed(layers, [_double(2, "branch3x3"), _double(4, "branch7x7x3"), (POOL,)], _halve)


def _block_e(inputs: int, pool: Callable[[Tensor], Tensor]) -> InceptionMixed:
    layers = {
        "branch1x1": _conv(inputs, 320),
        "branch3x3_1": _conv(inputs, 384),
        "branch3x3_2a": _wide(384, 384, 3),
        "branch3x3_2b": _high(384, 384, 3),
        "branch3x3dbl_1": _conv(inputs, 448),
        "branch3x3dbl_2": _conv(448, 384, 3, padding=1),
        "branch3x3dbl_3a": _wide(384, 384, 3),
        "branch3x3dbl_3b": _high(384, 384, 3),
        "branch_pool": _conv(inputs, 192),
    }
    both = _double(2, "branch3x3dbl")
    chains = [
        *(("branch1x1",), ("branch3x3_1", "branch3x3_2a"), ("branch3x3_1", "branch3x3_2b")),
        *((*both, "branch3x3dbl_3a"), (*both, "branch3x3dbl_3b"), (POOL, "branch_pool")),
    ]
    return InceptionMixed(layers, chains, pool)


class Inception(nn.Module):
    """A picture → 2048 numbers, the mean over the last map (pool3)."""

    def __init__(self) -> None:
        super().__init__()
        layers: dict[str, nn.Module] = {
            "Conv2d_1a_3x3": _conv(3, 32, 3, stride=2),
            "Conv2d_2a_3x3": _conv(32, 32, 3),
            "Conv2d_2b_3x3": _conv(32, 64, 3, padding=1),
            "pool_1": nn.MaxPool2d(3, 2),
            "Conv2d_3b_1x1": _conv(64, 80),
            "Conv2d_4a_3x3": _conv(80, 192, 3),
            "pool_2": nn.MaxPool2d(3, 2),
            **{
                f"Mixed_5{x}": _block_a(inputs, pooled)
                for x, inputs, pooled in (("b", 192, 32), ("c", 256, 64), ("d", 288, 64))
            },
            "Mixed_6a": _block_b(288),
            **{f"Mixed_6{x}": _block_c(768, inner) for x, inner in (("b", 128), ("c", 160), ("d", 160), ("e", 192))},
            "Mixed_7a": _block_d(768),
            "Mixed_7b": _block_e(1280, _mean_pool),
            "Mixed_7c": _block_e(2048, _max_pool),  # a slip of the 2015 network that every published FID has
        }
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, frames: UInt8[Tensor, "b 3 h w"]) -> Float[Tensor, "b 2048"]:
        """Features of RGB bytes of any size, which are made 299×299 first."""
        x = 2 * F.interpolate(frames.float() * UNIT, size=(INPUT, INPUT), mode="bilinear", align_corners=False) - 1
        for layer in self.children():
            x = layer(x)
        return x.mean(dim=(2, 3))


def load_inception(path: Path) -> Inception:
    """With the weights of `pt_inception-2015-12-05`.

    Raises:
        CheckpointError: if the file cannot be read without running its code, or holds something
            else.
    """
    state = read_foreign(path, hint="get them with `a2h assets fetch inception`")
    network = on_meta(Inception)
    fill(network, {name: tensor for name, tensor in state.items() if not name.startswith(UNUSED)}, source=str(path))
    return network.eval().requires_grad_(requires_grad=False)
