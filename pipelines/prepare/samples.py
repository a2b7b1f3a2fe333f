"""A clip → its sample: crop, landmarks, pose, speech features, and every score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Float64, Int16, UInt8

from a2h_models.sample import SIZE, Sample
from a2h_models.speech import log_mel, speech_features
from a2h_models.timebase import SAMPLES_PER_FRAME, Span
from pipelines import media
from pipelines.config import ClipsConfig, FeaturesConfig
from pipelines.prepare.clips import Clip
from pipelines.prepare.faces import cut_square, mesh, solve_pose
from pipelines.prepare.filters import Scores

UPPER_LIP, LOWER_LIP = 13, 14  # inner edges; numbers of the face mesh
FOREHEAD, CHIN = 10, 152
VOICED = -1  # column of the speech features
PEAK = 32768.0  # of 16-bit sound
FLOOR_DB = -100.0  # digital silence
MAX_SHIFT = 15  # frames; offsets are searched in ± so many, as SyncNet does
SPEECH_RANGE_DB = 40.0  # below the clip's loudest frames; what is quieter counts as silence when mouths are matched
LOUDEST = 95  # percentile
TREND_FRAMES = 25  # slower changes of the mouth and of the speech are not looked at when they are matched
EXTREME = 95  # percentile of the absolute angles
DIGITS = 4  # of scores in ledgers and samples


class Match(NamedTuple):
    """How a mouth goes with a speech."""

    offset: float  # frames; positive: the sound is late
    confidence: float  # correlation at that offset, -1 to 1


class Speaker(NamedTuple):
    """Whether a face is the one who speaks, where there are several."""

    confidence: float  # of its mouth's match
    lead: float  # over the best other mouth's


class Features(NamedTuple):
    """All that is computed of a clip before it is judged. The mesh may have found no face at all: then there is no pose."""

    frames: UInt8[np.ndarray, "t 256 256 3"]
    wave: Int16[np.ndarray, " t*640"]
    speech: Float32[np.ndarray, "t 4 41"]
    landmarks: Float32[np.ndarray, "t 468 3"]
    pose: Float32[np.ndarray, "t 6"]
    scores: Scores


# ---------------------------------------------------------------------------------------------------------------- crop
def crop_frames(video: media.Video, clip: Clip) -> UInt8[np.ndarray, "t 256 256 3"]:
    """The frames of a clip, cut out and resized."""
    crops = np.empty((len(clip.span), SIZE, SIZE, 3), np.uint8)
    index = 0
    for chunk in video.read(clip.span):
        for frame in chunk:
            crops[index] = cut_square(frame, clip.square)
            index += 1
    return crops


def cut_wave(wave: Int16[np.ndarray, " n"], span: Span) -> Int16[np.ndarray, " t*640"]:
    """The sound of a span; silence where the video's sound ends before its picture."""
    start, stop = span.start * SAMPLES_PER_FRAME, span.stop * SAMPLES_PER_FRAME
    piece = wave[start:stop]
    return np.pad(piece, (0, stop - start - len(piece)))


# ---------------------------------------------------------------------------------------------------------------- features
def to_features(video: media.Video, clip: Clip, wave: Int16[np.ndarray, " n"], speaker: Speaker | None, config: FeaturesConfig) -> Features:
    """Compute all features and scores of a clip.

    Args:
        video: open, for the clip's frames.
        clip: the candidate.
        wave: sound of the whole video.
        speaker: where there are other faces.
        config: prepare/features.
    """
    frames, piece = crop_frames(video, clip), cut_wave(wave, clip.span)
    speech = speech_features(piece, frames=len(frames), f0=config.f0)
    found = mesh(frames)
    landmarks = fill_gaps(found.landmarks, found.found)
    pose = smooth(solve_pose(landmarks), config.pose_smoothing_frames) if found.found.any() else np.zeros((len(frames), 6), np.float32)
    scores = Scores(
        face_px=clip.face_px,
        faces=float(clip.faces),
        speaker_confidence=speaker.confidence if speaker else None,
        speaker_lead=speaker.lead if speaker else None,
        face_share=float(found.found.mean()),
        speech_db=level_db(piece),
        voiced_share=float(speech[..., VOICED].mean()),
        sharpness=sharpness(frames),
        brightness=float(frames.mean()),
    )
    if found.found.any():
        scores = with_motion_scores(scores, landmarks, pose, piece)
    return Features(frames, piece, speech, landmarks, pose, rounded(scores))


