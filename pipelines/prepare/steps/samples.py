"""A clip → its sample: crop, landmarks, pose, speech features, and every score."""

from __future__ import annotations

import functools
import math
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float32, Float64, Int16, UInt8

from a2h_models.data_types import SIZE, Sample
from a2h_models.features.speech import log_mel
from a2h_models.metrics.av_sync import mouth_opening
from a2h_models.timebase import SAMPLE_RATE, SAMPLES_PER_FRAME, Span
from pipelines import media
from pipelines.config import FeaturesConfig
from pipelines.face.face_mesh import Square, cut_square, hands_before, mesh, solve_pose
from pipelines.face.smoothing import fill_gaps, smooth_pose
from pipelines.prepare.steps.av_sync import Offset, correction, find_offset
from pipelines.prepare.steps.clips import Clip
from pipelines.prepare.steps.filters import Scores
from pipelines.prepare.steps.sync_network import SyncNetworkRef

if TYPE_CHECKING:
    from pipelines.prepare.steps.active_speaker import Speaker

VOICED = -1  # column of the speech features
LOOKED_AT = 4  # sharpness and brightness are taken from each so-many-th frame
LEVEL_PIECE = 2**20  # samples at a time: an hour of sound as 64-bit floats is 460 MB
PEAK = 32768.0  # of 16-bit sound
FLOOR_DB = -100.0  # digital silence
# of WebRTC's voice detector: the length of what it judges, and how sceptical it is, 0 to 3
VOICE_MS, VOICE_MODE = 20, 2
MOUTH_PERCENTILES = (10, 90)  # between which a mouth's range is taken
EXTREME = 95  # percentile of the absolute angles
HANDS_EVERY = 25  # frames between two looks for hands: one a second
ROOM_FRAMES = 1024  # of crops whose memory is kept: 200 MB, and the longest clip by default
DIGITS = 4  # of scores in ledgers and samples


class ClipFeatures(NamedTuple):
    """All that is computed of a clip before it is judged. The mesh may have found no face at all:
    then there is no pose.

    Pitch is not among it: no limit asks for it, and with Harvest it costs as much as all the rest.
    """

    frames: UInt8[np.ndarray, "t 256 256 3"]
    wave: Int16[np.ndarray, " t*640"]
    landmarks: Float32[np.ndarray, "t 468 3"]
    pose: Float32[np.ndarray, "t 6"]
    scores: Scores


# --------------------------------------------------------------------------------------------- crop
def crop_frames(
    video: media.VideoReader, clip: Clip, into: UInt8[np.ndarray, "t 256 256 3"] | None = None
) -> UInt8[np.ndarray, "t 256 256 3"]:
    """The frames of a clip, cut out and resized; written `into` memory that is there already, or
    into new.
    """
    crops = np.empty((len(clip.span), SIZE, SIZE, 3), np.uint8) if into is None else into
    part = media.CropRegion(clip.square.x, clip.square.y, clip.square.side)
    for index, piece in enumerate(video.stream(clip.span, part=part, max_height=SIZE)):
        crops[index] = piece if len(piece) == SIZE else cut_square(piece, Square(0, 0, len(piece)))  # a small one grows
    return crops


def crop_buffer(frames: int) -> UInt8[np.ndarray, "frames 256 256 3"]:
    """Memory for the crops of one clip at a time: the next clip's are written over them.

    New memory for each costs a twentieth of all.
    """
    return _room()[:frames] if frames <= ROOM_FRAMES else np.empty((frames, SIZE, SIZE, 3), np.uint8)


@functools.cache
def _room() -> UInt8[np.ndarray, "frames 256 256 3"]:
    return np.empty((ROOM_FRAMES, SIZE, SIZE, 3), np.uint8)


def cut_wave(wave: Int16[np.ndarray, " n"], span: Span, late: int = 0) -> Int16[np.ndarray, " t*640"]:
    """The sound of a span, taken `late` frames later; silence where the video has none: before its
    start and after its sound's end.
    """
    start, stop = (span.start + late) * SAMPLES_PER_FRAME, (span.stop + late) * SAMPLES_PER_FRAME
    piece = wave[max(start, 0) : max(stop, 0)]
    before = min(max(-start, 0), stop - start)
    return np.pad(piece, (before, stop - start - before - len(piece)))


# ----------------------------------------------------------------------------------------- features
def to_features(
    video: media.VideoReader,
    clip: Clip,
    wave: Int16[np.ndarray, " n"],
    speaker: Speaker | None,
    config: FeaturesConfig,
    judge: SyncNetworkRef | None = None,
    room: UInt8[np.ndarray, "t 256 256 3"] | None = None,
) -> ClipFeatures:
    """Compute what a clip is judged by.

    Args:
        video: open, for the clip's frames.
        clip: the candidate.
        wave: sound of the whole video.
        speaker: where there are other faces: its mesh is known by then, and perhaps its crops.
        config: prepare/features.
        judge: of sound and lips, where a network is to be asked.
        room: where the frames are to stand; new memory without it.
    """
    frames = speaker.crops_again(into=room) if speaker and speaker.crops else crop_frames(video, clip, into=room)
    found = speaker.mesh if speaker else mesh(frames)
    landmarks = fill_gaps(found.landmarks, found.found)
    piece, pose, scores = cut_wave(wave, clip.span), np.zeros((len(frames), 6), np.float32), Scores()
    if found.found.any():
        offset = find_offset(frames, landmarks, piece, judge)
        late = correction(offset, config)
        piece, pose = cut_wave(wave, clip.span, late), smooth_pose(solve_pose(landmarks), config.pose_smoothing_frames)
        scores = with_motion_scores(with_sync_scores(scores, offset, late), frames, landmarks, pose)
    scores = replace(
        scores,
        face_px=clip.face_px,
        faces=float(clip.faces),
        speaker_confidence=speaker.confidence if speaker else None,
        speaker_lead=speaker.lead if speaker else None,
        face_share=float(found.found.mean()),
        speech_db=level_db(piece),
        voice_share=voice_share(piece),
        sharpness=sharpness(frames[::LOOKED_AT]),
        brightness=float(frames[::LOOKED_AT].mean()),
    )
    return ClipFeatures(frames, piece, landmarks, pose, rounded(scores))


