"""A clip of the dataset, decoded for measuring."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int16, UInt8

from a2h_models.metrics.video import VideoFeatures
from a2h_models.timebase import SAMPLES_PER_FRAME
from pipelines.dataset import shard_format
from pipelines.evaluation.sets import EvaluationClip, read_members
from pipelines.evaluation.videos import detect_face


class DecodedClip(NamedTuple):
    """The true video of a clip, and what a system is given to generate it."""

    key: str
    truth: VideoFeatures  # at the networks' size
    wave: Int16[np.ndarray, " n"]
    speech: Float[np.ndarray, "t 4 41"]
    portrait: UInt8[np.ndarray, "256 256 3"]  # frame 0


def decode_clip(clip: EvaluationClip, *, size: int) -> DecodedClip:
    """Read and decode the members of a clip.

    Args:
        clip: which.
        size: pixels a side of the true video.

    Raises:
        DatasetError: if the clip is damaged, or is not what was frozen.
    """
    from pipelines import media

    members = read_members(clip)
    frames = media.decode_crop(members["mp4"], indices=range(clip.frames), size=size)
    pose = shard_format.decode_npy(members["pose.npy"], key=clip.key)[: clip.frames]
    return DecodedClip(
        key=clip.key,
        truth=VideoFeatures(frames=frames, face=detect_face(frames), pose=pose),
        wave=shard_format.decode_flac(members["flac"], key=clip.key)[: clip.frames * SAMPLES_PER_FRAME],
        speech=shard_format.decode_npy(members["speech.npy"], key=clip.key)[: clip.frames],
        portrait=media.decode_crop(members["mp4"], indices=[0])[0],
    )
