"""VGG-19's features, against which pictures are compared (Johnson et al.

2016). The weights are torchvision's, from a local file.
"""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from a2h_models.errors import CheckpointError, InputError
from a2h_models.files import sha256
from a2h_models.networks.weights import fill

WEIGHTS = "vgg19-dcbb9e9d.pth"  # torchvision's name: ends in the first digits of the file's sha-256
WEIGHTS_SHA256 = "dcbb9e9d"
WEIGHTS_PAGE = "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth"

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, RGB in [0, 1]
GROUPS = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 1))  # channels and convolutions; the last group ends at relu5_1


class Vgg19(nn.Module):
    """Gives relu1_1, 2_1, 3_1, 4_1 and 5_1.

    Frozen; layers are numbered as in torchvision's `features`.
    """

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        self.taps: list[int] = []
        inputs = 3
        for group, (channels, count) in enumerate(GROUPS):
            if group:
                layers.append(nn.MaxPool2d(2))
            self.taps.append(len(layers) + 1)
            for _ in range(count):
                layers += [nn.Conv2d(inputs, channels, 3, padding=1), nn.ReLU()]
                inputs = channels
        self.features = nn.Sequential(*layers)
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(3, 1, 1), persistent=False)
        self.requires_grad_(False).eval()

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> list[Tensor]:
        """Five maps of features of an RGB image in [0, 1]."""
        x = (image - self.mean) / self.std
        found = []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in self.taps:
                found.append(x)
        return found

    @override
    def train(self, mode: bool = True) -> Vgg19:
        """Stays in evaluation mode, whatever the training around it does."""
        return super().train(mode=False)


def load_vgg19(path: Path) -> Vgg19:
    """VGG-19 with torchvision's ImageNet weights.

    Raises:
        InputError: when the file is not there.
        CheckpointError: when it is not the file it should be.
    """
    if not path.is_file():
        raise InputError(
            f"the perceptual loss needs VGG-19's weights, and there are none at {path}",
            hint="`a2h assets fetch vgg19` gets them, and stage.vgg19 may stay empty then; or set stage.perceptual=0 and stage.pixel=10",
        )
    digest = sha256(path)
    if not digest.startswith(WEIGHTS_SHA256):
        raise CheckpointError(
            f"{path} is not {WEIGHTS}: its sha-256 begins with {digest[:8]}", hint=f"download {WEIGHTS_PAGE} again"
        )
    return vgg19_from(torch.load(path, map_location="cpu", weights_only=True), source=str(path))


def vgg19_from(state: dict[str, Tensor], *, source: str) -> Vgg19:
    """VGG-19 from a state dict of torchvision's; the layers after relu5_1 and the classifier are
    left out.
    """
    vgg = Vgg19()
    wanted = vgg.state_dict().keys()
    fill(vgg, {name: tensor for name, tensor in state.items() if name in wanted}, source=source)
    return vgg.requires_grad_(requires_grad=False)
