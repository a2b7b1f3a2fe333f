"""The scores of a clip. Each stands here once: name, meaning, unit, and the limit it must keep.

The ledger's columns, the table of limits, the report's charts and the documentation read this list.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any

from pipelines.config import FiltersConfig
from pipelines.prepare.reasons import Reason

DIGITS = 4  # of scores in ledgers and samples


@dataclass(frozen=True, kw_only=True)
class Score:
    """What is known of a score beside its value."""

    name: str
    step: str  # that measures it
    title: str  # of its chart
    unit: str  # of its chart's axis
    at_least: str = ""  # key of prepare.filters; a lower score drops the clip
    at_most: str = ""  # key of prepare.filters; a higher score drops the clip
    reason: Reason | None = None  # for which it is dropped
    condition: str = ""  # key of prepare.filters from which on another score's limit applies
    both_sides: bool = False  # the limit holds for the absolute value


def _score(step: str, title: str, unit: str, **more: Any) -> Any:
    return field(default=None, metadata={"step": step, "title": title, "unit": unit, **more})


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Everything measured of a clip, in the order of the ledger's columns; None: not measured."""

    # median height of the face box, pixels of the source video
    face_px: float | None = _score(
        "find_clips", "height of the face", "pixels", at_least="min_face_px", reason=Reason.FACE_TOO_SMALL
    )
    # seen beside each other at some time of the clip, this one included
    faces: float | None = _score(
        "find_clips", "faces", "seen beside each other", at_most="max_faces", reason=Reason.SEVERAL_FACES
    )
    # match of this mouth with the speech, as sync_confidence; measured beside other faces only
    speaker_confidence: float | None = _score(
        "choose_speaker", "this mouth speaks", "correlation × √seconds", condition="min_speaker_confidence"
    )
    # by which that match is better than the best other face's
    speaker_lead: float | None = _score(
        "choose_speaker", "lead over other mouths", "correlation × √seconds", condition="min_speaker_lead"
    )
    # of frames in which the mesh found the face, 0 to 1
    face_share: float | None = _score(
        "solve_pose", "frames with a face", "share, 0 to 1", at_least="min_face_share", reason=Reason.FACE_LOST
    )
    # of landmarks that are inside the crop, mean over the frames, 0 to 1
    inside_share: float | None = _score(
        "score", "landmarks in the crop", "share, 0 to 1", at_least="min_inside_share", reason=Reason.FACE_LOST
    )
    # of frames, one looked at a second, in which a hand stands before the face, 0 to 1
    covered_share: float | None = _score(
        "score", "frames with a covered face", "share, 0 to 1", at_most="max_covered_share", reason=Reason.COVERED
    )
    # mean level, dB of full scale
    speech_db: float | None = _score(
        "score", "level of the speech", "dB", at_least="min_speech_db", reason=Reason.SILENT
    )
    # of stretches of 20 ms in which somebody is heard to speak, 0 to 1
    voice_share: float | None = _score(
        "score", "voice activity", "share, 0 to 1", at_least="min_voice_share", reason=Reason.NO_SPEECH
    )
    # of the feature rows: where F0 was found, 0 to 1; of accepted clips only
    voiced_share: float | None = _score("speech_features", "voiced speech", "share, 0 to 1")
    # frames by which the sound came after the lips in the video; positive: it is late
    sync_offset: float | None = _score(
        "align_sound",
        "sync offset",
        "frames by which the sound is late",
        at_most="max_sync_frames",
        reason=Reason.OUT_OF_SYNC,
        both_sides=True,
    )
    # correlation of seen and expected mouth at the best offset, times the root of the clip's
    # seconds
    sync_confidence: float | None = _score(
        "align_sound", "sync confidence", "correlation × √seconds", condition="min_sync_confidence"
    )
    # frames by which the clip's sound was taken later than the video's, to mend that
    sync_corrected: float | None = _score("align_sound", "sync corrected", "frames")
    # SyncNet's distance at sync_offset; less is better. Measured where its weights are given
    lse_d: float | None = _score("align_sound", "LSE-D", "SyncNet's distance; less is better")
    # SyncNet's confidence; more is better
    lse_c: float | None = _score("align_sound", "LSE-C", "SyncNet's confidence", condition="min_lse_c")
    # as sync_offset, by our own sync expert, which then decides. Measured where one is named
    expert_offset: float | None = _score(
        "align_sound",
        "sync offset by our expert",
        "frames by which the sound is late",
        at_most="max_sync_frames",
        reason=Reason.OUT_OF_SYNC,
        both_sides=True,
    )
    # likeness of lips and speech there, less that at other offsets; compare no two experts
    expert_confidence: float | None = _score(
        "align_sound", "our expert's confidence", "likeness above that at other offsets"
    )
    # expert_confidence times the root of the clip's seconds: what decides whether it is believed
    expert_certainty: float | None = _score(
        "align_sound", "our expert's certainty", "confidence × √seconds", condition="min_expert_certainty"
    )
    # 10th to 90th percentile of the lips' opening / height of the face
    mouth_range: float | None = _score(
        "score", "mouth opening", "share of the face's height", at_least="min_mouth_range", reason=Reason.NO_SPEECH
    )
    # 95th percentile of the absolute angle, degrees
    yaw_deg: float | None = _score("score", "yaw", "degrees", at_most="max_yaw_deg", reason=Reason.EXTREME_POSE)
    # as yaw_deg
    pitch_deg: float | None = _score("score", "pitch", "degrees", at_most="max_pitch_deg", reason=Reason.EXTREME_POSE)
    # as yaw_deg
    roll_deg: float | None = _score("score", "roll", "degrees", at_most="max_roll_deg", reason=Reason.EXTREME_POSE)
    # standard deviation of the rotation over the clip, degrees
    motion_deg: float | None = _score("score", "head motion", "degrees")
    # variance of the Laplacian of the grey crop (0..255), median over the frames
    sharpness: float | None = _score(
        "score", "sharpness", "variance of the Laplacian", at_least="min_sharpness", reason=Reason.BLURRED
    )
    # mean of the crop, 0..255
    brightness: float | None = _score(
        "score", "brightness", "mean, 0 to 255", at_least="min_brightness", reason=Reason.TOO_DARK
    )
    # median second difference of the landmarks over time, crop pixels
    jitter_px: float | None = _score(
        "score", "jitter of the landmarks", "pixels", at_most="max_jitter_px", reason=Reason.UNSTEADY
    )


SCORES = tuple(entry.name for entry in fields(Scores))


SCORE_LIST = tuple(Score(name=entry.name, **entry.metadata) for entry in fields(Scores))
SCORES = tuple(score.name for score in SCORE_LIST)


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


_ORDER = list(Reason)
# in the order of the reasons
LIMITS = tuple(
    sorted(
        (
            Limit(score.reason, score.name, score.at_least or score.at_most, below=bool(score.at_least))
            for score in SCORE_LIST
            if score.reason
        ),
        key=lambda limit: _ORDER.index(limit.reason),
    )
)


def rounded(scores: Scores) -> Scores:
    """Scores as ledgers and samples hold them."""
    return Scores(**{name: None if value is None else round(value, DIGITS) for name, value in asdict(scores).items()})
