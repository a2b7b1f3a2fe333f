"""What training draws from a dataset, and in which order: pure functions of (seed, position), so that any run can be resumed anywhere.

Training is one endless stream of draws. A draw's position decides everything about it: which clip, which frames. So the state of a loader
is one integer, batches consumed, and neither the number of processes nor of loader workers changes what a batch holds.
"""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytorch_lightning as pl
import torch
from jaxtyping import Float32, Int64, UInt8
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler
from typing_extensions import override

from a2h_models.errors import CheckpointError, ConfigError, DatasetError, InputError, MediaError
from a2h_models.metrics.motion import LIPS
from a2h_models.sample import SIZE, UNIT, WINDOW, PairBatch, WindowBatch
from pipelines.config import DatasetConfig
from pipelines.dataset.index import BYTES_PER_GB, Clip, Index, ShardCache
from pipelines.storage import Storage

MOUTH_MARGIN = 0.03  # around the lips' landmarks; 2 is the picture's side
VALIDATION_SEED = 0  # validation draws the same frames whatever the run's seed, so that runs can be compared


# -------------------------------------------------------------------------------- order
def order(seed: int, epoch: int, sizes: Sequence[int], streams: int) -> Int64[np.ndarray, " n"]:
    """The order in which an epoch reads its clips: a permutation of 0 … sum(sizes) − 1.

    Shards are shuffled, and the clips within each. This sequence is cut into `streams` pieces of equal length, which are read side by side,
    one clip of each in turn: neighbours come from different shards, yet only about `streams` shards are open at any time, each read through
    before the next one.

    Args:
        seed: of the run.
        epoch: each has its own order.
        sizes: clips in each shard.
        streams: virtual; they have nothing to do with processes or workers.
    """
    rng = np.random.default_rng((seed, epoch))
    starts = np.cumsum([0, *sizes])
    shards = rng.permutation(len(sizes))
    sequence = np.concatenate([starts[shard] + rng.permutation(sizes[shard]) for shard in shards])
    pieces = np.array_split(sequence, streams)  # the longer ones first, by one clip at most
    turns = np.full((len(pieces[0]), streams), -1, dtype=np.int64)
    for stream, piece in enumerate(pieces):
        turns[: len(piece), stream] = piece
    return turns[turns >= 0]


@dataclass(frozen=True)
class Stream:
    """The endless sequence of clips: one epoch's order after the other's."""

    sizes: tuple[int, ...]
    seed: int
    streams: int

    def __len__(self) -> int:
        return sum(self.sizes)

    def clip(self, position: int) -> int:
        """Which clip is read at a position, counted from the beginning of training."""
        epoch, place = divmod(position, len(self))
        return int(_order(self.seed, epoch, self.sizes, self.streams)[place])

    def fingerprint(self, batch_size: int) -> str:
        """Changes when a count of batches would mean something else."""
        return hashlib.sha256(repr((self, batch_size)).encode()).hexdigest()[:16]


@lru_cache(maxsize=2)  # a batch may stand astride two epochs
def _order(seed: int, epoch: int, sizes: tuple[int, ...], streams: int) -> Int64[np.ndarray, " n"]:
    return order(seed, epoch, sizes, streams)


class Turns(Sampler[list[int]]):
    """The positions that one process reads, batch by batch, without end: its share of each global batch."""

    def __init__(self, first: int, clips: int, *, rank: int, world: int) -> None:
        self.first = first  # batches already consumed
        self.clips = clips  # read for one global batch
        self.share = range(rank * clips // world, (rank + 1) * clips // world)

    def __iter__(self) -> Iterator[list[int]]:
        batch = self.first
        while True:
            yield [batch * self.clips + place for place in self.share]
            batch += 1


# -------------------------------------------------------------------------------- draws
class Pairs(NamedTuple):
    key: str
    source: UInt8[np.ndarray, "n s s 3"]
    driving: UInt8[np.ndarray, "n s s 3"]


class Window(NamedTuple):
    key: str
    portrait: UInt8[np.ndarray, "s s 3"]
    portrait_pose: Float32[np.ndarray, " 6"]
    speech: Float32[np.ndarray, "t 4 41"]
    pose: Float32[np.ndarray, "t 6"]
    frames: UInt8[np.ndarray, "f s s 3"]  # f = t, every n-th, or 0
    keypoints: Float32[np.ndarray, "t k 6"] | None  # a teacher's
    mouth: Float32[np.ndarray, "t 4"] | None  # left, top, right, bottom of the lips in [-1, 1]


class PairDraws(Dataset[Pairs]):
    """At each position, some pairs of frames of the clip that stands there; only those frames are decoded."""

    def __init__(self, index: Index, *, size: int, pairs: int, stream: Stream | None, seed: int) -> None:
        self.index, self.size, self.pairs, self.stream, self.seed = index, size, pairs, stream, seed

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, position: int) -> Pairs:
        clip, rng = drawn_at(position, self.index, self.stream, self.seed)
        chosen = np.stack([rng.choice(clip.frames, 2, replace=False) for _ in range(self.pairs)])  # (pairs, 2)
        wanted, places = np.unique(chosen, return_inverse=True)
        frames = read_frames(self.index, clip, wanted, self.size)[places.reshape(chosen.shape)]
        return Pairs(key=clip.key, source=frames[:, 0], driving=frames[:, 1])


