"""AlexNet's convolutions, whose features LPIPS compares.

The weights are torchvision's, from a local file.
"""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from a2h_models.networks.weights import fill, read_foreign

CHANNELS = (64, 192, 384, 256, 256)  # of the five maps of features
TAPS = (1, 4, 7, 9, 11)  # layers that give them: after each ReLU
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # of RGB in [-1, 1], as LPIPS was calibrated


class AlexNet(nn.Module):
    """Gives the five maps after its ReLUs; layers are numbered as in torchvision's `features`."""

    shift: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *(nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
            *(nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
            *(nn.Conv2d(192, 384, 3, padding=1), nn.ReLU()),
            *(nn.Conv2d(384, 256, 3, padding=1), nn.ReLU()),
            *(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU()),
        )
        self.register_buffer("shift", torch.tensor(SHIFT).view(3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor(SCALE).view(3, 1, 1), persistent=False)

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> list[Tensor]:
        """Five maps of features of an RGB image in [0, 1]."""
        x = (2 * image - 1 - self.shift) / self.scale
        found = []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in TAPS:
                found.append(x)
        return found


def load_alexnet(path: Path) -> AlexNet:
    """With torchvision's ImageNet weights; the classifier is left out.

    Raises:
        CheckpointError: if the file cannot be read without running its code, or holds something
            else.
    """
    state = read_foreign(path, hint="get them with `a2h assets fetch alexnet`")
    network = AlexNet()
    fill(network, {name: tensor for name, tensor in state.items() if name.startswith("features.")}, source=str(path))
    return network.eval().requires_grad_(requires_grad=False)
