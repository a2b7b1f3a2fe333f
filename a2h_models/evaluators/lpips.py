"""LPIPS v0.1 with AlexNet (Zhang et al. 2018): how different two pictures look, by features that
people's answers have weighed.

AlexNet's weights come from outside; the 1,152 weights of its features are in torchmetrics, which
training installs anyway.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from a2h_models.errors import CheckpointError
from a2h_models.evaluators.alexnet import CHANNELS, AlexNet, load_alexnet
from a2h_models.networks.weights import read_foreign

CALIBRATION = Path("functional", "image", "lpips_models", "alex.pth")  # inside torchmetrics
EPSILON = 1e-8  # keeps features of a black picture from being divided by nothing, as in the published code


class Lpips(nn.Module):
    """Distance of two pictures.

    Args:
        network: whose features are compared.
        heads: weight of each channel, for each of the five maps; (c,), ≥ 0.
    """

    def __init__(self, network: AlexNet, heads: list[Float[Tensor, " c"]]) -> None:
        super().__init__()
        self.network = network
        for number, head in enumerate(heads):
            self.register_buffer(f"head{number}", head)

    def forward(self, a: Float[Tensor, "b 3 h w"], b: Float[Tensor, "b 3 h w"]) -> Float[Tensor, " b"]:
        """RGB in [0, 1] → ≥ 0; 0 for equal pictures."""
        distances = []
        for number, (of_a, of_b) in enumerate(zip(self.network(a), self.network(b), strict=True)):
            squares = (_unit(of_a) - _unit(of_b)).square()
            distances.append(torch.einsum("bchw,c->bhw", squares, self.get_buffer(f"head{number}")).mean(dim=(1, 2)))
        return torch.stack(distances).sum(dim=0)


def _unit(features: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    """Every place's features with length 1."""
    return features / (features.square().sum(dim=1, keepdim=True).sqrt() + EPSILON)


def load_lpips(path: Path) -> Lpips:
    """With AlexNet's weights from a file and the calibration that torchmetrics brings.

    Raises:
        CheckpointError: if either cannot be had.
    """
    return Lpips(load_alexnet(path), load_heads()).eval()


def load_heads() -> list[Float[Tensor, " c"]]:
    """The published weight of each channel.

    Raises:
        CheckpointError: if torchmetrics is not here, or does not bring them any more.
    """
    spec = importlib.util.find_spec("torchmetrics")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    if not folders:
        raise CheckpointError(
            "LPIPS needs the calibration that torchmetrics brings, which is not installed",
            hint="install audio2head[train]",
        )
    state = read_foreign(
        Path(folders[0]) / CALIBRATION, hint="install the version of torchmetrics that requirements.lock.txt names"
    )
    heads = [state[f"lin{number}.model.1.weight"].flatten() for number in range(len(CHANNELS))]
    assert [len(head) for head in heads] == list(CHANNELS)
    return heads
