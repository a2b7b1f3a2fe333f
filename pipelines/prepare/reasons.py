"""Why a video or a clip is not in a dataset. Nothing is dropped without one of these reasons."""

from __future__ import annotations

from enum import StrEnum


class Status(StrEnum):
    ACCEPTED = "accepted"
    REJECTED = "rejected"  # understood, and not wanted
    FAILED = "failed"  # could not be read or decoded


class Reason(StrEnum):
    """Why a video or a clip is not in the dataset.

    In the order of judgement: the first that applies is given.
    """

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
    TOO_LARGE = "too_large"  # more pixels than a worker has memory for
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
    COVERED = "covered"


FAILURES = frozenset(
    {
        *(Reason.UNREADABLE, Reason.TRUNCATED, Reason.DECODER_CRASHED, Reason.TIMED_OUT),
        *(Reason.OUT_OF_MEMORY, Reason.CHANGED, Reason.INTERNAL_ERROR),
    }
)


def status_of(reason: str | None) -> Status:
    """Return the status that a reason stands for; None is accepted."""
    if reason is None:
        return Status.ACCEPTED
    return Status.FAILED if reason in FAILURES else Status.REJECTED
