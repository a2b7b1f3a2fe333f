"""All numbers of one clip: a film against the true one."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8

from a2h_models.metrics import eyes, identity, image, motion, sharpness, sync
from a2h_models.sample import SIZE

if TYPE_CHECKING:
    from a2h_models.networks.syncnet import SyncNet


class Face(NamedTuple):
    """The face mesh of a film."""

    landmarks: Float[np.ndarray, "t 468 3"]  # pixels of a 256×256 crop
    found: Bool[np.ndarray, " t"]


class Film(NamedTuple):
    """What can be looked at. What is None is not measured."""

    frames: UInt8[np.ndarray, "t h w 3"]
    face: Face | None  # None: there is no face mesh on this machine
    pose: Float[np.ndarray, "t 6"] | None  # that drives the head; None: there is none, or it is not the film's own


def measure(film: Film, truth: Film, wave: np.ndarray, syncnet: SyncNet | None = None) -> dict[str, float]:
    """Name of `DEFINITIONS` → value, for what can be measured; frame-wise numbers are means over frames.

    Args:
        film: the generated one; frame 0 of the truth is its portrait.
        truth: the real one, of as many frames at the same size.
        wave: the speech, 16 kHz mono.
        syncnet: with the public weights; None: LSE is not measured.
    """
    values = {name: float(compare(film.frames, truth.frames).mean()) for name, compare in FRAMES.items()}
    if min(film.frames.shape[1:3]) >= image.MS_SMALLEST:
        values["ms_ssim"] = float(image.ms_ssim(film.frames, truth.frames).mean())
    values["cpbd"] = float(sharpness.cpbd(film.frames).mean())
    if film.face is not None and truth.face is not None:
        values |= _face(film.face, truth.face, wave)
    if film.face is not None and syncnet is not None:
        values |= _lip_sync(film, film.face, wave, syncnet)
    if film.pose is not None and truth.pose is not None:
        values |= _pose(film.pose, truth.pose, wave)
    return values


FRAMES = {"psnr": image.psnr, "ssim": image.ssim, "l1": image.l1}


def _face(face: Face, truth: Face, wave: np.ndarray) -> dict[str, float]:
    both = face.found & truth.found
    mouth = np.where(face.found[:, None], sync.mouth_shape(face.landmarks), np.nan)
    heard = sync.match(mouth, sync.expected_mouth(wave, len(mouth)))
    values = {
        "faces_found": float(face.found.mean()),
        "mouth_speech_correlation": heard.correlation,
        "mouth_speech_offset": float(heard.offset),
        "mouth_speech_confidence": heard.confidence,
        "blink_rate": eyes.blink_rate(face.landmarks, face.found),
    }
    if not both.any():
        return values
    ours, theirs = face.landmarks[both], truth.landmarks[both]
    still = identity.still_points()
    return values | {
        "lmd": float(motion.landmark_distances(ours, theirs).mean()),
        "m_lmd": float(motion.landmark_distances(ours, theirs, ~still).mean()),
        "f_lmd": float(motion.landmark_distances(ours, theirs, still).mean()),
        "akd": float(motion.average_keypoint_distance(ours, theirs).mean()),
        "landmark_shape_distance": identity.landmark_shape_distance(ours[:, still], theirs[0, still]),
    }


def _lip_sync(film: Film, face: Face, wave: np.ndarray, syncnet: SyncNet) -> dict[str, float]:
    """SyncNet's numbers; none where a frame has no face, for its windows are of five frames in a row."""
    from a2h_models.metrics.lip_sync import lip_sync, sync_faces

    if not face.found.all():
        return {}
    scale = film.frames.shape[1] / SIZE
    said = lip_sync(syncnet, sync_faces(film.frames, face.landmarks * scale), wave)
    return {} if said is None else {"lse_d": said.distance, "lse_c": said.confidence, "sync_offset": float(said.offset)}


def _pose(pose: np.ndarray, truth: np.ndarray, wave: np.ndarray) -> dict[str, float]:
    values = {
        "head_diversity": motion.head_diversity(pose),
        "mean_absolute_step": motion.mean_absolute_step(pose),
        "jitter": motion.jitter(pose),
        "beat_alignment": motion.beat_alignment(pose, sync.speech_beats(wave)),
    }
    if len(pose) >= motion.POSE_WINDOW:
        values["pose_ssim"] = motion.pose_ssim(pose, truth)
    return values
