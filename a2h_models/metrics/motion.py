"""How the head and the face move.

Poses are (t, 6): rotation vector in rad, then translation; landmarks are (t, n, 2 or 3) in crop
pixels.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int

from a2h_models.features.head_pose import normalise
from a2h_models.timebase import FPS

Poses = Float[np.ndarray, "t 6"]
Landmarks = Float[np.ndarray, "t n d"]

BEAT_SIGMA_S = 0.1  # how far apart two beats may be and still count as together (method.md §5)
DRIFT_S = 10  # seconds, at both ends, whose mean directions are compared
POSE_WINDOW, POSE_SIGMA = 11, 1.5  # frames; SSIM's own window, over time
POSE_RANGE = 2.0  # of a normalised pose: -1 … 1
SSIM_K1, SSIM_K2 = 0.01, 0.03

# Points of the face mesh that make the contours of the lips
LIPS_OUTER = (0, 17, 37, 39, 40, 61, 84, 91, 146, 181, 185, 267, 269, 270, 291, 314, 321, 375, 405, 409)
LIPS_INNER = (13, 14, 78, 80, 81, 82, 87, 88, 95, 178, 191, 308, 310, 311, 312, 317, 318, 324, 402, 415)
LIPS: Int[np.ndarray, " k"] = np.array(LIPS_OUTER + LIPS_INNER)


# ----------------------------------------------------------------------------------------- the head
def head_diversity(pose: Poses) -> float:
    """Standard deviation over time of the head's rotation, mean of the three angles, in degrees.

    ≥ 0; the truth's own value is best.
    """
    return float(_degrees(pose).std(axis=0).mean()) if len(pose) else 0.0


def mean_absolute_step(pose: Poses) -> float:
    """Mean absolute change of the rotation from frame to frame, in degrees a frame.

    ≥ 0; the truth's own value is best.
    """
    return _mean_absolute_difference(pose, order=1)


def jitter(pose: Poses) -> float:
    """Mean absolute second difference of the rotation, in degrees a frame².

    ≥ 0; 0 for an even turn; the truth's own value is best.
    """
    return _mean_absolute_difference(pose, order=2)


def drift(pose: Poses) -> float:
    """How far the head's mean direction in the last ten seconds is from that in the first ten, mean
    of the three angles, in degrees. ≥ 0.

    A head that sways around one direction has about none; one that turns away, and never back, has
    much.

    Raises:
        ValueError: if the sequence is not longer than these ten seconds.
    """
    span = int(DRIFT_S * FPS)
    if len(pose) <= span:
        raise ValueError(f"a pose sequence of {len(pose)} frames is too short for a drift; it needs more than {span}")
    degrees = _degrees(pose)
    return float(np.abs(degrees[-span:].mean(axis=0) - degrees[:span].mean(axis=0)).mean())


def _mean_absolute_difference(pose: Poses, *, order: int) -> float:
    steps = np.diff(_degrees(pose), n=order, axis=0)
    return float(np.abs(steps).mean()) if steps.size else 0.0


def _degrees(pose: Poses) -> Float[np.ndarray, "t 3"]:
    return np.asarray(np.degrees(pose[:, :3].astype(np.float64)))


def pose_ssim(prediction: Poses, truth: Poses) -> float:
    """Structural similarity of two pose sequences in the networks' range, Gaussian windows of 11
    frames over time.

    -1 … 1; higher is better, 1 for equal sequences. Each of the 6 numbers has windows of its own:
    as rows of an image they have no neighbours.

    Raises:
        ValueError: if the sequences differ in length, or are shorter than a window.
    """
    if prediction.shape != truth.shape or len(truth) < POSE_WINDOW:
        raise ValueError(
            f"pose sequences of {len(prediction)} and {len(truth)} frames; they need the same {POSE_WINDOW} frames or more"
        )
    a, b = normalise(np.asarray(prediction, np.float64)), normalise(np.asarray(truth, np.float64))
    mean_a, mean_b = _over_time(a), _over_time(b)
    variance_a, variance_b = _over_time(a * a) - mean_a**2, _over_time(b * b) - mean_b**2
    covariance = _over_time(a * b) - mean_a * mean_b
    c1, c2 = (SSIM_K1 * POSE_RANGE) ** 2, (SSIM_K2 * POSE_RANGE) ** 2
    values = (
        (2 * mean_a * mean_b + c1)
        * (2 * covariance + c2)
        / ((mean_a**2 + mean_b**2 + c1) * (variance_a + variance_b + c2))
    )
    return float(values.mean())


def _over_time(values: Float[np.ndarray, "t c"]) -> Float[np.ndarray, "s c"]:
    offsets = np.arange(POSE_WINDOW) - POSE_WINDOW // 2
    taps = np.exp(-(offsets**2) / (2 * POSE_SIGMA**2))
    windows = np.lib.stride_tricks.sliding_window_view(values, POSE_WINDOW, axis=0)  # (s, c, window)
    return np.asarray(windows @ (taps / taps.sum()))


def head_beats(pose: Poses) -> Float[np.ndarray, " k"]:
    """Times in seconds at which the head's turning is slowest between two faster moments."""
    speed = np.linalg.norm(np.diff(pose[:, :3], axis=0), axis=1)
    slow = np.flatnonzero((speed[1:-1] < speed[:-2]) & (speed[1:-1] <= speed[2:])) + 1
    return (slow + 0.5) / FPS  # a step lies between two frames


