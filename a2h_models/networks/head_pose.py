"""The head pose predictor: speech and portrait → a 6-D pose per frame, by a recurrent network
(method.md §2, §3).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from a2h_models.data_types import POSE_DIM
from a2h_models.networks.blocks import channels_at
from a2h_models.settings import setting

STAGES = 4  # of a ResNet


@dataclass
class HeadPoseConfig:
    """Defaults: the release's, two ResNet-34 and an LSTM."""

    width: int = setting(64, at_least=1)
    """Channels of the ResNets' first stage."""

    blocks: tuple[int, ...] = setting((3, 4, 6, 3), at_least=1)
    """Residual blocks of each of the four stages."""

    state: int = setting(256, at_least=1)
    """Size of the recursion's state, and of both embeddings."""

    layers: int = setting(2, at_least=1)
    """Layers of the LSTM."""

    residual: bool = setting(default=False)
    """Predict what is added to the portrait's own pose, at first nothing; not in the release."""


class ResNetBlock(nn.Module):
    """Two 3×3 convolutions and the input added; `stride` halves the resolution, then a 1×1
    convolution fits the input to it.
    """

    def __init__(self, inputs: int, outputs: int, *, stride: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = (
            nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.conv2, self.norm2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h2 w2"]:
        inner = F.relu(self.norm1(self.conv1(x)), inplace=True)
        return F.relu(self.norm2(self.conv2(inner)) + self.shortcut(x), inplace=True)


class ResNet(nn.Module):
    """A picture of any size → one vector."""

    def __init__(self, config: HeadPoseConfig, *, inputs: int) -> None:
        super().__init__()
        sizes = [channels_at(level, width=config.width, max_width=config.width * 2**STAGES) for level in range(STAGES)]
        self.stem, self.stem_norm = (
            nn.Conv2d(inputs, config.width, 7, stride=2, padding=3, bias=False),
            nn.BatchNorm2d(config.width),
        )
        self.stages = nn.ModuleList(
            nn.Sequential(
                *(ResNetBlock(before if n == 0 else size, size, stride=first if n == 0 else 1) for n in range(count))
            )
            for before, size, first, count in zip(
                [config.width, *sizes], sizes, (1, 2, 2, 2), config.blocks, strict=False
            )
        )
        self.out = nn.Linear(sizes[-1], config.state)
        self.apply(_start)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d"]:
        x = F.max_pool2d(F.relu(self.stem_norm(self.stem(x)), inplace=True), 3, stride=2, padding=1)
        for stage in self.stages:
            x = stage(x)
        vector: Tensor = self.out(x.mean(dim=(-2, -1)))
        return vector


def _start(module: nn.Module) -> None:
    """He initialisation, as ResNets are trained from."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


class HeadPoseState(NamedTuple):
    """Where the recursion stands after some frames."""

    embedding: Float[Tensor, "b d"]  # starts as the portrait's
    hidden: Float[Tensor, "layers b d"]
    cell: Float[Tensor, "layers b d"]
    first: Float[Tensor, "b 1 6"]  # the portrait's pose


class HeadPose(nn.Module):
    def __init__(self, config: HeadPoseConfig) -> None:
        super().__init__()
        self.layers = config.layers
        self.listen = ResNet(config, inputs=1)
        self.look = ResNet(config, inputs=3)
        self.recur = nn.LSTM(2 * config.state, config.state, num_layers=config.layers, batch_first=True)
        self.out = nn.Linear(config.state, POSE_DIM)
        self.move = nn.Linear(config.state, POSE_DIM) if config.residual else None
        if self.move is not None:
            nn.init.zeros_(self.move.weight)
            nn.init.zeros_(self.move.bias)

    def forward(
        self, speech: Float[Tensor, "b t 4 41"], portrait: Float[Tensor, "b 3 h w"]
    ) -> Float[Tensor, "b t+1 6"]:
        """Normalised poses; item 0 is the portrait's own, which the release takes for frame 0 as
        well.
        """
        state, first = self.start(portrait)
        _, poses = self.advance(speech, state)
        return torch.cat([first, poses], dim=1)

    def start(self, portrait: Float[Tensor, "b 3 h w"]) -> tuple[HeadPoseState, Float[Tensor, "b 1 6"]]:
        """The state before the first frame, and the portrait's pose."""
        embedding = self.look(portrait)
        nothing = embedding.new_zeros(self.layers, *embedding.shape)
        first = self.out(embedding).unsqueeze(1)
        return HeadPoseState(embedding=embedding, hidden=nothing, cell=nothing, first=first), first

    def advance(
        self, speech: Float[Tensor, "b t 4 41"], state: HeadPoseState
    ) -> tuple[HeadPoseState, Float[Tensor, "b t 6"]]:
        """Hear some frames more. In evaluation mode, a signal may come in any pieces."""
        patches = rearrange(speech, "b t rows dims -> (b t) 1 rows dims")
        heard = rearrange(self.listen(patches), "(b t) d -> b t d", b=len(speech))
        embedding, hidden, cell, first = state
        embeddings = []
        for frame in heard.unbind(dim=1):
            _, (hidden, cell) = self.recur(torch.cat([frame, embedding], dim=-1).unsqueeze(1), (hidden, cell))
            embedding = hidden[-1]
            embeddings.append(embedding)
        states = torch.stack(embeddings, dim=1)
        poses = self.out(states) if self.move is None else first + self.move(states)
        return HeadPoseState(embedding, hidden, cell, first), poses