def to_sample(clip: Clip, features: Features, meta: dict[str, object]) -> Sample:
    """The sample of an accepted clip."""
    return Sample(
        key=clip.key,
        frames=features.frames,
        wave=features.wave,
        speech=features.speech,
        mel=log_mel(features.wave, frames=len(features.frames)),
        pose=features.pose,
        landmarks=features.landmarks.astype(np.float16),
        meta=meta,
    )


def fill_gaps(landmarks: Float32[np.ndarray, "t n 3"], found: np.ndarray) -> Float32[np.ndarray, "t n 3"]:
    """Interpolate linearly over the frames in which the mesh lost the face; hold at the ends."""
    known = np.flatnonzero(found)
    if len(known) in {0, len(found)}:
        return landmarks
    after = np.searchsorted(known, np.arange(len(found))).clip(0, len(known) - 1)
    left, right = known[(after - 1).clip(0)], known[after]
    left = np.where(np.arange(len(found)) >= right, right, left)  # at and past the last known frame
    width = np.maximum(right - left, 1)
    weight = ((np.arange(len(found)) - left) / width).clip(0, 1).astype(np.float32)[:, None, None]
    return (landmarks[left] * (1 - weight) + landmarks[right] * weight).astype(np.float32)


def smooth(pose: Float32[np.ndarray, "t 6"], sigma: float) -> Float32[np.ndarray, "t 6"]:
    """A Gaussian over time, against the 0.3–0.4° of jitter of landmarks found frame by frame."""
    from scipy.ndimage import gaussian_filter1d

    return np.asarray(gaussian_filter1d(pose, sigma, axis=0, mode="nearest"), np.float32) if sigma > 0 else pose


# ---------------------------------------------------------------------------------------------------------------- mouth and speech
def mouth_opening(landmarks: Float32[np.ndarray, "t n 3"]) -> Float64[np.ndarray, " t"]:
    """Distance of the inner lips / height of the face: free of the head's distance, and nearly of its turning."""
    opening = np.linalg.norm(landmarks[:, LOWER_LIP, :2] - landmarks[:, UPPER_LIP, :2], axis=1)
    height = np.linalg.norm(landmarks[:, CHIN, :2] - landmarks[:, FOREHEAD, :2], axis=1)
    return np.asarray(opening / np.maximum(height, 1.0), np.float64)


def loudness(wave: Int16[np.ndarray, " t*640"]) -> Float64[np.ndarray, " t"]:
    """Level of each frame's sound in dB, held at `SPEECH_RANGE_DB` below the loud ones."""
    blocks = wave.astype(np.float64).reshape(-1, SAMPLES_PER_FRAME) / PEAK
    level = 20 * np.log10(np.maximum(np.sqrt(np.square(blocks).mean(axis=1)), 10 ** (FLOOR_DB / 20)))
    return np.asarray(np.maximum(level, np.percentile(level, LOUDEST) - SPEECH_RANGE_DB))


def match(opening: Float64[np.ndarray, " t"], level: Float64[np.ndarray, " t"], max_shift: int = MAX_SHIFT) -> Match:
    """The shift within ± max_shift frames at which mouth opening and loudness go together best, and their correlation there."""
    mouth, sound = without_trend(opening), without_trend(level)
    best = Match(0.0, 0.0)
    for shift in range(-max_shift, max_shift + 1):
        a = mouth[max(0, -shift) : len(mouth) - max(0, shift)]
        b = sound[max(0, shift) : len(sound) - max(0, -shift)]
        spread = a.std() * b.std()
        likeness = float(((a - a.mean()) * (b - b.mean())).mean() / spread) if spread > 0 else 0.0
        if likeness > best.confidence:
            best = Match(float(shift), likeness)
    return best