class WindowDraws(Dataset[Window]):
    """At each position, one window of the clip that stands there.

    Args:
        index: the clips.
        size: pixels a side of portrait and frames.
        frames_every: which of the window's own frames are decoded: 1 all, n every n-th, 0 none.
        portrait_first: the portrait is the window's first frame; else any frame of the clip.
        keypoints: whether the teacher's are read from companion shards, which the index has opened.
        mouth: whether it is said where the lips are.
        stream: the order; none reads the clips one after the other.
        seed: of the draws.
    """

    def __init__(
        self,
        index: Index,
        *,
        size: int,
        frames_every: int,
        portrait_first: bool,
        keypoints: bool = False,
        mouth: bool = False,
        stream: Stream | None,
        seed: int,
    ) -> None:
        self.index, self.size, self.stream, self.seed = index, size, stream, seed
        self.frames_every, self.portrait_first = frames_every, portrait_first
        self.keypoints, self.mouth = keypoints, mouth

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, position: int) -> Window:
        clip, rng = drawn_at(position, self.index, self.stream, self.seed)
        if clip.frames < WINDOW:
            raise DatasetError(f"sample {clip.key} has {clip.frames} frames, fewer than a window of {WINDOW}")
        start = int(rng.integers(clip.frames - WINDOW + 1))
        span = slice(start, start + WINDOW)
        portrait = start if self.portrait_first else int(rng.integers(clip.frames))
        encoded = self.index.members(clip, ("pose.npy", "speech.npy", *(["landmarks.npy"] if self.mouth else [])))
        pose = self.index.array(encoded, "pose.npy")
        wanted = [portrait, *(range(start, start + WINDOW, self.frames_every) if self.frames_every else ())]
        frames = read_frames(self.index, clip, np.asarray(wanted), self.size)
        return Window(
            key=clip.key,
            portrait=frames[0],
            portrait_pose=pose[portrait],
            speech=self.index.array(encoded, "speech.npy")[span],
            pose=pose[span],
            frames=frames[1:],
            keypoints=self.index.keypoints(clip)[span] if self.keypoints else None,
            mouth=_mouth(self.index.array(encoded, "landmarks.npy")[span]) if self.mouth else None,
        )


def _mouth(landmarks: np.ndarray) -> Float32[np.ndarray, "t 4"]:
    """The box around the lips, with a margin, in [-1, 1]."""
    lips = landmarks[:, LIPS, :2].astype(np.float32) / SIZE * 2 - 1
    return np.concatenate([lips.min(axis=1) - MOUTH_MARGIN, lips.max(axis=1) + MOUTH_MARGIN], axis=1)


def drawn_at(position: int, index: Index, stream: Stream | None, seed: int) -> tuple[Clip, np.random.Generator]:
    clip = index.clips[position if stream is None else stream.clip(position)]
    return clip, np.random.default_rng((seed, position))


def read_frames(index: Index, clip: Clip, wanted: np.ndarray, size: int) -> UInt8[np.ndarray, "n s s 3"]:
    from pipelines import media

    try:
        return media.decode_crop(index.members(clip, ("mp4",)).members["mp4"], [int(frame) for frame in wanted], size)
    except (MediaError, IndexError) as error:
        raise DatasetError(f"sample {clip.key}: {error}", hint="`a2h verify` finds every damaged shard") from error


def _collate_pairs(draws: list[Pairs]) -> PairBatch:
    """Bytes still; they become floats on the device, at a quarter of the transfer."""
    keys = [draw.key for draw in draws for _ in draw.source]
    source, driving = (np.concatenate([getattr(draw, name) for draw in draws]) for name in ("source", "driving"))
    return PairBatch(keys=keys, source=channels_first(source), driving=channels_first(driving))


def _collate_windows(draws: list[Window]) -> WindowBatch:
    return WindowBatch(
        keys=[draw.key for draw in draws],
        portrait=channels_first(np.stack([draw.portrait for draw in draws])),
        portrait_pose=torch.from_numpy(np.stack([draw.portrait_pose for draw in draws])),
        speech=torch.from_numpy(np.stack([draw.speech for draw in draws])),
        pose=torch.from_numpy(np.stack([draw.pose for draw in draws])),
        frames=channels_first(np.stack([draw.frames for draw in draws])),
        keypoints=_stacked([draw.keypoints for draw in draws]),
        mouth=_stacked([draw.mouth for draw in draws]),
    )


def _stacked(parts: list[np.ndarray | None]) -> Tensor | None:
    """None where the draws have no such part."""
    known = [part for part in parts if part is not None]
    return torch.from_numpy(np.stack(known)) if known else None


def channels_first(images: np.ndarray) -> Tensor:
    """(…, h, w, 3) → (…, 3, h, w)"""
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(images, -1, -3)))


