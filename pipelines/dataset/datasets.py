"""PyTorch datasets over clips: pairs of frames or windows of frames, and their collation.

Pictures stay bytes until they are on the device, at a quarter of the transfer of floats.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from jaxtyping import Float32, Int64, UInt8
from torch import Tensor
from torch.utils.data import Dataset

from a2h_models.data_types import SIZE, WINDOW, PairBatch, WindowBatch
from a2h_models.errors import DatasetError, MediaError
from a2h_models.metrics.motion import LIPS
from pipelines.dataset.index import Index, IndexedClip
from pipelines.dataset.sampler import ClipOrder
from pipelines.dataset.shard_format import Encoded

MOUTH_MARGIN = 0.03  # around the landmarks of the lips; the side of the picture is 2

Item_co = TypeVar("Item_co", covariant=True)


class Reader(Protocol):
    """A source of clips: an `Index`, which reads members by offset, or a sample in memory."""

    def members(self, clip: IndexedClip, extensions: Iterable[str]) -> Encoded: ...

    def array(self, encoded: Encoded, extension: str) -> np.ndarray: ...

    def keypoints(self, clip: IndexedClip) -> Float32[np.ndarray, "t k 6"]: ...


class ClipDataset(Dataset[Item_co]):
    """One item per position, a pure function of position and seed.

    Args:
        index: the clips.
        order: which clip is at which position; None keeps the order of the index.
        seed: of the random choice of frames.
    """

    def __init__(self, index: Index, *, order: ClipOrder | None, seed: int) -> None:
        self.index, self.order, self.seed = index, order, seed

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, position: int) -> Item_co:
        """Load the item at a position.

        Raises:
            DatasetError: for a damaged sample, naming it and its shard.
        """
        clip = self.index.clips[position if self.order is None else self.order.clip(position)]
        try:
            return self.load_item(self.index, clip, np.random.default_rng((self.seed, position)))
        except DatasetError as error:
            shard = self.index.shard_of(clip)
            message = error.message if shard in error.message else f"{shard}: {error.message}"
            raise DatasetError(message, hint=error.hint or "`a2h verify` finds every damaged shard") from error

    @abstractmethod
    def load_item(self, reader: Reader, clip: IndexedClip, rng: np.random.Generator) -> Item_co:
        """Load an item from a clip, with frames chosen by `rng`."""


class FramePairs(NamedTuple):
    """Pairs of frames of one clip."""

    key: str
    source: UInt8[np.ndarray, "n s s 3"]
    driving: UInt8[np.ndarray, "n s s 3"]
    # mean distance of the landmarks between source and driving; the side of the picture is 1. None: not measured
    motion: Float32[np.ndarray, " n"] | None


class SampleWindow(NamedTuple):
    """A window of WINDOW frames of one clip, and a portrait from the clip."""

    key: str
    portrait: UInt8[np.ndarray, "s s 3"]
    portrait_pose: Float32[np.ndarray, " 6"]
    speech: Float32[np.ndarray, "t 4 41"]
    pose: Float32[np.ndarray, "t 6"]
    frames: UInt8[np.ndarray, "f s s 3"]  # f: all t frames, every n-th, or none
    keypoints: Float32[np.ndarray, "t k 6"] | None  # a teacher network's; None: not read
    mouth: Float32[np.ndarray, "t 4"] | None  # left, top, right, bottom of the lips in [-1, 1]; None: not read


@dataclass(frozen=True, kw_only=True)
class PairSampling:
    """Which pairs of frames are taken from a clip."""

    pairs: int  # per clip
    held_out: float = 0.0  # share of the frames, the last ones of each clip, that are in no training pair
    drive_to_held_out: bool = False  # driving frames are held-out frames, sources are others


class FramePairDataset(ClipDataset[FramePairs]):
    """Pairs of frames of one clip per position; only those frames are decoded.

    Args:
        index: the clips.
        size: pixels a side.
        sampling: which pairs.
        order: which clip is at which position; None keeps the order of the index, and measures how
            far the landmarks of each pair moved.
        seed: of the random choice of frames.
    """

    def __init__(self, index: Index, *, size: int, sampling: PairSampling, order: ClipOrder | None, seed: int) -> None:
        super().__init__(index, order=order, seed=seed)
        self.size, self.sampling = size, sampling

    def load_item(self, reader: Reader, clip: IndexedClip, rng: np.random.Generator) -> FramePairs:
        chosen = np.stack([self.choose_pair(clip.frames, rng) for _ in range(self.sampling.pairs)])  # (pairs, 2)
        distinct, places = np.unique(chosen, return_inverse=True)
        frames = read_frames(reader, clip, distinct, self.size)[places.reshape(chosen.shape)]
        motion = _motion(reader, clip, chosen) if self.order is None else None
        return FramePairs(key=clip.key, source=frames[:, 0], driving=frames[:, 1], motion=motion)

    def choose_pair(self, frames: int, rng: np.random.Generator) -> Int64[np.ndarray, " 2"]:
        """Choose the numbers of a source and a driving frame."""
        first_held_out = frames - int(self.sampling.held_out * frames)
        if self.sampling.drive_to_held_out and first_held_out < frames:
            return np.array([rng.integers(first_held_out), rng.integers(first_held_out, frames)])
        return rng.choice(first_held_out, 2, replace=False)


def _motion(reader: Reader, clip: IndexedClip, chosen: Int64[np.ndarray, "n 2"]) -> Float32[np.ndarray, " n"]:
    """Measure how far head and face moved: mean distance of the landmarks of a pair's frames."""
    landmarks = (
        reader.array(reader.members(clip, ("landmarks.npy",)), "landmarks.npy")[chosen, :, :2].astype(np.float32) / SIZE
    )
    distances: np.ndarray = np.linalg.norm(landmarks[:, 0] - landmarks[:, 1], axis=-1).mean(axis=-1)
    return distances