def without_trend(signal: Float64[np.ndarray, " t"]) -> Float64[np.ndarray, " t"]:
    """What is left of a signal when its slow part is taken away."""
    from scipy.ndimage import gaussian_filter1d

    return np.asarray(signal - gaussian_filter1d(signal, TREND_FRAMES, mode="nearest"))


def mouth_match(video: media.Video, clip: Clip, wave: Int16[np.ndarray, " n"]) -> Match:
    """How the mouth of a clip goes with the sound, from its own crop."""
    found = mesh(crop_frames(video, clip))
    if not found.found.any():
        return Match(0.0, 0.0)
    return match(mouth_opening(fill_gaps(found.landmarks, found.found)), loudness(cut_wave(wave, clip.span)))


def speakers(video: media.Video, clips: Sequence[Clip], wave: Int16[np.ndarray, " n"], config: ClipsConfig) -> dict[str, Speaker]:
    """For clips with several faces, by key: how well this mouth goes with the speech, and how much better than the others."""
    crowded = [clip for clip in clips if clip.faces > 1 and len(clip.span) >= config.min_frames]
    matches = {clip.key: mouth_match(video, clip, wave).confidence for clip in crowded}
    leads = {}
    for clip in crowded:
        rivals = [matches[other.key] for other in crowded if other is not clip and _meet(clip.span, other.span)]
        leads[clip.key] = Speaker(matches[clip.key], matches[clip.key] - max(rivals, default=0.0))
    return leads


def _meet(a: Span, b: Span) -> bool:
    return a.start < b.stop and b.start < a.stop


# ---------------------------------------------------------------------------------------------------------------- scores
def with_motion_scores(
    scores: Scores, landmarks: Float32[np.ndarray, "t n 3"], pose: Float32[np.ndarray, "t 6"], wave: Int16[np.ndarray, " n"]
) -> Scores:
    """Add what needs landmarks and pose."""
    offset, confidence = match(mouth_opening(landmarks), loudness(wave))
    pitch, yaw, roll = np.percentile(np.abs(angles(pose)), EXTREME, axis=0)
    flat = landmarks[..., :2]
    inside = ((flat >= 0) & (flat < SIZE)).all(axis=(1, 2))
    return replace(
        scores,
        sync_offset=offset,
        sync_confidence=confidence,
        yaw_deg=float(yaw),
        pitch_deg=float(pitch),
        roll_deg=float(roll),
        motion_deg=float(np.degrees(np.linalg.norm(pose[:, :3].std(axis=0)))),
        inside_share=float(inside.mean()),
        jitter_px=jitter(flat),
    )


def angles(pose: Float32[np.ndarray, "t 6"]) -> Float64[np.ndarray, "t 3"]:
    """Pitch, yaw and roll in degrees, from rotation vectors."""
    from scipy.spatial.transform import Rotation

    return np.asarray(Rotation.from_rotvec(pose[:, :3]).as_euler("xyz", degrees=True))


def level_db(wave: Int16[np.ndarray, " n"]) -> float:
    """Mean level, full scale = 0."""
    rms = float(np.sqrt(np.square(wave.astype(np.float64) / PEAK).mean()))
    return max(FLOOR_DB, 20 * float(np.log10(rms))) if rms > 0 else FLOOR_DB


def sharpness(frames: UInt8[np.ndarray, "t h w 3"]) -> float:
    """Variance of the Laplacian of the grey crop, median over the frames."""
    import cv2

    return float(np.median([cv2.Laplacian(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), cv2.CV_64F).var() for frame in frames]))


def jitter(points: Float32[np.ndarray, "t n 2"]) -> float:
    """Median second difference of the landmarks over time, pixels: shaking that no head does."""
    return float(np.median(np.linalg.norm(np.diff(points, n=2, axis=0), axis=2)))


def rounded(scores: Scores) -> Scores:
    """Scores as ledgers and samples hold them."""
    return Scores(**{name: None if value is None else round(value, DIGITS) for name, value in asdict(scores).items()})