def to_sample(
    clip: Clip, features: ClipFeatures, speech: Float32[np.ndarray, "t 4 41"], meta: dict[str, object]
) -> Sample:
    """The sample of an accepted clip."""
    return Sample(
        key=clip.key,
        frames=features.frames,
        wave=features.wave,
        speech=speech,
        mel=log_mel(features.wave, frames=len(features.frames)),
        pose=features.pose,
        landmarks=features.landmarks.astype(np.float16),
        meta=meta,
    )


# ------------------------------------------------------------------------------------------- scores
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


def with_voiced_share(scores: Scores, speech: Float32[np.ndarray, "t 4 41"]) -> Scores:
    """Add what needs the pitch."""
    return rounded(replace(scores, voiced_share=float(speech[..., VOICED].mean())))


def with_motion_scores(
    scores: Scores,
    frames: UInt8[np.ndarray, "t 256 256 3"],
    landmarks: Float32[np.ndarray, "t 468 3"],
    pose: Float32[np.ndarray, "t 6"],
) -> Scores:
    """Add what needs landmarks and pose."""
    pitch, yaw, roll = np.percentile(np.abs(angles(pose)), EXTREME, axis=0)
    flat = landmarks[..., :2]
    inside = ((flat >= 0) & (flat < SIZE)).all(axis=2)
    return replace(
        scores,
        mouth_range=mouth_range(landmarks),
        yaw_deg=float(yaw),
        pitch_deg=float(pitch),
        roll_deg=float(roll),
        motion_deg=float(np.degrees(np.linalg.norm(pose[:, :3].std(axis=0)))),
        inside_share=float(inside.mean()),
        covered_share=float(hands_before(frames[::HANDS_EVERY], landmarks[::HANDS_EVERY]).mean()),
        jitter_px=jitter(flat),
    )


def mouth_range(landmarks: Float32[np.ndarray, "t n 3"]) -> float:
    """How far the lips open and shut: 10th to 90th percentile, shares of the face's height."""
    shut, wide = np.percentile(mouth_opening(landmarks), MOUTH_PERCENTILES)
    return float(wide - shut)


def angles(pose: Float32[np.ndarray, "t 6"]) -> Float64[np.ndarray, "t 3"]:
    """Pitch, yaw and roll in degrees, from rotation vectors."""
    from scipy.spatial.transform import Rotation

    return np.asarray(Rotation.from_rotvec(pose[:, :3]).as_euler("xyz", degrees=True))


def level_db(wave: Int16[np.ndarray, " n"]) -> float:
    """Mean level, full scale = 0."""
    pieces = (wave[start : start + LEVEL_PIECE] for start in range(0, len(wave), LEVEL_PIECE))
    rms = math.sqrt(
        sum(float(np.square(piece.astype(np.float64) / PEAK).sum()) for piece in pieces) / max(len(wave), 1)
    )
    return max(FLOOR_DB, 20 * float(np.log10(rms))) if rms > 0 else FLOOR_DB


def voice_share(wave: Int16[np.ndarray, " n"]) -> float:
    """Share of the stretches of 20 ms in which WebRTC's detector hears somebody speak, 0 to 1;
    music may be heard as speech.
    """
    import webrtcvad

    detector, length = webrtcvad.Vad(VOICE_MODE), SAMPLE_RATE * VOICE_MS // 1000
    stretches = [wave[start : start + length].tobytes() for start in range(0, len(wave) - length + 1, length)]
    return float(np.mean([detector.is_speech(stretch, SAMPLE_RATE) for stretch in stretches])) if stretches else 0.0


def sharpness(frames: UInt8[np.ndarray, "t h w 3"]) -> float:
    """Variance of the Laplacian of the grey crop, median over the frames."""
    import cv2

    edges = (cv2.Laplacian(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), cv2.CV_16S) for frame in frames)
    return float(np.median([cv2.meanStdDev(edge)[1][0, 0] ** 2 for edge in edges]))


def jitter(points: Float32[np.ndarray, "t n 2"]) -> float:
    """Median second difference of the landmarks over time, pixels: shaking that no head does."""
    return float(np.median(np.linalg.norm(np.diff(points, n=2, axis=0), axis=2)))


def rounded(scores: Scores) -> Scores:
    """Scores as ledgers and samples hold them."""
    return Scores(**{name: None if value is None else round(value, DIGITS) for name, value in asdict(scores).items()})
