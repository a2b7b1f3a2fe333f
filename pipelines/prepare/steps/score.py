"""Measure a clip: every score that needs its frames, landmarks, pose and sound."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Float32, Float64, UInt8

from a2h_models.data_types import SIZE
from a2h_models.metrics.av_sync import mouth_opening
from pipelines.face.face_mesh import hands_before
from pipelines.prepare.scores import Scores, rounded
from pipelines.prepare.sound import level_db, voice_share
from pipelines.prepare.steps.state import ClipState, ClipStep, PrepareContext

LOOKED_AT = 4  # sharpness and brightness are taken from each so-many-th frame
MOUTH_PERCENTILES = (10, 90)  # between which a mouth's range is taken
EXTREME = 95  # percentile of the absolute angles
HANDS_EVERY = 25  # frames between two looks for hands: one a second


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


def sharpness(frames: UInt8[np.ndarray, "t h w 3"]) -> float:
    """Variance of the Laplacian of the grey crop, median over the frames."""
    import cv2

    edges = (cv2.Laplacian(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), cv2.CV_16S) for frame in frames)
    return float(np.median([cv2.meanStdDev(edge)[1][0, 0] ** 2 for edge in edges]))


def jitter(points: Float32[np.ndarray, "t n 2"]) -> float:
    """Median second difference of the landmarks over time, pixels: shaking that no head does."""
    return float(np.median(np.linalg.norm(np.diff(points, n=2, axis=0), axis=2)))


class ScoreClip(ClipStep):
    """Measure picture, motion and sound."""

    name = "score"
    label = "measure picture, motion and sound"
    settings = ()
    takes = ("frames", "landmarks", "pose", "wave")
    gives = ("scores",)

    @staticmethod
    def run(state: ClipState, context: PrepareContext) -> None:  # noqa: ARG004  every step is given both
        """Run the step."""
        scores, speaker = state.scores, state.speaker
        if state.has_face:
            scores = with_motion_scores(scores, state.frames, state.landmarks, state.pose)
        state.scores = rounded(
            replace(
                scores,
                speaker_confidence=speaker.confidence if speaker else None,
                speaker_lead=speaker.lead if speaker else None,
                face_share=float(state.mesh.found.mean()),
                speech_db=level_db(state.wave),
                voice_share=voice_share(state.wave),
                sharpness=sharpness(state.frames[::LOOKED_AT]),
                brightness=float(state.frames[::LOOKED_AT].mean()),
            )
        )
