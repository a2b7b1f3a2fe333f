"""What sync_expert draws from a dataset: windows of mouths, cut out as evaluation cuts them, and
the speech of the same frames.
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
    key: str
    mouths: UInt8[np.ndarray, "t s s 3"]
    mel: Float16[np.ndarray, "m 80"]  # m = 4 t


class MouthWindowDataset(ClipDataset[MouthWindow]):
    """At each position, one window of the clip that stands there; mouths are cut from crops of full
    size.
    """

    def __init__(self, index: Index, *, size: int, stream: ClipOrder | None, seed: int) -> None:
        super().__init__(index, stream=stream, seed=seed)
        self.size = size

    def draw(self, reader: Reader, clip: IndexedClip, rng: np.random.Generator) -> MouthWindow:
        if clip.frames < WINDOW:
            raise DatasetError(f"sample {clip.key} has {clip.frames} frames, fewer than a window of {WINDOW}")
        start = int(rng.integers(clip.frames - WINDOW + 1))
        encoded = reader.members(clip, ("landmarks.npy", "mel.npy"))
        landmarks = reader.array(encoded, "landmarks.npy")[start : start + WINDOW]
        frames = read_frames(reader, clip, np.arange(start, start + WINDOW), SIZE)
        mel = reader.array(encoded, "mel.npy")[start * HOPS_PER_FRAME : (start + WINDOW) * HOPS_PER_FRAME]
        return MouthWindow(key=clip.key, mouths=cut_mouths(frames, landmarks, self.size), mel=mel)


class MouthDataModule(ClipDataModule):
    """Batches of `SyncBatch`; `size` is that of a mouth."""

    def draws(self, index: Index, *, stream: ClipOrder | None, seed: int) -> MouthWindowDataset:
        return MouthWindowDataset(index, size=self.size, stream=stream, seed=seed)

    @staticmethod
    @override
    def collate(draws: list[MouthWindow]) -> SyncBatch:
        return SyncBatch(
            keys=[draw.key for draw in draws],
            mouths=channels_first(np.stack([draw.mouths for draw in draws])),
            mel=torch.from_numpy(np.stack([draw.mel for draw in draws])),
        )
