"""The sync expert: mouths and speech → one embedding a frame each, alike where they belong
together.

A SyncNet of our own (after Chung and Zisserman 2016): small, over whole stretches at once instead
of window by window, and of the log-mel that every sample holds. It judges; it generates nothing and
is no part of a bundle.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from a2h_models.data_types import MEL_BANDS
from a2h_models.settings import setting

NORM_GROUPS = 4  # of channels; batch norms would mix the frames of different films, which look alike within a film
CONTEXT = 5  # frames that an embedding sees, as SyncNet's windows
SMALLEST_MAP = 4  # pixels a side of the lips' last map: where lips are says as much as how they look
START_SHARPNESS, MAX_SHARPNESS = 10.0, 100.0  # by which likenesses are multiplied


@dataclass
class SyncExpertConfig:
    """How wide the two towers are. 2.8 million parameters by default."""

    size: int = setting(64, at_least=8, unit="px")
    """Side of the mouth crop."""

    width: int = setting(32, at_least=1)
    """Channels after the first halving of the crop."""

    embedding: int = setting(128, at_least=1)
    """Size of the embeddings."""


class SyncExpertEmbeddings(NamedTuple):
    """Of unit length; what belongs together has a likeness (scalar product) near 1."""

    lips: Float[Tensor, "b t d"]
    speech: Float[Tensor, "b t d"]


class SyncExpert(nn.Module):
    """Two towers.

    What stays the same throughout a stretch (a face, a voice, a room) is taken away: it says
    nothing about time.
    """

    def __init__(self, config: SyncExpertConfig) -> None:
        super().__init__()
        self.size = config.size
        self.lips = LipTower(config)
        self.speech = SpeechTower(config)
        self.log_sharpness = nn.Parameter(torch.tensor(log(START_SHARPNESS)))

    def forward(self, mouths: Float[Tensor, "b t 3 s s"], mel: Float[Tensor, "b 4*t 80"]) -> SyncExpertEmbeddings:
        """Embed stretches: mouths as RGB in [0, 1], natural log-mel of four rows a frame."""
        return SyncExpertEmbeddings(
            lips=F.normalize(self.lips(mouths), dim=-1), speech=F.normalize(self.speech(mel), dim=-1)
        )

    def likeness(self, embeddings: SyncExpertEmbeddings) -> Float[Tensor, "b t t"]:
        """Of each frame's lips with each frame's speech; sharpened for a softmax."""
        return self.log_sharpness.exp().clamp(max=MAX_SHARPNESS) * embeddings.lips @ embeddings.speech.transpose(1, 2)


class LipTower(nn.Module):
    """Each mouth → a vector, then a look at neighbouring frames."""

    def __init__(self, config: SyncExpertConfig) -> None:
        super().__init__()
        channels, side, layers = 3, config.size, []
        while side > SMALLEST_MAP:
            wider = config.width if channels == 3 else 2 * channels  # noqa: PLR2004 (colours)
            layers += [nn.Conv2d(channels, wider, 3, stride=2, padding=1), nn.GroupNorm(NORM_GROUPS, wider), nn.ReLU()]
            channels, side = wider, (side + 1) // 2
        self.look = nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * side**2, 2 * config.embedding))
        self.follow = _over_time(2 * config.embedding, config.embedding)

    def forward(self, mouths: Float[Tensor, "b t 3 s s"]) -> Float[Tensor, "b t d"]:
        seen = rearrange(self.look(rearrange(mouths, "b t c h w -> (b t) c h w")), "(b t) d -> b d t", b=len(mouths))
        followed: Tensor = self.follow(_changing(seen))
        return followed.transpose(1, 2)


class SpeechTower(nn.Module):
    """Four rows of log-mel → one frame, then a look at neighbouring frames."""

    def __init__(self, config: SyncExpertConfig) -> None:
        super().__init__()
        inner = 2 * config.embedding
        self.listen = nn.Sequential(
            *(nn.Conv1d(MEL_BANDS, inner, 5, padding=2), nn.GroupNorm(NORM_GROUPS, inner), nn.ReLU()),
            *(nn.Conv1d(inner, inner, 4, stride=2, padding=1), nn.GroupNorm(NORM_GROUPS, inner), nn.ReLU()),
            nn.Conv1d(inner, inner, 4, stride=2, padding=1),
        )
        self.follow = _over_time(inner, config.embedding)

    def forward(self, mel: Float[Tensor, "b 4*t 80"]) -> Float[Tensor, "b t d"]:
        heard = self.listen(_changing(rearrange(mel, "b r m -> b m r")))
        followed: Tensor = self.follow(heard)
        return followed.transpose(1, 2)


def _changing(signals: Float[Tensor, "b c t"]) -> Float[Tensor, "b c t"]:
    """What is left of signals without their mean over time."""
    return signals - signals.mean(dim=-1, keepdim=True)


def _over_time(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(inputs, inputs, CONTEXT, padding=CONTEXT // 2), nn.ReLU(), nn.Conv1d(inputs, outputs, 1)
    )
