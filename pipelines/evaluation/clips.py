"""One clip: decode it, and measure the videos that each system generates of it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float32, UInt8

from a2h_models.errors import InputError, MediaError
from a2h_models.features.speech import speech_features
from a2h_models.metrics.video import VideoFeatures, measure
from a2h_models.metrics.video import features as set_features
from pipelines.config import EvaluateConfig
from pipelines.core.timing import Stopwatch
from pipelines.evaluation.decoded_clip import decode_clip
from pipelines.evaluation.protocols import FEATURES, row_videos
from pipelines.evaluation.sets import EvaluationClip
from pipelines.evaluation.systems import SystemsUnderTest, image_size, metric_networks_for

STRIP_FRAMES = 6  # of a clip that is shown, evenly spaced
NO_STRIP = np.zeros((0, 0, 3), np.uint8)


@dataclass(frozen=True, kw_only=True)
class ClipResult:
    """The numbers of one clip, and some of its frames."""

    key: str
    identity: str
    frames: int
    # ground_truth | copy_portrait | a protocol | champion_ and a protocol → metric → value
    rows: dict[str, dict[str, float]]
    strip: UInt8[np.ndarray, "h w 3"]  # truth above, one line for each video of the candidate below
    head_turn_deg: float = 0.0  # the largest angle between the true head and the portrait's
    seconds: dict[str, float] = field(default_factory=dict)  # part → time it took
    # row → metric of sets → what it compares
    features: dict[str, dict[str, Float32[np.ndarray, "n d"]]] = field(default_factory=dict)
    error: str = ""  # why it could not be measured; then there are no rows


def measure_clip(clip: EvaluationClip, *, systems: SystemsUnderTest, config: EvaluateConfig) -> ClipResult:
    """Measure a clip; a video that cannot be read becomes `error`.

    Raises:
        DatasetError: if the clip is damaged, or is not what was frozen.
    """
    stopwatch = Stopwatch()
    with stopwatch("read"):
        decoded = decode_clip(clip, size=image_size(systems))
    with stopwatch(FEATURES):  # the sample has them; this is what generation pays for them
        speech_features(decoded.wave, frames=clip.frames)
    networks = metric_networks_for(systems)
    rows, features, strips = {}, {}, [_strip(decoded.truth.frames)]
    try:
        for row, video in row_videos(decoded, systems, config, stopwatch):
            with stopwatch("metrics"):
                rows[row] = measure(video, decoded.truth, decoded.wave, networks)
                features[row] = set_features(video, networks)
            if row in config.protocols:
                strips.append(_strip(video.frames))
    except (InputError, MediaError) as error:
        return ClipResult(
            key=clip.key, identity=clip.identity, frames=clip.frames, rows={}, strip=NO_STRIP, error=error.message
        )
    return ClipResult(
        key=clip.key,
        identity=clip.identity,
        frames=clip.frames,
        rows=rows,
        strip=np.concatenate(strips),
        head_turn_deg=_head_turn_deg(decoded.truth),
        seconds=dict(stopwatch.seconds),
        features=features,
    )


def _head_turn_deg(truth: VideoFeatures) -> float:
    """The largest distance of a frame's rotation vector from the portrait's, in degrees."""
    if truth.pose is None:
        return 0.0
    return float(np.degrees(np.linalg.norm(truth.pose[:, :3] - truth.pose[:1, :3], axis=1).max()))


def _strip(frames: UInt8[np.ndarray, "t h w 3"]) -> UInt8[np.ndarray, "h w 3"]:
    """Some frames beside each other."""
    chosen = np.linspace(0, len(frames) - 1, STRIP_FRAMES).round().astype(int)
    return np.concatenate([frames[index] for index in chosen], axis=1)
