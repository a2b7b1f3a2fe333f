"""Is the sound in time with the lips? The offset of a clip, and by how much its sound is shifted to
mend that.

A network decides where one is named, SyncNet or our own expert; else the mouth that is seen against
the mouth that the speech lets expect.
"""

from __future__ import annotations

from dataclasses import replace
from math import sqrt
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float32, Int16, UInt8

from a2h_models.metrics import av_sync
from a2h_models.timebase import FPS
from pipelines.config import FeaturesConfig
from pipelines.prepare.scores import Scores
from pipelines.prepare.sound import cut_wave
from pipelines.prepare.steps.state import ClipState, ClipStep, PrepareContext
from pipelines.prepare.steps.sync_network import SyncNetworkRef, ask

if TYPE_CHECKING:
    from a2h_models.metrics.lip_sync import LipSync
    from a2h_models.metrics.sync_expert import ExpertSync


class Offset(NamedTuple):
    """What was found; scores of the same names."""

    # by which the sound comes after the lips, by SyncNet where it was asked, else by matching
    # mouths; positive: it is late
    frames: int
    confidence: float  # of matching mouths
    lse_d: float | None = None  # of SyncNet; None: it was not asked
    lse_c: float | None = None
    expert_offset: int | None = None  # of our own expert; None: it was not asked, or the clip is too short for it
    expert_confidence: float | None = None
    # that, times the root of the clip's seconds: what chance gives does not depend on the length
    expert_certainty: float | None = None


def find_offset(
    frames: UInt8[np.ndarray, "t 256 256 3"],
    landmarks: Float32[np.ndarray, "t 468 3"],
    wave: Int16[np.ndarray, " n"],
    judge: SyncNetworkRef | None = None,
) -> Offset:
    """Measure a clip.

    Args:
        frames: the crop.
        landmarks: of the crop, without gaps.
        wave: 16 kHz mono, of the same frames.
        judge: who is asked beside the matching of mouths.

    Raises:
        CheckpointError: if its weights do not fit.
    """
    found = av_sync.match(av_sync.mouth_shape(landmarks), av_sync.expected_mouth(wave, len(landmarks)))
    matched = Offset(found.offset, found.confidence)
    return matched if judge is None else _with(matched, ask(judge, frames, landmarks, wave), seconds=len(frames) / FPS)


def _with(matched: Offset, said: LipSync | ExpertSync | None, *, seconds: float) -> Offset:
    """Add what a network said, if anything."""
    from a2h_models.metrics.sync_expert import ExpertSync

    if said is None:
        return matched
    if not isinstance(said, ExpertSync):
        return matched._replace(frames=said.offset, lse_d=said.distance, lse_c=said.confidence)
    certainty = said.confidence * sqrt(seconds)
    return matched._replace(expert_offset=said.offset, expert_confidence=said.confidence, expert_certainty=certainty)


def correction(found: Offset, config: FeaturesConfig) -> int:
    """By how many frames later the sound is to be taken: the offset, if it is sure, larger than its
    error, and not too large.

    A wrong correction spoils a good clip, and what is left uncorrected is still judged.
    """
    late = found.frames if found.expert_offset is None else found.expert_offset
    if found.expert_certainty is not None:
        sure, error = found.expert_certainty >= config.correct_from_expert, config.expert_error_frames
    elif found.lse_c is not None:
        sure, error = found.lse_c >= config.correct_from_lse_c, config.syncnet_error_frames
    else:
        sure, error = found.confidence >= config.correct_from_confidence, config.mouth_error_frames
    return late if sure and error < abs(late) <= config.correct_to_frames else 0


def with_sync_scores(scores: Scores, found: Offset, late: int) -> Scores:
    """Add the offset that was found, and what of it was corrected."""
    return replace(
        scores,
        sync_offset=float(found.frames),
        sync_confidence=found.confidence,
        sync_corrected=float(late),
        lse_d=found.lse_d,
        lse_c=found.lse_c,
        expert_offset=None if found.expert_offset is None else float(found.expert_offset),
        expert_confidence=found.expert_confidence,
        expert_certainty=found.expert_certainty,
    )


class AlignSound(ClipStep):
    """Measure the offset of sound and lips, and correct it."""

    name = "align_sound"
    label = "measure the offset of sound and lips, and correct it"
    settings = (
        "features.syncnet",
        "features.sync_expert",
        "features.correct_from_confidence",
        "features.correct_from_expert",
        "features.correct_from_lse_c",
        "features.correct_to_frames",
        "features.mouth_error_frames",
        "features.syncnet_error_frames",
        "features.expert_error_frames",
    )
    takes = ("frames", "landmarks")
    gives = ("wave",)

    @staticmethod
    def run(state: ClipState, context: PrepareContext) -> None:
        """Run the step."""
        state.wave = cut_wave(state.source.wave, state.clip.span)
        if not state.has_face:
            return
        state.offset = find_offset(state.frames, state.landmarks, state.wave, context.sync_network)
        late = correction(state.offset, context.config.features)
        state.wave = cut_wave(state.source.wave, state.clip.span, late)
        state.scores = with_sync_scores(state.scores, state.offset, late)
