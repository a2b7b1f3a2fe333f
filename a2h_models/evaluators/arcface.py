"""ArcFace's IR-SE50: a face → an identity. The weights are facexlib's
`recognition_arcface_ir_se50.pth`, from a local file.

A residual network of 24 blocks with squeeze and excitation (Deng et al. 2019; Hu et al. 2018),
layer for layer as published.
"""

from __future__ import annotations

from pathlib import Path

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from a2h_models.networks.weights import fill, on_meta, read_foreign

INPUT = 112  # pixels a side
IDENTITY = 512  # numbers of an identity
STEPS = ((64, 3), (128, 4), (256, 14), (512, 3))  # channels and blocks; the first block of each halves the map
LAST_MAP = INPUT // 2 ** len(STEPS)
SQUEEZE = 16


class Excitation(nn.Module):
    """Channels weighed by what is in all of them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // SQUEEZE, 1, bias=False)
        self.fc2 = nn.Conv2d(channels // SQUEEZE, channels, 1, bias=False)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        weights: Tensor = self.fc2(F.relu(self.fc1(x.mean(dim=(2, 3), keepdim=True))))
        return x * weights.sigmoid()


class Block(nn.Module):
    """Two convolutions and the input added."""

    def __init__(self, inputs: int, outputs: int, *, stride: int) -> None:
        super().__init__()
        if inputs == outputs:
            self.shortcut_layer: nn.Module = nn.MaxPool2d(1, stride)
        else:
            self.shortcut_layer = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs)
            )
        self.res_layer = nn.Sequential(
            *(nn.BatchNorm2d(inputs), nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.PReLU(outputs)),
            *(nn.Conv2d(outputs, outputs, 3, stride=stride, padding=1, bias=False), nn.BatchNorm2d(outputs)),
            Excitation(outputs),
        )

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h2 w2"]:
        change: Tensor = self.res_layer(x)
        kept: Tensor = self.shortcut_layer(x)
        return change + kept


class ArcFace(nn.Module):
    """An aligned face → a unit vector; the cosine of two says how much they are the same person."""

    def __init__(self) -> None:
        super().__init__()
        self.input_layer = nn.Sequential(nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.PReLU(64))
        sizes = [(before, size) for before, (size, _) in zip((64, *(size for size, _ in STEPS)), STEPS, strict=False)]
        self.body = nn.Sequential(
            *(
                Block(before if n == 0 else size, size, stride=2 if n == 0 else 1)
                for (before, size), (_, count) in zip(sizes, STEPS, strict=True)
                for n in range(count)
            )
        )
        flat = IDENTITY * LAST_MAP**2
        self.output_layer = nn.Sequential(
            *(nn.BatchNorm2d(IDENTITY), nn.Dropout(), nn.Flatten(), nn.Linear(flat, IDENTITY), nn.BatchNorm1d(IDENTITY))
        )

    def forward(self, faces: Float[Tensor, "b 3 112 112"]) -> Float[Tensor, "b 512"]:
        """Identities of aligned faces, RGB in [-1, 1]."""
        return F.normalize(self.output_layer(self.body(self.input_layer(faces))), dim=1)


def load_arcface(path: Path) -> ArcFace:
    """With the published weights.

    Raises:
        CheckpointError: if the file cannot be read without running its code, or holds something
            else.
    """
    network = on_meta(ArcFace)
    fill(network, read_foreign(path, hint="get them with `a2h assets fetch arcface`"), source=str(path))
    return network.eval().requires_grad_(requires_grad=False)
