"""What is drawn from a clip: pairs of its frames, or a window of them; and how draws become
batches, still as bytes.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
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

MOUTH_MARGIN = 0.03  # around the lips' landmarks; 2 is the picture's side

Draw_co = TypeVar("Draw_co", covariant=True)


class Reader(Protocol):
    """What holds clips: an `Index`, which fetches members by offset, or a sample that is in memory
    already.
    """

    def members(self, clip: IndexedClip, extensions: Iterable[str]) -> Encoded: ...

    def array(self, encoded: Encoded, extension: str) -> np.ndarray: ...

    def keypoints(self, clip: IndexedClip) -> Float32[np.ndarray, "t k 6"]: ...


class ClipDataset(Dataset[Draw_co]):
    """At each position, what is drawn from the clip that stands there; position and seed decide
    everything about it.

    Args:
        index: the clips.
        stream: the order; none reads the clips one after the other.
        seed: of the draws.
    """

    def __init__(self, index: Index, *, stream: ClipOrder | None, seed: int) -> None:
        self.index, self.stream, self.seed = index, stream, seed

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, position: int) -> Draw_co:
        """What is drawn at a position.

        Raises:
            DatasetError: for a damaged sample, naming it and its shard.
        """
        clip = self.index.clips[position if self.stream is None else self.stream.clip(position)]
        try:
            return self.draw(self.index, clip, np.random.default_rng((self.seed, position)))
        except DatasetError as error:
            shard = self.index.shard_of(clip)
            message = error.message if shard in error.message else f"{shard}: {error.message}"
            raise DatasetError(message, hint=error.hint or "`a2h verify` finds every damaged shard") from error

    @abstractmethod
    def draw(self, reader: Reader, clip: IndexedClip, rng: np.random.Generator) -> Draw_co:
        """Some of a clip."""


class Pairs(NamedTuple):
    key: str
    source: UInt8[np.ndarray, "n s s 3"]
    driving: UInt8[np.ndarray, "n s s 3"]
    # of the landmarks between the two, where it is measured; 1 is the picture's side
    motion: Float32[np.ndarray, " n"] | None


class SampleWindow(NamedTuple):
    key: str
    portrait: UInt8[np.ndarray, "s s 3"]
    portrait_pose: Float32[np.ndarray, " 6"]
    speech: Float32[np.ndarray, "t 4 41"]
    pose: Float32[np.ndarray, "t 6"]
    frames: UInt8[np.ndarray, "f s s 3"]  # f = t, every n-th, or 0
    keypoints: Float32[np.ndarray, "t k 6"] | None  # a teacher's
    mouth: Float32[np.ndarray, "t 4"] | None  # left, top, right, bottom of the lips in [-1, 1]


class FramePairDataset(ClipDataset[Pairs]):
    """At each position, some pairs of frames of the clip that stands there; only those frames are
    decoded.

    Args:
        index: the clips.
        size: pixels a side.
        pairs: of each clip.
        unseen: share of a clip's frames, its last ones, that are in no pair.
        driven_to_unseen: draw just those instead, each from one of the others.
        stream: the order; none reads the clips one after the other, and says how far each pair's
            landmarks moved.
        seed: of the draws.
    """

    def __init__(
        self,
        index: Index,
        *,
        size: int,
        pairs: int,
        unseen: float = 0.0,
        driven_to_unseen: bool = False,
        stream: ClipOrder | None,
        seed: int,
    ) -> None:
        super().__init__(index, stream=stream, seed=seed)
        self.size, self.pairs, self.unseen, self.driven_to_unseen = size, pairs, unseen, driven_to_unseen

    def draw(self, reader: Reader, clip: IndexedClip, rng: np.random.Generator) -> Pairs:
        chosen = np.stack([self.pair(clip.frames, rng) for _ in range(self.pairs)])  # (pairs, 2)
        wanted, places = np.unique(chosen, return_inverse=True)
        frames = read_frames(reader, clip, wanted, self.size)[places.reshape(chosen.shape)]
        motion = _motion(reader, clip, chosen) if self.stream is None else None
        return Pairs(key=clip.key, source=frames[:, 0], driving=frames[:, 1], motion=motion)

    def pair(self, frames: int, rng: np.random.Generator) -> Int64[np.ndarray, " 2"]:
        """Source and driving."""
        first_unseen = frames - int(self.unseen * frames)
        if self.driven_to_unseen and first_unseen < frames:
            return np.array([rng.integers(first_unseen), rng.integers(first_unseen, frames)])
        return rng.choice(first_unseen, 2, replace=False)


def _motion(reader: Reader, clip: IndexedClip, chosen: Int64[np.ndarray, "n 2"]) -> Float32[np.ndarray, " n"]:
    """Mean distance of the landmarks in a pair's frames: it says how the head moved, and how the
    face did.
    """
    landmarks = (
        reader.array(reader.members(clip, ("landmarks.npy",)), "landmarks.npy")[chosen, :, :2].astype(np.float32) / SIZE
    )
    distances: np.ndarray = np.linalg.norm(landmarks[:, 0] - landmarks[:, 1], axis=-1).mean(axis=-1)
    return distances


class WindowDataset(ClipDataset[SampleWindow]):
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
        stream: ClipOrder | None,
        seed: int,
    ) -> None:
        super().__init__(index, stream=stream, seed=seed)
        self.size, self.frames_every, self.portrait_first = size, frames_every, portrait_first
        self.keypoints, self.mouth = keypoints, mouth

    def draw(self, reader: Reader, clip: IndexedClip, rng: np.random.Generator) -> SampleWindow:
        if clip.frames < WINDOW:
            raise DatasetError(f"sample {clip.key} has {clip.frames} frames, fewer than a window of {WINDOW}")
        start = int(rng.integers(clip.frames - WINDOW + 1))
        span = slice(start, start + WINDOW)
        portrait = start if self.portrait_first else int(rng.integers(clip.frames))
        encoded = reader.members(clip, ("pose.npy", "speech.npy", *(["landmarks.npy"] if self.mouth else [])))
        pose = reader.array(encoded, "pose.npy")
        wanted = [portrait, *(range(start, start + WINDOW, self.frames_every) if self.frames_every else ())]
        frames = read_frames(reader, clip, np.asarray(wanted), self.size)
        return SampleWindow(
            key=clip.key,
            portrait=frames[0],
            portrait_pose=pose[portrait],
            speech=reader.array(encoded, "speech.npy")[span],
            pose=pose[span],
            frames=frames[1:],
            keypoints=reader.keypoints(clip)[span] if self.keypoints else None,
            mouth=_mouth(reader.array(encoded, "landmarks.npy")[span]) if self.mouth else None,
        )


def _mouth(landmarks: np.ndarray) -> Float32[np.ndarray, "t 4"]:
    """The box around the lips, with a margin, in [-1, 1]."""
    lips = landmarks[:, LIPS, :2].astype(np.float32) / SIZE * 2 - 1
    return np.concatenate([lips.min(axis=1) - MOUTH_MARGIN, lips.max(axis=1) + MOUTH_MARGIN], axis=1)


def read_frames(reader: Reader, clip: IndexedClip, wanted: np.ndarray, size: int) -> UInt8[np.ndarray, "n s s 3"]:
    from pipelines import media

    try:
        return media.decode_crop(reader.members(clip, ("mp4",)).members["mp4"], [int(frame) for frame in wanted], size)
    except (MediaError, IndexError) as error:
        raise DatasetError(f"sample {clip.key}: {error}") from error


def collate_pairs(draws: list[Pairs]) -> PairBatch:
    """Bytes still; they become floats on the device, at a quarter of the transfer."""
    keys = [draw.key for draw in draws for _ in draw.source]
    source, driving = (np.concatenate([getattr(draw, name) for draw in draws]) for name in ("source", "driving"))
    motion = [draw.motion for draw in draws if draw.motion is not None]
    return PairBatch(
        keys=keys,
        source=channels_first(source),
        driving=channels_first(driving),
        motion=torch.from_numpy(np.concatenate(motion)) if motion else None,
    )


def collate_windows(draws: list[SampleWindow]) -> WindowBatch:
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
