"""The judgement: scores and thresholds in, a reason or none out.

Nothing is dropped without one of these reasons.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

from pipelines.config import FiltersConfig
from pipelines.prepare.reasons import Reason


@dataclass(frozen=True, kw_only=True)
class Scores:
    """All that was measured of a clip; None is what could not be.

    Columns of the ledger, in this order.
    """

    face_px: float | None = None  # median height of the face box, pixels of the source video
    faces: float | None = None  # seen beside each other at some time of the clip, this one included
    # match of this mouth with the speech, as sync_confidence; measured beside other faces only
    speaker_confidence: float | None = None
    speaker_lead: float | None = None  # by which that match is better than the best other face's
    face_share: float | None = None  # of frames in which the mesh found the face, 0 to 1
    inside_share: float | None = None  # of landmarks that are inside the crop, mean over the frames, 0 to 1
    # of frames, one looked at a second, in which a hand stands before the face, 0 to 1
    covered_share: float | None = None
    speech_db: float | None = None  # mean level, dB of full scale
    voice_share: float | None = None  # of stretches of 20 ms in which somebody is heard to speak, 0 to 1
    voiced_share: float | None = None  # of the feature rows: where F0 was found, 0 to 1; of accepted clips only
    sync_offset: float | None = None  # frames by which the sound came after the lips in the video; positive: it is late
    # correlation of seen and expected mouth at the best offset, times the root of the clip's
    # seconds
    sync_confidence: float | None = None
    # frames by which the clip's sound was taken later than the video's, to mend that
    sync_corrected: float | None = None
    # SyncNet's distance at sync_offset; less is better. Measured where its weights are given
    lse_d: float | None = None
    lse_c: float | None = None  # SyncNet's confidence; more is better
    # as sync_offset, by our own sync expert, which then decides. Measured where one is named
    expert_offset: float | None = None
    # likeness of lips and speech there, less that at other offsets; compare no two experts
    expert_confidence: float | None = None
    # expert_confidence times the root of the clip's seconds: what decides whether it is believed
    expert_certainty: float | None = None
    mouth_range: float | None = None  # 10th to 90th percentile of the lips' opening / height of the face
    yaw_deg: float | None = None  # 95th percentile of the absolute angle, degrees
    pitch_deg: float | None = None  # as yaw_deg
    roll_deg: float | None = None  # as yaw_deg
    motion_deg: float | None = None  # standard deviation of the rotation over the clip, degrees
    sharpness: float | None = None  # variance of the Laplacian of the grey crop (0..255), median over the frames
    brightness: float | None = None  # mean of the crop, 0..255
    jitter_px: float | None = None  # median second difference of the landmarks over time, crop pixels


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
    Limit(Reason.NO_SPEECH, "voice_share", "min_voice_share", below=True),
    Limit(Reason.NO_SPEECH, "mouth_range", "min_mouth_range", below=True),
    Limit(Reason.OUT_OF_SYNC, "sync_offset", "max_sync_frames", below=False),
    Limit(Reason.OUT_OF_SYNC, "expert_offset", "max_sync_frames", below=False),
    Limit(Reason.EXTREME_POSE, "yaw_deg", "max_yaw_deg", below=False),
    Limit(Reason.EXTREME_POSE, "pitch_deg", "max_pitch_deg", below=False),
    Limit(Reason.EXTREME_POSE, "roll_deg", "max_roll_deg", below=False),
    Limit(Reason.BLURRED, "sharpness", "min_sharpness", below=True),
    Limit(Reason.TOO_DARK, "brightness", "min_brightness", below=True),
    Limit(Reason.UNSTEADY, "jitter_px", "max_jitter_px", below=False),
    Limit(Reason.COVERED, "covered_share", "max_covered_share", below=False),
)


def _is_the_speaker(scores: Scores, config: FiltersConfig) -> bool:
    """Beside other faces: this mouth moves with the speech, and clearly more so than theirs."""
    confidence, lead = scores.speaker_confidence, scores.speaker_lead
    return (
        confidence is not None
        and lead is not None
        and confidence >= config.min_speaker_confidence
        and lead >= config.min_speaker_lead
    )


def _in_sync(scores: Scores, config: FiltersConfig) -> bool:
    """What is left of the offset is small, or the offset is not believed.

    A network that was asked has the last word.
    """
    if scores.expert_offset is not None:
        late, believed = scores.expert_offset, (scores.expert_certainty or 0) >= config.min_expert_certainty
    elif scores.sync_offset is None:
        return True
    else:
        mouths, lips = (
            (scores.sync_confidence or 0) >= config.min_sync_confidence,
            (scores.lse_c or 0) >= config.min_lse_c,
        )
        late, believed = scores.sync_offset, mouths if scores.lse_c is None else lips
    return not believed or abs(late - (scores.sync_corrected or 0)) <= config.max_sync_frames


# limits that are not plain comparisons of one score: what is asked instead
_EXCEPTIONS: dict[Reason, Callable[[Scores, FiltersConfig], bool]] = {
    Reason.SEVERAL_FACES: lambda scores, config: (
        not (scores.faces or 0) > config.max_faces or _is_the_speaker(scores, config)
    ),
    Reason.OUT_OF_SYNC: _in_sync,
}


def judge(scores: Scores, config: FiltersConfig) -> Reason | None:
    """The first reason to drop a clip with these scores; None accepts it.

    What was not measured breaks no limit.
    """
    for limit in LIMITS:
        passes = _EXCEPTIONS.get(limit.reason)
        if (not passes(scores, config)) if passes else limit.breaks(scores, config):
            return limit.reason
    return None