@dataclass(frozen=True, kw_only=True)
class WindowContents:
    """Which parts of a window are read."""

    frames_every: int  # of the window's own frames 1 decodes all, n every n-th, 0 none
    portrait_first: bool  # the portrait is the window's first frame; else any frame of the clip
    keypoints: bool = False  # of the teacher network, from keypoint shards, which the index has opened
    mouth: bool = False  # box around the lips


class WindowDataset(ClipDataset[SampleWindow]):
    """One window of frames of one clip per position.

    Args:
        index: the clips.
        size: pixels a side of portrait and frames.
        contents: which parts of a window are read.
        order: which clip is at which position; None keeps the order of the index.
        seed: of the random choice of windows.
    """

    def __init__(
        self, index: Index, *, size: int, contents: WindowContents, order: ClipOrder | None, seed: int
    ) -> None:
        super().__init__(index, order=order, seed=seed)
        self.size, self.contents = size, contents

    def load_item(self, reader: Reader, clip: IndexedClip, rng: np.random.Generator) -> SampleWindow:
        if clip.frames < WINDOW:
            raise DatasetError(f"sample {clip.key} has {clip.frames} frames, fewer than a window of {WINDOW}")
        contents = self.contents
        start = int(rng.integers(clip.frames - WINDOW + 1))
        span = slice(start, start + WINDOW)
        portrait = start if contents.portrait_first else int(rng.integers(clip.frames))
        encoded = reader.members(clip, ("pose.npy", "speech.npy", *(["landmarks.npy"] if contents.mouth else [])))
        pose = reader.array(encoded, "pose.npy")
        numbers = [portrait, *(range(start, start + WINDOW, contents.frames_every) if contents.frames_every else ())]
        frames = read_frames(reader, clip, np.asarray(numbers), self.size)
        return SampleWindow(
            key=clip.key,
            portrait=frames[0],
            portrait_pose=pose[portrait],
            speech=reader.array(encoded, "speech.npy")[span],
            pose=pose[span],
            frames=frames[1:],
            keypoints=reader.keypoints(clip)[span] if contents.keypoints else None,
            mouth=_mouth_box(reader.array(encoded, "landmarks.npy")[span]) if contents.mouth else None,
        )


def _mouth_box(landmarks: np.ndarray) -> Float32[np.ndarray, "t 4"]:
    """Return the box around the lips, with a margin, in [-1, 1]."""
    lips = landmarks[:, LIPS, :2].astype(np.float32) / SIZE * 2 - 1
    return np.concatenate([lips.min(axis=1) - MOUTH_MARGIN, lips.max(axis=1) + MOUTH_MARGIN], axis=1)


def read_frames(reader: Reader, clip: IndexedClip, numbers: np.ndarray, size: int) -> UInt8[np.ndarray, "n s s 3"]:
    """Decode some frames of a clip, by number, scaled to `size`.

    Raises:
        DatasetError: if the video is damaged or too short.
    """
    from pipelines import media

    try:
        return media.decode_crop(reader.members(clip, ("mp4",)).members["mp4"], [int(frame) for frame in numbers], size)
    except (MediaError, IndexError) as error:
        raise DatasetError(f"sample {clip.key}: {error}") from error


def collate_pairs(items: list[FramePairs]) -> PairBatch:
    """Join the pairs of several clips; pictures stay bytes."""
    keys = [item.key for item in items for _ in item.source]
    source, driving = (np.concatenate([getattr(item, name) for item in items]) for name in ("source", "driving"))
    motion = [item.motion for item in items if item.motion is not None]
    return PairBatch(
        keys=keys,
        source=channels_first(source),
        driving=channels_first(driving),
        motion=torch.from_numpy(np.concatenate(motion)) if motion else None,
    )


def collate_windows(items: list[SampleWindow]) -> WindowBatch:
    """Stack windows; pictures stay bytes."""
    return WindowBatch(
        keys=[item.key for item in items],
        portrait=channels_first(np.stack([item.portrait for item in items])),
        portrait_pose=torch.from_numpy(np.stack([item.portrait_pose for item in items])),
        speech=torch.from_numpy(np.stack([item.speech for item in items])),
        pose=torch.from_numpy(np.stack([item.pose for item in items])),
        frames=channels_first(np.stack([item.frames for item in items])),
        keypoints=_stack_known([item.keypoints for item in items]),
        mouth=_stack_known([item.mouth for item in items]),
    )


def _stack_known(parts: list[np.ndarray | None]) -> Tensor | None:
    """Stack what is not None; None if there is nothing."""
    known = [part for part in parts if part is not None]
    return torch.from_numpy(np.stack(known)) if known else None


def channels_first(images: np.ndarray) -> Tensor:
    """Move the channels of pictures: (…, h, w, 3) → (…, 3, h, w)."""
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(images, -1, -3)))
