"""All numbers of one clip: a film against the true one."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

from a2h_models.data_types import SIZE
from a2h_models.metrics import av_sync, blink, image, landmark_shape, motion, sharpness

if TYPE_CHECKING:
    from a2h_models.evaluators.metric_networks import MetricNetworks


class Face(NamedTuple):
    """The face mesh of a film."""

    landmarks: Float[np.ndarray, "t 468 3"]  # pixels of a 256×256 crop
    found: Bool[np.ndarray, " t"]


class VideoFeatures(NamedTuple):
    """What can be looked at. What is None is not measured."""

    frames: UInt8[np.ndarray, "t h w 3"]
    face: Face | None  # None: there is no face mesh on this machine
    pose: Float[np.ndarray, "t 6"] | None  # that drives the head; None: there is none, or it is not the film's own


def measure(
    film: VideoFeatures, truth: VideoFeatures, wave: np.ndarray, judges: MetricNetworks | None = None
) -> dict[str, float]:
    """Name of `DEFINITIONS` → value, for what can be measured; frame-wise numbers are means over
    frames.

    Args:
        film: the generated one; frame 0 of the truth is its portrait.
        truth: the real one, of as many frames at the same size.
        wave: the speech, 16 kHz mono.
        judges: networks that measure; what they would is left out where there are none.
    """
    values = {name: float(compare(film.frames, truth.frames).mean()) for name, compare in FRAMES.items()}
    if min(film.frames.shape[1:3]) >= image.MS_SMALLEST:
        values["ms_ssim"] = float(image.ms_ssim(film.frames, truth.frames).mean())
    values["cpbd"] = float(sharpness.cpbd(film.frames).mean())
    if film.face is not None and truth.face is not None:
        values |= _face(film.face, truth.face, wave)
    if judges is not None:
        values |= _judged(film, truth, wave, judges)
    if film.pose is not None and truth.pose is not None:
        values |= _pose(film.pose, truth.pose, wave)
    return values


FRAMES = {"psnr": image.psnr, "ssim": image.ssim, "l1": image.l1}


def _face(face: Face, truth: Face, wave: np.ndarray) -> dict[str, float]:
    if not face.found.any():  # no mouth and no eyes: no number of theirs, not zeros
        return {"faces_found": 0.0}
    both = face.found & truth.found
    mouth = np.where(face.found[:, None], av_sync.mouth_shape(face.landmarks), np.nan)
    heard = av_sync.match(mouth, av_sync.expected_mouth(wave, len(mouth)))
    values = {
        "faces_found": float(face.found.mean()),
        "mouth_speech_correlation": heard.correlation,
        "mouth_speech_offset": float(heard.offset),
        "mouth_speech_confidence": heard.confidence,
        "blink_rate": blink.blink_rate(face.landmarks, face.found),
    }
    if not both.any():
        return values
    ours, theirs = face.landmarks[both], truth.landmarks[both]
    still = landmark_shape.still_points()
    return values | {
        "lmd": float(motion.landmark_distances(ours, theirs).mean()),
        "m_lmd": float(motion.landmark_distances(ours, theirs, ~still).mean()),
        "f_lmd": float(motion.landmark_distances(ours, theirs, still).mean()),
        "akd": float(motion.average_keypoint_distance(ours, theirs).mean()),
        "landmark_shape_distance": landmark_shape.landmark_shape_distance(ours[:, still], theirs[0, still]),
    }


def features(film: VideoFeatures, judges: MetricNetworks) -> dict[str, Float32[np.ndarray, "n d"]]:
    """What FID and FVD compare between whole sets: name of `DEFINITIONS` → features of the film's
    parts.
    """
    from a2h_models.metrics.frechet import frame_features, video_features

    found = {}
    if judges.inception is not None:
        found["fid"] = frame_features(judges.inception, film.frames)
    if judges.i3d is not None:
        found["fvd"] = video_features(judges.i3d, film.frames)
    return found


def _judged(film: VideoFeatures, truth: VideoFeatures, wave: np.ndarray, judges: MetricNetworks) -> dict[str, float]:
    from a2h_models.metrics.lpips import lpips

    values: dict[str, float] = {}
    if judges.alexnet is not None:
        values["lpips"] = float(lpips(judges.alexnet, film.frames, truth.frames).mean())
    if film.face is not None and film.face.found.all():  # windows of several frames in a row
        values |= _lip_sync(film, film.face, wave, judges)
    if film.face is not None and truth.face is not None:
        values |= _identity(film, film.face, truth, truth.face, judges)
    return values


def _lip_sync(film: VideoFeatures, face: Face, wave: np.ndarray, judges: MetricNetworks) -> dict[str, float]:
    """By SyncNet and by our own expert."""
    from a2h_models.metrics.lip_sync import lip_sync, sync_faces
    from a2h_models.metrics.sync_expert import expert_sync

    values: dict[str, float] = {}
    if judges.syncnet is not None:
        scale = film.frames.shape[1] / SIZE
        said = lip_sync(judges.syncnet, sync_faces(film.frames, face.landmarks * scale), wave)
        if said is not None:
            values |= {"lse_d": said.distance, "lse_c": said.confidence, "sync_offset": float(said.offset)}
    if judges.sync_expert is not None:
        heard = expert_sync(judges.sync_expert, film.frames, face.landmarks, wave)
        if heard is not None:
            values |= {
                "expert_offset": float(heard.offset),
                "expert_likeness": heard.likeness,
                "expert_confidence": heard.confidence,
            }
    return values


def _identity(
    film: VideoFeatures, face: Face, truth: VideoFeatures, true_face: Face, judges: MetricNetworks
) -> dict[str, float]:
    """Cosines to the portrait, which is the truth's first frame; none where it or the whole film
    shows no face.
    """
    from a2h_models.metrics.identity import identities, identity_similarity

    if judges.arcface is None or not true_face.found[0] or not face.found.any():
        return {}
    portrait = identities(judges.arcface, truth.frames[:1], true_face.landmarks[:1], true_face.found[:1])[0]
    found = identity_similarity(identities(judges.arcface, film.frames, face.landmarks, face.found) @ portrait)
    return {"csim": found.mean, "csim_low": found.low, "csim_collapsed": found.collapsed}


def _pose(pose: np.ndarray, truth: np.ndarray, wave: np.ndarray) -> dict[str, float]:
    values = {
        "head_diversity": motion.head_diversity(pose),
        "mean_absolute_step": motion.mean_absolute_step(pose),
        "jitter": motion.jitter(pose),
        "beat_alignment": motion.beat_alignment(pose, av_sync.speech_beats(wave)),
    }
    if len(pose) >= motion.POSE_WINDOW:
        values["pose_ssim"] = motion.pose_ssim(pose, truth)
    return values
