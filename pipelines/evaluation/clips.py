"""One clip: decode it, have each system make its film, and measure them beside the truth and the
copied portrait.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Int16, UInt8

from a2h_models.errors import InputError, MediaError
from a2h_models.features.speech import speech_features
from a2h_models.metrics.video import Face, VideoFeatures, measure
from a2h_models.metrics.video import features as features_of
from a2h_models.timebase import SAMPLES_PER_FRAME
from pipelines.config import EvaluateConfig
from pipelines.core.timing import Stopwatch
from pipelines.dataset import shard_format
from pipelines.evaluation.sets import EvaluationClip, read_members
from pipelines.evaluation.systems import FEATURES, SystemsUnderTest, films_of, image_size, judges_of, look

GROUND_TRUTH, COPY_PORTRAIT = "ground_truth", "copy_portrait"
STRIP_FRAMES = 6  # of a clip that is drawn, evenly spaced
NO_PICTURE = np.zeros((0, 0, 3), np.uint8)


@dataclass(frozen=True, kw_only=True)
class ClipResult:
    """The numbers of one clip, and a picture of it."""

    key: str
    identity: str
    frames: int
    # ground_truth | copy_portrait | a protocol | champion_ and a protocol → metric → value
    rows: dict[str, dict[str, float]]
    strip: UInt8[np.ndarray, "h w 3"]  # truth above, one line a film of the candidate below
    turned_deg: float = 0.0  # how far the true head turns away from the portrait, at most
    seconds: dict[str, float] = field(default_factory=dict)  # part → time it took
    # row → metric of sets → what it compares
    features: dict[str, dict[str, Float32[np.ndarray, "n d"]]] = field(default_factory=dict)
    error: str = ""  # why it could not be measured; then there are no rows


class DecodedClip(NamedTuple):
    """A clip, decoded."""

    truth: VideoFeatures  # at the networks' size
    wave: Int16[np.ndarray, " n"]
    speech: Float[np.ndarray, "t 4 41"]
    portrait: UInt8[np.ndarray, "256 256 3"]  # frame 0


def measure_clip(clip: EvaluationClip, *, cast: SystemsUnderTest, config: EvaluateConfig) -> ClipResult:
    """The numbers of a clip; a film that cannot be read is told in `error`.

    Raises:
        DatasetError: if the clip is damaged, or is not what was frozen.
    """
    clock = Stopwatch()
    with clock("read"):
        take = read_clip(clip, size=image_size(cast))
    with clock(FEATURES):  # the sample holds them; this is what generation pays for them
        speech_features(take.wave, frames=clip.frames)
    judges = judges_of(cast)
    rows, features, strips = {}, {}, [_strip(take.truth.frames)]
    try:
        for row, film in _films(clip.key, take, cast, config, clock):
            with clock("metrics"):
                rows[row] = measure(film, take.truth, take.wave, judges)
                features[row] = features_of(film, judges)
            if row in config.protocols:
                strips.append(_strip(film.frames))
    except (InputError, MediaError) as error:
        return ClipResult(
            key=clip.key, identity=clip.identity, frames=clip.frames, rows={}, strip=NO_PICTURE, error=error.message
        )
    return ClipResult(
        key=clip.key,
        identity=clip.identity,
        frames=clip.frames,
        rows=rows,
        strip=np.concatenate(strips),
        turned_deg=_turned(take.truth),
        seconds=dict(clock.seconds),
        features=features,
    )


def read_clip(clip: EvaluationClip, *, size: int) -> DecodedClip:
    """The true film at a size, its speech as samples and as features, and its portrait."""
    from pipelines import media

    members = read_members(clip)
    frames = media.decode_crop(members["mp4"], indices=range(clip.frames), size=size)
    pose = shard_format.decode_npy(members["pose.npy"], key=clip.key)[: clip.frames]
    return DecodedClip(
        truth=VideoFeatures(frames=frames, face=look(frames), pose=pose),
        wave=shard_format.decode_flac(members["flac"], key=clip.key)[: clip.frames * SAMPLES_PER_FRAME],
        speech=shard_format.decode_npy(members["speech.npy"], key=clip.key)[: clip.frames],
        portrait=media.decode_crop(members["mp4"], indices=[0])[0],
    )


def _films(
    key: str, take: DecodedClip, cast: SystemsUnderTest, config: EvaluateConfig, clock: Stopwatch
) -> Iterator[tuple[str, VideoFeatures]]:
    """Rows and films, one at a time: memory holds the truth and one more."""
    yield GROUND_TRUTH, take.truth
    yield COPY_PORTRAIT, _copied(take.truth)
    yield from films_of(cast, key, take.portrait, take.speech, take.truth, config, clock)


def _copied(truth: VideoFeatures) -> VideoFeatures:
    """The film of somebody who only holds up the portrait."""
    frames = np.broadcast_to(truth.frames[:1], truth.frames.shape)
    face = Face(*(np.broadcast_to(part[:1], part.shape) for part in truth.face)) if truth.face else None
    return VideoFeatures(
        frames=frames, face=face, pose=None if truth.pose is None else np.broadcast_to(truth.pose[:1], truth.pose.shape)
    )


def _turned(truth: VideoFeatures) -> float:
    """Degrees between the rotation vectors of the portrait and of the frame that is farthest from
    it.
    """
    if truth.pose is None:
        return 0.0
    return float(np.degrees(np.linalg.norm(truth.pose[:, :3] - truth.pose[:1, :3], axis=1).max()))


def _strip(frames: UInt8[np.ndarray, "t h w 3"]) -> UInt8[np.ndarray, "h w 3"]:
    """Some frames beside each other."""
    chosen = np.linspace(0, len(frames) - 1, STRIP_FRAMES).round().astype(int)
    return np.concatenate([frames[index] for index in chosen], axis=1)
