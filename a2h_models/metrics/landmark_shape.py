"""Is it still the same face?

Our own stand-in where no ArcFace is at hand; it is not CSIM and does not carry its name.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

from a2h_models.data_types import LANDMARKS
from a2h_models.metrics.motion import LIPS

PERCENT = 100.0


def still_points() -> Bool[np.ndarray, " n"]:
    """The points of the mesh that speaking hardly moves: all but the lips."""
    still = np.ones(LANDMARKS, dtype=bool)
    still[LIPS] = False
    return still


def landmark_shape_distance(landmarks: Float[np.ndarray, "t n 3"], portrait: Float[np.ndarray, "n 3"]) -> float:
    """How far the mean shape of a film's face is from the portrait's, in percent of its size. ≥ 0;
    lower is better.

    Each frame is turned, moved and scaled onto the portrait (Procrustes), the frames are averaged,
    and the root mean square distance of the points is divided by the portrait's own root mean
    square size. Position, pose and distance of the head do not count.

    Raises:
        ValueError: if there is no frame.
    """
    if len(landmarks) == 0:
        raise ValueError("no frame to compare with the portrait")
    target = _normed(portrait.astype(np.float64))
    mean = np.mean([_onto(_normed(frame.astype(np.float64)), target) for frame in landmarks], axis=0)
    return float(PERCENT * np.sqrt(((mean - target) ** 2).sum(axis=-1).mean()))


def _normed(points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    """Centred, with a root mean square size of 1."""
    centred = points - points.mean(axis=0)
    return np.asarray(centred / np.sqrt((centred**2).sum(axis=-1).mean()))


def _onto(points: Float[np.ndarray, "n 3"], target: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    """Rotate points onto a target (Kabsch); no reflection."""
    left, _, right = np.linalg.svd(points.T @ target)
    flip = np.array([1.0, 1.0, np.sign(np.linalg.det(left @ right))])
    return np.asarray(points @ (left * flip) @ right)
