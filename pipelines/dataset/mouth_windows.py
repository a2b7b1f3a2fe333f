"""Windows of mouth crops with the mel spectrogram of their frames: the data of stage sync_expert.

Mouths are cropped as evaluation crops them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float16, UInt8
from typing_extensions import override

from a2h_models.data_types import SIZE, WINDOW, SyncBatch
from a2h_models.errors import DatasetError
from a2h_models.metrics.sync_expert import cut_mouths
from a2h_models.timebase import HOPS_PER_FRAME
from pipelines.dataset.datamodules import ClipDataModule
from pipelines.dataset.datasets import ClipDataset, Reader, channels_first, read_frames
from pipelines.dataset.index import Index, IndexedClip
from pipelines.dataset.sampler import ClipOrder


class MouthWindow(NamedTuple):
    """Mouth crops of WINDOW frames of one clip, and their speech."""

    key: str
    mouth_crops: UInt8[np.ndarray, "t s s 3"]
    mel: Float16[np.ndarray, "m 80"]  # m = 4 t


class MouthWindowDataset(ClipDataset[MouthWindow]):
    """One window of mouth crops per position, cut from frames of full size and scaled to `size`."""

    def __init__(self, index: Index, *, size: int, order: ClipOrder | None, seed: int) -> None:
        super().__init__(index, order=order, seed=seed)
        self.size = size

    def load_item(self, reader: Reader, clip: IndexedClip, rng: np.random.Generator) -> MouthWindow:
        if clip.frames < WINDOW:
            raise DatasetError(f"sample {clip.key} has {clip.frames} frames, fewer than a window of {WINDOW}")
        start = int(rng.integers(clip.frames - WINDOW + 1))
        encoded = reader.members(clip, ("landmarks.npy", "mel.npy"))
        landmarks = reader.array(encoded, "landmarks.npy")[start : start + WINDOW]
        frames = read_frames(reader, clip, np.arange(start, start + WINDOW), SIZE)
        mel = reader.array(encoded, "mel.npy")[start * HOPS_PER_FRAME : (start + WINDOW) * HOPS_PER_FRAME]
        return MouthWindow(key=clip.key, mouth_crops=cut_mouths(frames, landmarks, self.size), mel=mel)


class MouthDataModule(ClipDataModule):
    """Batches of `SyncBatch`; `size` is the side of a mouth crop in pixels."""

    def make_dataset(self, index: Index, *, order: ClipOrder | None, seed: int) -> MouthWindowDataset:
        return MouthWindowDataset(index, size=self.size, order=order, seed=seed)

    @staticmethod
    @override
    def collate(items: list[MouthWindow]) -> SyncBatch:
        return SyncBatch(
            keys=[item.key for item in items],
            mouths=channels_first(np.stack([item.mouth_crops for item in items])),
            mel=torch.from_numpy(np.stack([item.mel for item in items])),
        )
