"""The data contract: what a sample holds, and what a batch holds.

Preparation writes samples, training and evaluation read them; both sides meet here and at the
shard, nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Float, Float16, Float32, Int16, UInt8

from a2h_models.timebase import HOPS_PER_FRAME, SAMPLES_PER_FRAME

if TYPE_CHECKING:
    from torch import Tensor  # preparation needs none of it: 190 MB a worker

SCHEMA_VERSION = 1  # of the members of a sample; a shard of another version is refused
# of the numbers that speech.py and head_pose.py compute from sound and landmarks; a change of them
# counts it up
FEATURES_VERSION = 1
SIZE = 256  # pixels a side of a crop (method.md §2)
SPEECH_DIM = 41  # numbers a row of speech features (method.md §2)
MEL_BANDS = 80  # bands of the plain log-mel, for lip-sync networks
POSE_DIM = 6  # rotation vector (rad) and translation (mm-like)
LANDMARKS = 468  # points of the face mesh, without the irises
# From 8-bit pixels to [0, 1], in training as in generation. The release multiplies by this number,
# rounded to 32 bits; dividing by 255
# rounds a third of all pixel values otherwise. That last bit moved driving keypoints of the parity
# set by up to 3.0e-4 where heatmaps are
# nearly tied; with it they agree to 1.2e-7.
UNIT = float(np.float32(1) / np.float32(255))
WINDOW = 64  # frames that motion_field sees at once (method.md §2)


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One clip of one speaking face. All arrays share the frame axis t.

    Raises:
        ValueError: when made with arrays whose shapes or types disagree; the message names the
            array.
    """

    key: str
    frames: UInt8[np.ndarray, "t 256 256 3"]  # RGB
    wave: Int16[np.ndarray, " n"]  # 16 kHz mono, n = 640 t
    speech: Float32[np.ndarray, "t 4 41"]  # a2h_models.features.speech.speech_features
    mel: Float16[np.ndarray, "m 80"]  # a2h_models.features.speech.log_mel, m = 4 t
    # rotation vector (rad), translation (mm-like) in the crop's camera; not normalised
    pose: Float32[np.ndarray, "t 6"]
    landmarks: Float16[np.ndarray, "t 468 3"]  # x, y in crop pixels; z in the same scale, relative to the head's centre
    # identity, source, spans, crop box, scores, licence, consent, hashes, versions
    meta: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        t = len(self.frames)
        expected: dict[str, tuple[tuple[int, ...], type]] = {
            "frames": ((t, SIZE, SIZE, 3), np.uint8),
            "wave": ((t * SAMPLES_PER_FRAME,), np.int16),
            "speech": ((t, HOPS_PER_FRAME, SPEECH_DIM), np.float32),
            "mel": ((t * HOPS_PER_FRAME, MEL_BANDS), np.float16),
            "pose": ((t, POSE_DIM), np.float32),
            "landmarks": ((t, LANDMARKS, 3), np.float16),
        }
        for name, (shape, dtype) in expected.items():
            array = getattr(self, name)
            if array.shape != shape or array.dtype != dtype:
                raise ValueError(
                    f"{self.key}: {name} must be {np.dtype(dtype)} of shape {shape}, not {array.dtype} of shape {array.shape}",
                )


class PairBatch(NamedTuple):
    """Pairs of frames of one clip each: what image_generator learns from."""

    keys: list[str]
    source: Float[Tensor, "b 3 h w"]  # RGB in [0, 1]
    driving: Float[Tensor, "b 3 h w"]
    # how far the face's landmarks are apart, 1 is the picture's side; only where it is measured
    motion: Float[Tensor, " b"] | None = None


class WindowBatch(NamedTuple):
    """Windows of WINDOW frames in a row: what head_pose and motion_field learn from."""

    keys: list[str]
    portrait: Float[Tensor, "b 3 h w"]  # the clip's reference frame, RGB in [0, 1]
    portrait_pose: Float[Tensor, "b 6"]  # not normalised
    speech: Float[Tensor, "b t 4 41"]
    pose: Float[Tensor, "b t 6"]  # not normalised
    # the true frames, or every n-th of them; t = 0 where the stage does not look at them
    frames: Float[Tensor, "b t 3 h w"]
    # a teacher's, from companion shards: x, y and the Jacobian row by row
    keypoints: Float[Tensor, "b t k 6"] | None = None
    # where the lips are: left, top, right, bottom in [-1, 1]; only where it is measured
    mouth: Float[Tensor, "b t 4"] | None = None

    def first(self) -> WindowBatch:
        """The first window alone."""
        return self._replace(**{name: part[:1] for name, part in self._asdict().items() if part is not None})


class SyncBatch(NamedTuple):
    """Windows of WINDOW frames in a row: what sync_expert learns from."""

    keys: list[str]
    mouths: Float[Tensor, "b t 3 s s"]  # cut out by a2h_models.metrics.sync_expert.cut_mouths, RGB in [0, 1]
    mel: Float16[Tensor, "b 4*t 80"]  # a2h_models.features.speech.log_mel