# -------------------------------------------------------------------------------- data modules
class ClipDataModule(pl.LightningDataModule):
    """What both kinds of batches share: the index of each split, the order, the state.

    Raises:
        InputError: if the dataset has no training clips.
        ConfigError: if the global batch cannot be divided evenly.
        CheckpointError: on resuming with other clips, another seed, or another batch size, where a count of batches means nothing.
    """

    def __init__(self, config: DatasetConfig, *, size: int, cache: Path) -> None:
        super().__init__()
        self.config, self.size = config, size
        storage = Storage(config.path)
        shards = ShardCache(cache / "shards", limit_bytes=int(config.cache_gb * BYTES_PER_GB))
        self.train, self.val, self.test = (Index(storage, split, cache=shards) for split in ("train", "val", "test"))
        if not len(self.train):
            raise InputError(f"{config.path} has no clips in its train split")
        self.stream = Stream(sizes=self.train.sizes, seed=config.seed, streams=config.streams)
        self.first = 0  # batches consumed before this process began

    @abstractmethod
    def draws(self, index: Index, *, stream: Stream | None, seed: int) -> Dataset[Any]:
        """The dataset whose items are read by position."""

    @abstractmethod
    def collate(self, draws: list[Any]) -> Any:
        """Items of `draws` → a batch of bytes."""

    @property
    def fingerprint(self) -> str:
        return self.train.fingerprint

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
        turns = Turns(self.first, self.clips_per_batch(world), rank=rank, world=world)
        return self._loader(self.draws(self.train, stream=self.stream, seed=self.config.seed), turns)

    def val_dataloader(self) -> DataLoader[Any] | list[Any]:
        return self._once(self.val)

    def test_dataloader(self) -> DataLoader[Any] | list[Any]:
        return self._once(self.test)

    def _once(self, index: Index) -> DataLoader[Any] | list[Any]:
        """Every clip once, in order; with several processes the last batches repeat some, so that all have the same number."""
        if not len(index):
            return []
        rank, world = self._place()
        share = self.clips_per_batch(world) // world
        mine = [position % len(index) for position in range(rank, -(-len(index) // world) * world, world)]
        batches = [mine[start : start + share] for start in range(0, len(mine), share)]
        return self._loader(self.draws(index, stream=None, seed=VALIDATION_SEED), batches)

    @override
    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Bytes → [0, 1], on the device."""
        return batch._replace(**{name: value.float() * UNIT for name, value in batch._asdict().items() if _is_image(value)})

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
        """Batches whose optimiser steps are in the weights; Lightning's own count, which a resumed run goes on with."""
        if self.trainer is None:
            return self.first
        return int(self.trainer.fit_loop.epoch_loop.total_batch_idx) + 1

    def _place(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer is not None else (0, 1)

    def _loader(self, draws: Dataset[Any], batches: Any) -> DataLoader[Any]:
        # Not fork: a decord reader opened before a fork hangs in the child
        context = "forkserver" if self.config.workers else None
        return DataLoader(
            draws,
            batch_sampler=batches,
            collate_fn=self.collate,
            num_workers=self.config.workers,
            multiprocessing_context=context,
            persistent_workers=bool(self.config.workers),
            pin_memory=torch.cuda.is_available(),
        )


def _is_image(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dtype == torch.uint8


class PairDataModule(ClipDataModule):
    """Batches of `PairBatch`: `pairs_per_clip` pairs of each clip that is read."""

    @property
    def draws_per_clip(self) -> int:
        return self.config.pairs_per_clip

    def draws(self, index: Index, *, stream: Stream | None, seed: int) -> PairDraws:
        return PairDraws(index, size=self.size, pairs=self.config.pairs_per_clip, stream=stream, seed=seed)

    def collate(self, draws: list[Pairs]) -> PairBatch:
        return _collate_pairs(draws)


class WindowDataModule(ClipDataModule):
    """Batches of `WindowBatch`. What is measured, unlike what is learnt from, has all frames and says where the mouth is.

    Args:
        config: which shards.
        size: pixels a side.
        cache: folder for what is copied from remote stores.
        frames_every: which of a window's frames are decoded for training: 1 all, n every n-th, 0 none.
        portrait_first: the portrait is the window's first frame, and measuring needs no other; else it is any frame of the clip.
        detector: hash of the teacher whose keypoints are read from companion shards; empty: none are.

    Raises:
        DatasetError: if a shard has no companion of that detector.
    """

    def __init__(
        self, config: DatasetConfig, *, size: int, cache: Path, frames_every: int, portrait_first: bool, detector: str = ""
    ) -> None:
        super().__init__(config, size=size, cache=cache)
        self.frames_every, self.portrait_first, self.detector = frames_every, portrait_first, detector
        if detector:
            for index in (self.train, self.val, self.test):
                index.open_companions(detector)

    def draws(self, index: Index, *, stream: Stream | None, seed: int) -> WindowDraws:
        looks = stream is None and not self.portrait_first
        return WindowDraws(
            index,
            size=self.size,
            frames_every=1 if looks else self.frames_every,
            portrait_first=self.portrait_first,
            keypoints=bool(self.detector),
            mouth=looks,
            stream=stream,
            seed=seed,
        )

    def collate(self, draws: list[Window]) -> WindowBatch:
        return _collate_windows(draws)
