"""SyncNet: five frames of a face and 0.2 s of speech → two embeddings that are near each other when
they belong together.

Chung & Zisserman, *Out of time: automated lip sync in the wild* (2016); layers as in method.md §5
them, so that the public weights fit.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

from a2h_models.errors import CheckpointError
from a2h_models.networks.weights import read_foreign

FRAMES = 5  # of a window
MFCC = 13  # coefficients a row
ROWS = 20  # of MFCC in a window, at 100 Hz
FACE = 224  # pixels a side
EMBEDDING = 1024
# Places of the convolutions in the published towers; a batch normalisation follows each
PUBLISHED = (0, 4, 8, 11, 14, 18)
OURS = {"lip": (0, 2, 4, 5, 6, 8), "audio": (0, 1, 3, 4, 5, 7)}
TOWERS = {"lip": "lip", "audio": "aud"}
HEAD = ((0, 1), (1, 2), (3, 4))  # Linear, BatchNorm, Linear: published place, ours


class SyncNetEmbeddings(NamedTuple):
    lips: Float[Tensor, "b 1024"]
    audio: Float[Tensor, "b 1024"]


def _conv3d(
    inner: int, outer: int, kernel: tuple[int, int, int], stride: tuple[int, int, int], padding: tuple[int, int, int]
) -> nn.Module:
    return nn.Sequential(nn.Conv3d(inner, outer, kernel, stride, padding), nn.BatchNorm3d(outer), nn.ReLU())


def _conv2d(inner: int, outer: int, kernel: tuple[int, int], padding: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(inner, outer, kernel, padding=padding), nn.BatchNorm2d(outer), nn.ReLU())


def _head() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, EMBEDDING))


class SyncNet(nn.Module):
    """Both towers.

    Embeddings are not normalised; their L2 distance over shifts is what LSE-D and LSE-C are made
    of.
    """

    def __init__(self) -> None:
        super().__init__()
        self.lip_tower = nn.Sequential(
            _conv3d(3, 96, (5, 7, 7), (1, 2, 2), (0, 0, 0)),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
            _conv3d(96, 256, (1, 5, 5), (1, 2, 2), (0, 1, 1)),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
            _conv3d(256, 256, (1, 3, 3), (1, 1, 1), (0, 1, 1)),
            _conv3d(256, 256, (1, 3, 3), (1, 1, 1), (0, 1, 1)),
            _conv3d(256, 256, (1, 3, 3), (1, 1, 1), (0, 1, 1)),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
            _conv3d(256, 512, (1, 6, 6), (1, 1, 1), (0, 0, 0)),
        )
        self.audio_tower = nn.Sequential(
            _conv2d(1, 64, (3, 3), 1),
            _conv2d(64, 192, (3, 3), 1),
            nn.MaxPool2d((3, 3), (1, 2)),
            _conv2d(192, 384, (3, 3), 1),
            _conv2d(384, 256, (3, 3), 1),
            _conv2d(256, 256, (3, 3), 1),
            nn.MaxPool2d((3, 3), (2, 2)),
            _conv2d(256, 512, (5, 4), 0),
        )
        self.lip_head, self.audio_head = _head(), _head()

    def forward(self, faces: Float[Tensor, "b 3 5 224 224"], mfcc: Float[Tensor, "b 1 13 20"]) -> SyncNetEmbeddings:
        """Embed windows: faces as raw BGR in 0..255, MFCC of the raw 16-bit samples."""
        return SyncNetEmbeddings(
            lips=self.lip_head(self.lip_tower(faces)), audio=self.audio_head(self.audio_tower(mfcc))
        )


# ------------------------------------------------------------------------------------------ weights
@functools.cache
def load_syncnet(path: str) -> SyncNet:
    """The public network, for inference.

    Raises:
        CheckpointError: if the file cannot be read without running its code, or holds something
            else.
    """
    state = read_foreign(Path(path), hint="get SyncNet's weights with `a2h assets fetch syncnet`")
    network = SyncNet()
    try:
        network.load_state_dict(adopt(state))
    except (KeyError, RuntimeError, AttributeError, TypeError) as error:
        raise CheckpointError(
            f"{Path(path).name}: these are not SyncNet's weights ({error})", hint="give syncnet_v2.model"
        ) from None
    return network.eval()


def adopt(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The published names → ours; strict both ways.

    Raises:
        KeyError: for names that the published network does not have.
    """
    names = published_names()
    if unknown := sorted(state.keys() - names.keys()):
        raise KeyError(f"unknown entry {unknown[0]}")
    return {names[name]: tensor for name, tensor in state.items()}


def published_names() -> dict[str, str]:
    """Published name → our name, of every entry."""
    places = {}
    for tower, theirs in TOWERS.items():
        for place, ours in zip(PUBLISHED, OURS[tower], strict=True):
            places[f"netcnn{theirs}.{place}"] = f"{tower}_tower.{ours}.0"
            places[f"netcnn{theirs}.{place + 1}"] = f"{tower}_tower.{ours}.1"
        for place, ours in HEAD:
            places[f"netfc{theirs}.{place}"] = f"{tower}_head.{ours}"
    by_place = {ours: theirs for theirs, ours in places.items()}
    entries = (entry.rpartition(".") for entry in SyncNet().state_dict())
    return {f"{by_place[layer]}.{kind}": f"{layer}.{kind}" for layer, _, kind in entries}
