"""The judgement: scores and thresholds in, a reason or none out. Nothing is dropped without one of these reasons."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from enum import StrEnum

from pipelines.config import FiltersConfig


class Status(StrEnum):
    ACCEPTED = "accepted"
    REJECTED = "rejected"  # understood, and not wanted
    FAILED = "failed"  # could not be looked at


class Reason(StrEnum):
    """Why a video or a clip is not in the dataset. In the order of judgement: the first that applies is given."""

    # the file
    DUPLICATE = "duplicate"
    UNREADABLE = "unreadable"
    TRUNCATED = "truncated"
    DECODER_CRASHED = "decoder_crashed"
    TIMED_OUT = "timed_out"
    OUT_OF_MEMORY = "out_of_memory"
    CHANGED = "changed"  # since the plan was made
    INTERNAL_ERROR = "internal_error"  # ours: the message says which
    # the video
    NO_CONSENT = "no_consent"
    NO_AUDIO = "no_audio"
    TOO_LONG = "too_long"
    LOW_FRAME_RATE = "low_frame_rate"
    SILENT = "silent"
    NO_FACE = "no_face"
    # the clip
    TOO_SHORT = "too_short"
    FACE_TOO_SMALL = "face_too_small"
    SEVERAL_FACES = "several_faces"
    FACE_LOST = "face_lost"
    NO_SPEECH = "no_speech"
    OUT_OF_SYNC = "out_of_sync"
    EXTREME_POSE = "extreme_pose"
    BLURRED = "blurred"
    TOO_DARK = "too_dark"
    UNSTEADY = "unsteady"


FAILURES = frozenset(
    {
        *(Reason.UNREADABLE, Reason.TRUNCATED, Reason.DECODER_CRASHED, Reason.TIMED_OUT),
        *(Reason.OUT_OF_MEMORY, Reason.CHANGED, Reason.INTERNAL_ERROR),
    }
)


def status_of(reason: Reason | None) -> Status:
    if reason is None:
        return Status.ACCEPTED
    return Status.FAILED if reason in FAILURES else Status.REJECTED


@dataclass(frozen=True, kw_only=True)
class Scores:
    """All that was measured of a clip; None is what could not be. Columns of the ledger, in this order."""

    face_px: float | None = None  # median height of the face box, pixels of the source video
    faces: float | None = None  # seen beside each other at some time of the clip, this one included
    speaker_confidence: float | None = None  # match of this mouth with the speech; measured beside other faces only
    speaker_lead: float | None = None  # by which that match is better than the best other face's
    face_share: float | None = None  # of frames in which the mesh found the face
    inside_share: float | None = None  # of landmarks that are inside the crop, mean over the frames
    speech_db: float | None = None  # mean level, full scale = 0
    voiced_share: float | None = None  # of the feature rows
    sync_offset: float | None = None  # frames by which the speech comes after the mouth; positive: the sound is late
    sync_confidence: float | None = None  # correlation at that offset, times the root of the clip's seconds
    mouth_range: float | None = None  # 10th to 90th percentile of the lips' opening / height of the face
    yaw_deg: float | None = None  # 95th percentile of the absolute angle
    pitch_deg: float | None = None
    roll_deg: float | None = None
    motion_deg: float | None = None  # standard deviation of the rotation over the clip
    sharpness: float | None = None  # variance of the Laplacian of the crop
    brightness: float | None = None  # mean of the crop, 0..255
    jitter_px: float | None = None  # median second difference of the landmarks over time


SCORES = tuple(entry.name for entry in fields(Scores))


@dataclass(frozen=True)
class Limit:
    """A score that must be at least (`below`) or at most (not `below`) a value of the config."""

    reason: Reason
    score: str
    setting: str
    below: bool  # True: what lies below the setting is dropped; False: what lies above it

    def breaks(self, scores: Scores, config: FiltersConfig) -> bool:
        """Whether the score was measured and is on the wrong side."""
        value, bound = getattr(scores, self.score), float(getattr(config, self.setting))
        return value is not None and (value < bound if self.below else value > bound)


LIMITS = (
    Limit(Reason.SILENT, "speech_db", "min_speech_db", below=True),
    Limit(Reason.FACE_TOO_SMALL, "face_px", "min_face_px", below=True),
    Limit(Reason.SEVERAL_FACES, "faces", "max_faces", below=False),
    Limit(Reason.FACE_LOST, "face_share", "min_face_share", below=True),
    Limit(Reason.FACE_LOST, "inside_share", "min_inside_share", below=True),
    Limit(Reason.NO_SPEECH, "voiced_share", "min_voiced_share", below=True),
    Limit(Reason.NO_SPEECH, "mouth_range", "min_mouth_range", below=True),
    Limit(Reason.OUT_OF_SYNC, "sync_offset", "max_sync_frames", below=False),
    Limit(Reason.EXTREME_POSE, "yaw_deg", "max_yaw_deg", below=False),
    Limit(Reason.EXTREME_POSE, "pitch_deg", "max_pitch_deg", below=False),
    Limit(Reason.BLURRED, "sharpness", "min_sharpness", below=True),
    Limit(Reason.TOO_DARK, "brightness", "min_brightness", below=True),
    Limit(Reason.UNSTEADY, "jitter_px", "max_jitter_px", below=False),
)


def _is_the_speaker(scores: Scores, config: FiltersConfig) -> bool:
    """Beside other faces: this mouth moves with the speech, and clearly more so than theirs."""
    confidence, lead = scores.speaker_confidence, scores.speaker_lead
    return confidence is not None and lead is not None and confidence >= config.min_speaker_confidence and lead >= config.min_speaker_lead


def _in_sync(scores: Scores, config: FiltersConfig) -> bool:
    """The offset is small, or not believed."""
    offset, confidence = scores.sync_offset, scores.sync_confidence
    return offset is None or confidence is None or confidence < config.min_sync_confidence or abs(offset) <= config.max_sync_frames


# limits that are not plain comparisons of one score: what is asked instead
_EXCEPTIONS: dict[Reason, Callable[[Scores, FiltersConfig], bool]] = {
    Reason.SEVERAL_FACES: lambda scores, config: not (scores.faces or 0) > config.max_faces or _is_the_speaker(scores, config),
    Reason.OUT_OF_SYNC: _in_sync,
}


def judge(scores: Scores, config: FiltersConfig) -> Reason | None:
    """The first reason to drop a clip with these scores; None accepts it. What was not measured breaks no limit."""
    for limit in LIMITS:
        passes = _EXCEPTIONS.get(limit.reason)
        if (not passes(scores, config)) if passes else limit.breaks(scores, config):
            return limit.reason
    return None