def beat_alignment(pose: Poses, beats_s: Float[np.ndarray, " k"]) -> float:
    """How near a beat of the head is to each beat of the speech: mean of exp(-distance² / 2σ²), σ
    0.1 s.

    0 … 1; the truth's own value is best. NaN where there is no beat to align with.

    Args:
        pose: the head's motion.
        beats_s: times of the speech's beats in seconds (`a2h_models.metrics.av_sync.speech_beats`).
    """
    if len(beats_s) == 0:
        return float("nan")
    head = head_beats(pose)
    if len(head) == 0:
        return 0.0
    nearest = np.abs(beats_s[:, None] - head[None, :]).min(axis=1)
    return float(np.exp(-(nearest**2) / (2 * BEAT_SIGMA_S**2)).mean())


# ----------------------------------------------------------------------------------------- the face
def landmark_distances(
    prediction: Landmarks,
    truth: Landmarks,
    among: Bool[np.ndarray, " n"] | Int[np.ndarray, " k"] | None = None,
) -> Float[np.ndarray, " t"]:
    """LMD a frame: mean distance in pixels of the truth, after removing translation and scale of
    the whole face. ≥ 0; lower is better.

    With `among`, the face is aligned as before, but only those landmarks count: the lips give
    M-LMD, the rest F-LMD. Only x and y are looked at.

    Raises:
        ValueError: if the shapes differ.
    """
    if prediction.shape != truth.shape:
        raise ValueError(f"landmarks of shapes {prediction.shape} and {truth.shape} cannot be compared")
    a, b = _centred(prediction[..., :2]), _centred(truth[..., :2])
    size_a, size_b = _size(a), _size(b)
    aligned = a * (size_b / np.maximum(size_a, np.finfo(np.float64).tiny))
    distances = np.linalg.norm(aligned - b, axis=-1)
    return np.asarray((distances if among is None else distances[:, among]).mean(axis=-1))


def average_keypoint_distance(prediction: Landmarks, truth: Landmarks) -> Float[np.ndarray, " t"]:
    """AKD a frame (FOMM): mean distance of landmarks in pixels, where they stand. ≥ 0; lower is
    better.

    Raises:
        ValueError: if the shapes differ.
    """
    if prediction.shape != truth.shape:
        raise ValueError(f"landmarks of shapes {prediction.shape} and {truth.shape} cannot be compared")
    return np.asarray(np.linalg.norm(prediction[..., :2].astype(np.float64) - truth[..., :2], axis=-1).mean(axis=-1))


def _centred(points: Landmarks) -> Landmarks:
    points = points.astype(np.float64)
    return np.asarray(points - points.mean(axis=1, keepdims=True))


def _size(centred: Landmarks) -> Float[np.ndarray, "t 1 1"]:
    return np.asarray(np.sqrt((centred**2).sum(axis=-1).mean(axis=1)))[:, None, None]
