"""How often somebody blinks, from the face mesh."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Float64

from a2h_models.timebase import FPS

# Points of the face mesh: outer corner, two of the upper lid, inner corner, two of the lower lid
# below those
EYES = ((33, 160, 158, 133, 153, 144), (263, 387, 385, 362, 380, 373))
OPEN = 90  # percentile of a clip's openness that counts as open eyes
CLOSED = 0.6  # share of that below which they are closed: eyes differ too much between people for one number
BLINK_FRAMES = range(2, 13)  # 80 … 480 ms; a shorter one is noise, a longer one is closed eyes
SECONDS = 60


def openness(landmarks: Float[np.ndarray, "t n d"]) -> Float64[np.ndarray, " t"]:
    """Eye aspect ratio (Soukupová and Čech 2016): height over width of the eyes, mean of both.

    About 0.3 open, 0.1 closed.
    """
    ratios = []
    for outer, upper_out, upper_in, inner, lower_in, lower_out in EYES:
        height = _distance(landmarks, upper_out, lower_out) + _distance(landmarks, upper_in, lower_in)
        ratios.append(height / (2 * np.maximum(_distance(landmarks, outer, inner), 1.0)))
    return np.asarray(np.mean(ratios, axis=0))


def blink_rate(landmarks: Float[np.ndarray, "t n d"], found: Bool[np.ndarray, " t"]) -> float:
    """Blinks a minute. ≥ 0; the truth's own value is best. NaN without a face.

    A blink has an end and a beginning within the clip; frames without a face are neither open nor
    closed, and end it.
    """
    if not found.any():
        return float("nan")
    open_eyes = openness(landmarks)
    closed = found & (open_eyes < CLOSED * np.percentile(open_eyes[found], OPEN))
    edges = np.flatnonzero(np.diff(closed.astype(np.int8)))
    if closed[0]:
        edges = edges[1:]
    lengths = edges[1::2] - edges[: len(edges) // 2 * 2 : 2]
    blinks = sum(int(length) in BLINK_FRAMES for length in lengths)
    return float(blinks / (found.sum() / FPS / SECONDS))


def _distance(landmarks: Float[np.ndarray, "t n d"], a: int, b: int) -> Float64[np.ndarray, " t"]:
    return np.asarray(np.linalg.norm(landmarks[:, a].astype(np.float64) - landmarks[:, b], axis=1))
