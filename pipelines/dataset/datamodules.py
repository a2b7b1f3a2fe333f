"""Lightning data modules: batches for training, validation and test."""

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
    FramePairs,
    PairSampling,
    SampleWindow,
    WindowContents,
    WindowDataset,
    collate_pairs,
    collate_windows,
)
from pipelines.dataset.external import ExternalDataset, ExternalShards, is_external
from pipelines.dataset.index import BYTES_PER_GB, Index, ShardCache
from pipelines.dataset.provenance import DatasetOrigin, as_table, read_origin
from pipelines.dataset.sampler import ClipOrder, ResumableBatchSampler

VALIDATION_SEED = 0  # validation uses equal frames whatever the run's seed, so that runs can be compared


class ClipDataModule(pl.LightningDataModule):
    """The part that all kinds of batches share: the index of each split, the order, the state.

    Raises:
        InputError: if the dataset has no training clips.
        ConfigError: if the processes cannot share the global batch evenly.
        CheckpointError: on resuming with other clips, another seed, or another batch size, because
            the number of consumed batches then has no meaning.
    """

    def __init__(self, config: DatasetConfig, *, size: int, cache: Path) -> None:
        super().__init__()
        self.config, self.size = config, size
        shards = ShardCache(cache / "shards", limit_bytes=int(config.cache_gb * BYTES_PER_GB))
        external = is_external(config.path)
        self.train: Index | ExternalShards
        self.train = ExternalShards(config.path) if external else Index(Storage(config.path), "train", cache=shards)
        self.val = self.test = Index.empty()
        if config.measured or not external:
            evaluated = Storage(config.measured or config.path)
            self.val, self.test = (Index(evaluated, split, cache=shards) for split in ("val", "test"))
        if not len(self.train):
            raise InputError(f"{config.path} has no clips in its train split")
        self.order = ClipOrder(sizes=self.train.sizes, seed=config.seed, streams=config.streams)
        self.first = 0  # batches consumed before this process started

    @abstractmethod
    def make_dataset(self, index: Index, *, order: ClipOrder | None, seed: int) -> ClipDataset[Any]:
        """Make the dataset whose items are read by position."""

    @staticmethod
    @abstractmethod
    def collate(items: list[Any]) -> Any:
        """Join items of the dataset into a batch of bytes.

        Runs in the loader processes, so it uses neither the data module nor its trainer.
        """

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the training dataset."""
        return self.train.fingerprint

    def origin(self) -> DatasetOrigin:
        """Read where the training clips come from; nothing is known of external shards."""
        if isinstance(self.train, ExternalShards):
            return DatasetOrigin(path=self.config.path, fingerprint=self.fingerprint, sources=as_table([]), features={})
        return read_origin(self.config.path, self.fingerprint, split="train")

    def clips_per_batch(self, world: int) -> int:
        """Return how many clips are read for one global batch."""
        clips, rest = divmod(self.config.batch_size, self.items_per_clip)
        if rest or clips % world or not clips:
            each = f"{self.items_per_clip} pairs of each clip" if self.items_per_clip > 1 else "its windows"
            raise ConfigError(
                f"dataset.batch_size={self.config.batch_size} cannot be shared by {world} processes, with {each}",
                hint=f"choose a multiple of {self.items_per_clip * world}",
            )
        return clips

    @property
    def items_per_clip(self) -> int:
        """Items of a batch that come from one clip."""
        return 1

    def train_dataloader(self) -> DataLoader[Any]:
        rank, world = self._rank_and_world()
        clips, seed = self.clips_per_batch(world), self.config.seed
        if isinstance(self.train, ExternalShards):
            # ExternalDataset passes each sample to the dataset, which therefore needs no index
            dataset = self.make_dataset(cast("Index", self.train), order=self.order, seed=seed)
            stream = ExternalDataset(self.train, dataset, seed=(seed, self.first), rank=rank, world=world)
            return make_loader(stream, self.collate, workers=self.config.workers, batch_size=clips // world)
        cycle = int(getattr(self.trainer, "overfit_batches", 0))
        sampler = ResumableBatchSampler(self.first, clips, rank=rank, world=world, cycle=cycle)
        return self._loader(self.make_dataset(self.train, order=self.order, seed=seed), sampler)

    def val_dataloader(self) -> DataLoader[Any] | list[Any]:
        return self._once(self.val)

    def test_dataloader(self) -> list[DataLoader[Any] | list[Any]]:
        """Return loaders of training clips and of test clips (`a2h_models.training.base.TESTED`).

        Pairs of training clips are driven to frames that are in no training pair.
        """
        return [self._once(self.train, trained_on=True), self._once(self.test)]

    def _once(self, index: Index | ExternalShards, *, trained_on: bool = False) -> DataLoader[Any] | list[Any]:
        """Load every clip once, in order.

        With several processes the last batches repeat clips, so that all processes have equally many.
        """
        if isinstance(index, ExternalShards) or not len(index):
            return []
        rank, world = self._rank_and_world()
        share = self.clips_per_batch(world) // world
        mine = [position % len(index) for position in range(rank, -(-len(index) // world) * world, world)]
        batches = [mine[start : start + share] for start in range(0, len(mine), share)]
        return self._loader(self.make_evaluation_dataset(index, trained_on=trained_on), batches)

    def make_evaluation_dataset(self, index: Index, *, trained_on: bool) -> Dataset[Any]:  # noqa: ARG002 (for pairs)
        """Make the dataset for validation and test.

        Args:
            index: the clips.
            trained_on: whether they are training clips.
        """
        return self.make_dataset(index, order=None, seed=VALIDATION_SEED)

    @override
    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Convert pictures from bytes to [0, 1], on the device."""
        return batch._replace(
            **{name: value.float() * UNIT for name, value in batch._asdict().items() if _is_image(value)}
        )

    def state_dict(self) -> dict[str, Any]:
        return {"batches": self._consumed(), "order": self.order.fingerprint(self.config.batch_size)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if state_dict["order"] != self.order.fingerprint(self.config.batch_size):
            raise CheckpointError(
                "the checkpoint was made with other training clips, another dataset.seed or another dataset.batch_size",
                hint="restore them, or start again under another run_name",
            )
        self.first = int(state_dict["batches"])

    def _consumed(self) -> int:
        """Count the batches whose optimiser steps are in the weights.

        This is Lightning's own count, which a resumed run continues.
        """
        if self.trainer is None:
            return self.first
        return int(self.trainer.fit_loop.epoch_loop.total_batch_idx) + 1

    def _rank_and_world(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer is not None else (0, 1)

    def _loader(self, dataset: Dataset[Any], batches: Any) -> DataLoader[Any]:
        return make_loader(dataset, self.collate, workers=self.config.workers, batch_sampler=batches)


def _is_image(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dtype == torch.uint8


class PairDataModule(ClipDataModule):
    """Batches of `PairBatch`, with `pairs_per_clip` pairs of each clip that is read."""

    @property
    def items_per_clip(self) -> int:
        return self.config.pairs_per_clip

    def make_dataset(self, index: Index, *, order: ClipOrder | None, seed: int) -> FramePairDataset:
        sampling = PairSampling(pairs=self.config.pairs_per_clip, held_out=self.config.unseen_share)
        return FramePairDataset(index, size=self.size, sampling=sampling, order=order, seed=seed)

    @override
    def make_evaluation_dataset(self, index: Index, *, trained_on: bool) -> FramePairDataset:
        sampling = PairSampling(
            pairs=self.config.measured_pairs or self.config.pairs_per_clip,
            held_out=self.config.unseen_share if trained_on else 0.0,
            drive_to_held_out=trained_on,
        )
        return FramePairDataset(index, size=self.size, sampling=sampling, order=None, seed=VALIDATION_SEED)

    @staticmethod
    @override
    def collate(items: list[FramePairs]) -> PairBatch:
        return collate_pairs(items)


class WindowDataModule(ClipDataModule):
    """Batches of `WindowBatch`; batches for validation and test hold all frames and the mouth's box.

    Args:
        config: which shards.
        size: pixels a side.
        cache: folder for copies from remote stores.
        frames_every: which of a window's frames are decoded for training: 1 all, n every n-th, 0
            none.
        portrait_first: the portrait is the window's first frame, and validation needs no other; else
            it is any frame of the clip.
        detector: hash of the teacher whose keypoints are read from keypoint shards; empty reads none.

    Raises:
        DatasetError: if a shard has no keypoint shard of that detector.
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
                index.open_keypoint_shards(detector)

    def make_dataset(self, index: Index, *, order: ClipOrder | None, seed: int) -> WindowDataset:
        compares_frames = order is None and not self.portrait_first  # validation or test, with metrics of pictures
        contents = WindowContents(
            frames_every=1 if compares_frames else self.frames_every,
            portrait_first=self.portrait_first,
            keypoints=bool(self.detector),
            mouth=compares_frames,
        )
        return WindowDataset(index, size=self.size, contents=contents, order=order, seed=seed)

    @staticmethod
    @override
    def collate(items: list[SampleWindow]) -> WindowBatch:
        return collate_windows(items)
