"""Batches for training, validation and test: Lightning's data modules over an index, an order and
what is drawn from each clip.
"""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from typing_extensions import override

from a2h_models.data_types import UNIT, PairBatch, WindowBatch
from a2h_models.errors import CheckpointError, ConfigError, InputError
from pipelines.config import DatasetConfig
from pipelines.core.storage import Storage
from pipelines.dataset.dataloader import make_loader
from pipelines.dataset.datasets import (
    ClipDataset,
    FramePairDataset,
    Pairs,
    SampleWindow,
    WindowDataset,
    collate_pairs,
    collate_windows,
)
from pipelines.dataset.external import ExternalDataset, ExternalShards, is_external
from pipelines.dataset.index import BYTES_PER_GB, Index, ShardCache
from pipelines.dataset.provenance import DatasetOrigin, as_table, read_origin
from pipelines.dataset.sampler import ClipOrder, ResumableBatchSampler

VALIDATION_SEED = 0  # validation draws the same frames whatever the run's seed, so that runs can be compared


class ClipDataModule(pl.LightningDataModule):
    """What both kinds of batches share: the index of each split, the order, the state.

    Raises:
        InputError: if the dataset has no training clips.
        ConfigError: if the global batch cannot be divided evenly.
        CheckpointError: on resuming with other clips, another seed, or another batch size, where a
            count of batches means nothing.
    """

    def __init__(self, config: DatasetConfig, *, size: int, cache: Path) -> None:
        super().__init__()
        self.config, self.size = config, size
        shards = ShardCache(cache / "shards", limit_bytes=int(config.cache_gb * BYTES_PER_GB))
        foreign = is_external(config.path)
        self.train: Index | ExternalShards
        self.train = ExternalShards(config.path) if foreign else Index(Storage(config.path), "train", cache=shards)
        self.val = self.test = Index.empty()
        if config.measured or not foreign:
            measured = Storage(config.measured or config.path)
            self.val, self.test = (Index(measured, split, cache=shards) for split in ("val", "test"))
        if not len(self.train):
            raise InputError(f"{config.path} has no clips in its train split")
        self.stream = ClipOrder(sizes=self.train.sizes, seed=config.seed, streams=config.streams)
        self.first = 0  # batches consumed before this process began

    @abstractmethod
    def draws(self, index: Index, *, stream: ClipOrder | None, seed: int) -> ClipDataset[Any]:
        """The dataset whose items are read by position."""

    @staticmethod
    @abstractmethod
    def collate(draws: list[Any]) -> Any:
        """Items of `draws` → a batch of bytes.

        Goes to the loader processes, so it knows nothing of the module and its trainer.
        """

    @property
    def fingerprint(self) -> str:
        return self.train.fingerprint

    def origin(self) -> DatasetOrigin:
        """Where the training clips come from; of others' shards nothing is known."""
        if isinstance(self.train, ExternalShards):
            return DatasetOrigin(path=self.config.path, fingerprint=self.fingerprint, sources=as_table([]), features={})
        return read_origin(self.config.path, self.fingerprint, split="train")

    def clips_per_batch(self, world: int) -> int:
        """Clips read for one global batch."""
        clips, rest = divmod(self.config.batch_size, self.draws_per_clip)
        if rest or clips % world or not clips:
            each = f"{self.draws_per_clip} pairs of each clip" if self.draws_per_clip > 1 else "its windows"
            raise ConfigError(
                f"dataset.batch_size={self.config.batch_size} cannot be shared by {world} processes, with {each}",
                hint=f"choose a multiple of {self.draws_per_clip * world}",
            )
        return clips

    @property
    def draws_per_clip(self) -> int:
        return 1

    def train_dataloader(self) -> DataLoader[Any]:
        rank, world = self._place()
        clips, seed = self.clips_per_batch(world), self.config.seed
        if isinstance(self.train, ExternalShards):
            # no clip of it is asked for by number
            draws = self.draws(cast("Index", self.train), stream=self.stream, seed=seed)
            endless = ExternalDataset(self.train, draws, seed=(seed, self.first), place=(rank, world))
            return make_loader(endless, self.collate, workers=self.config.workers, batch_size=clips // world)
        cycle = int(getattr(self.trainer, "overfit_batches", 0))
        turns = ResumableBatchSampler(self.first, clips, rank=rank, world=world, cycle=cycle)
        return self._loader(self.draws(self.train, stream=self.stream, seed=seed), turns)

    def val_dataloader(self) -> DataLoader[Any] | list[Any]:
        return self._once(self.val)

    def test_dataloader(self) -> list[DataLoader[Any] | list[Any]]:
        """Training clips, then test clips (`a2h_models.training.base.TESTED`); of the former, pairs
        are driven to what was not learnt.
        """
        return [self._once(self.train, seen=True), self._once(self.test)]

    def _once(self, index: Index | ExternalShards, *, seen: bool = False) -> DataLoader[Any] | list[Any]:
        """Every clip once, in order; with several processes the last batches repeat some, so that
        all have the same number.
        """
        if isinstance(index, ExternalShards) or not len(index):
            return []
        rank, world = self._place()
        share = self.clips_per_batch(world) // world
        mine = [position % len(index) for position in range(rank, -(-len(index) // world) * world, world)]
        batches = [mine[start : start + share] for start in range(0, len(mine), share)]
        return self._loader(self.measured(index, seen=seen), batches)

    def measured(self, index: Index, *, seen: bool) -> Dataset[Any]:  # noqa: ARG002 (of pairs it makes a difference)
        """What is drawn to validate and to test; `seen`: from clips that were learnt from."""
        return self.draws(index, stream=None, seed=VALIDATION_SEED)

    @override
    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Bytes → [0, 1], on the device."""
        return batch._replace(
            **{name: value.float() * UNIT for name, value in batch._asdict().items() if _is_image(value)}
        )

    def state_dict(self) -> dict[str, Any]:
        return {"batches": self._consumed(), "order": self.stream.fingerprint(self.config.batch_size)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if state_dict["order"] != self.stream.fingerprint(self.config.batch_size):
            raise CheckpointError(
                "the checkpoint was made with other training clips, another dataset.seed or another dataset.batch_size",
                hint="restore them, or start again under another run_name",
            )
        self.first = int(state_dict["batches"])

    def _consumed(self) -> int:
        """Batches whose optimiser steps are in the weights; Lightning's own count, which a resumed
        run goes on with.
        """
        if self.trainer is None:
            return self.first
        return int(self.trainer.fit_loop.epoch_loop.total_batch_idx) + 1

    def _place(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer is not None else (0, 1)

    def _loader(self, draws: Dataset[Any], batches: Any) -> DataLoader[Any]:
        return make_loader(draws, self.collate, workers=self.config.workers, batch_sampler=batches)


def _is_image(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dtype == torch.uint8


class PairDataModule(ClipDataModule):
    """Batches of `PairBatch`: `pairs_per_clip` pairs of each clip that is read."""

    @property
    def draws_per_clip(self) -> int:
        return self.config.pairs_per_clip

    def draws(self, index: Index, *, stream: ClipOrder | None, seed: int) -> FramePairDataset:
        config = self.config
        return FramePairDataset(
            index, size=self.size, pairs=config.pairs_per_clip, unseen=config.unseen_share, stream=stream, seed=seed
        )

    @override
    def measured(self, index: Index, *, seen: bool) -> FramePairDataset:
        return FramePairDataset(
            index,
            size=self.size,
            pairs=self.config.measured_pairs or self.config.pairs_per_clip,
            unseen=self.config.unseen_share if seen else 0.0,
            driven_to_unseen=seen,
            stream=None,
            seed=VALIDATION_SEED,
        )

    @staticmethod
    @override
    def collate(draws: list[Pairs]) -> PairBatch:
        return collate_pairs(draws)


class WindowDataModule(ClipDataModule):
    """Batches of `WindowBatch`. What is measured, unlike what is learnt from, has all frames and
    says where the mouth is.

    Args:
        config: which shards.
        size: pixels a side.
        cache: folder for what is copied from remote stores.
        frames_every: which of a window's frames are decoded for training: 1 all, n every n-th, 0
            none.
        portrait_first: the portrait is the window's first frame, and measuring needs no other; else
            it is any frame of the clip.
        detector: hash of the teacher whose keypoints are read from companion shards; empty: none
            are.

    Raises:
        DatasetError: if a shard has no companion of that detector.
    """

    def __init__(
        self,
        config: DatasetConfig,
        *,
        size: int,
        cache: Path,
        frames_every: int,
        portrait_first: bool,
        detector: str = "",
    ) -> None:
        super().__init__(config, size=size, cache=cache)
        self.frames_every, self.portrait_first, self.detector = frames_every, portrait_first, detector
        if detector:
            for index in (self.train, self.val, self.test):
                index.open_companions(detector)

    def draws(self, index: Index, *, stream: ClipOrder | None, seed: int) -> WindowDataset:
        looks = stream is None and not self.portrait_first
        return WindowDataset(
            index,
            size=self.size,
            frames_every=1 if looks else self.frames_every,
            portrait_first=self.portrait_first,
            keypoints=bool(self.detector),
            mouth=looks,
            stream=stream,
            seed=seed,
        )

    @staticmethod
    @override
    def collate(draws: list[SampleWindow]) -> WindowBatch:
        return collate_windows(draws)
