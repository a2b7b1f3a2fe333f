"""SyncNet: five frames of a face and 0.2 s of speech → two embeddings that are near each other when
they belong together.

Chung & Zisserman, *Out of time: automated lip sync in the wild* (2016); layers as in method.md §5
them, so that the public weights fit.
"""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

FRAMES = 5  # of a window
MFCC = 13  # coefficients a row
ROWS = 20  # of MFCC in a window, at 100 Hz
FACE = 224  # pixels a side
EMBEDDING = 1024


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
