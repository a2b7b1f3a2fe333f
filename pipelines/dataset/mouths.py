"""What sync_expert draws from a dataset: windows of mouths, cut out as evaluation cuts them, and the speech of the same frames."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float16, UInt8
from typing_extensions import override

from a2h_models.errors import DatasetError
from a2h_models.metrics.sync_expert import cut_mouths
from a2h_models.sample import SIZE, WINDOW, SyncBatch
from a2h_models.timebase import HOPS_PER_FRAME
from pipelines.dataset.draws import Draws, Reader, channels_first, read_frames
from pipelines.dataset.index import Clip, Index
from pipelines.dataset.order import Stream
from pipelines.dataset.windows import ClipDataModule


class Mouths(NamedTuple):
    key: str
    mouths: UInt8[np.ndarray, "t s s 3"]
    mel: Float16[np.ndarray, "m 80"]  # m = 4 t


class MouthDraws(Draws[Mouths]):
    """At each position, one window of the clip that stands there; mouths are cut from crops of full size."""

    def __init__(self, index: Index, *, size: int, stream: Stream | None, seed: int) -> None:
        super().__init__(index, stream=stream, seed=seed)
        self.size = size

    def draw(self, reader: Reader, clip: Clip, rng: np.random.Generator) -> Mouths:
        if clip.frames < WINDOW:
            raise DatasetError(f"sample {clip.key} has {clip.frames} frames, fewer than a window of {WINDOW}")
        start = int(rng.integers(clip.frames - WINDOW + 1))
        encoded = reader.members(clip, ("landmarks.npy", "mel.npy"))
        landmarks = reader.array(encoded, "landmarks.npy")[start : start + WINDOW]
        frames = read_frames(reader, clip, np.arange(start, start + WINDOW), SIZE)
        mel = reader.array(encoded, "mel.npy")[start * HOPS_PER_FRAME : (start + WINDOW) * HOPS_PER_FRAME]
        return Mouths(key=clip.key, mouths=cut_mouths(frames, landmarks, self.size), mel=mel)


class MouthDataModule(ClipDataModule):
    """Batches of `SyncBatch`; `size` is that of a mouth."""

    def draws(self, index: Index, *, stream: Stream | None, seed: int) -> MouthDraws:
        return MouthDraws(index, size=self.size, stream=stream, seed=seed)

    @staticmethod
    @override
    def collate(draws: list[Mouths]) -> SyncBatch:
        return SyncBatch(
            keys=[draw.key for draw in draws],
            mouths=channels_first(np.stack([draw.mouths for draw in draws])),
            mel=torch.from_numpy(np.stack([draw.mel for draw in draws])),
        )
