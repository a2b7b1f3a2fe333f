"""Is the sound in time with the lips? The offset of a clip, and by how much its sound is shifted to mend that.

SyncNet decides where its weights are given; else the mouth that is seen against the mouth that the speech lets expect.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int16, UInt8

from a2h_models.metrics import sync
from pipelines.config import FeaturesConfig


class Offset(NamedTuple):
    """What was found; scores of the same names."""

    frames: int  # by which the sound comes after the lips; positive: it is late
    confidence: float  # of matching mouths
    lse_d: float | None  # of SyncNet; None: it was not asked
    lse_c: float | None


def find_offset(
    frames: UInt8[np.ndarray, "t 256 256 3"], landmarks: Float32[np.ndarray, "t 468 3"], wave: Int16[np.ndarray, " n"], syncnet: str
) -> Offset:
    """Measure a clip.

    Args:
        frames: the crop.
        landmarks: of the crop, without gaps.
        wave: 16 kHz mono, of the same frames.
        syncnet: path of `syncnet_v2.model`; empty: match mouths only.

    Raises:
        CheckpointError: if the weights do not fit.
    """
    found = sync.match(sync.mouth_shape(landmarks), sync.expected_mouth(wave, len(landmarks)))
    if not syncnet:
        return Offset(found.offset, found.confidence, None, None)
    from a2h_models.metrics.lip_sync import lip_sync, load_syncnet, sync_faces  # torch: 300 MB that most preparations do without

    said = lip_sync(load_syncnet(syncnet), sync_faces(frames, landmarks), wave)
    if said is None:
        return Offset(found.offset, found.confidence, None, None)
    return Offset(said.offset, found.confidence, said.distance, said.confidence)


def correction(found: Offset, config: FeaturesConfig) -> int:
    """By how many frames later the sound is to be taken: the offset, if it is sure, larger than its error, and not too large.

    A wrong correction spoils a good clip, and what is left uncorrected is still judged.
    """
    if found.lse_c is None:
        sure, error = found.confidence >= config.correct_from_confidence, config.mouth_error_frames
    else:
        sure, error = found.lse_c >= config.correct_from_lse_c, config.syncnet_error_frames
    return found.frames if sure and error < abs(found.frames) <= config.correct_to_frames else 0
