"""Landmarks and head poses over time: gaps are filled, jitter is smoothed."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32


def fill_gaps(landmarks: Float32[np.ndarray, "t n 3"], found: np.ndarray) -> Float32[np.ndarray, "t n 3"]:
    """Interpolate landmarks linearly over frames without a face; hold them at both ends."""
    known = np.flatnonzero(found)
    if len(known) in {0, len(found)}:
        return landmarks
    after = np.searchsorted(known, np.arange(len(found))).clip(0, len(known) - 1)
    left, right = known[(after - 1).clip(0)], known[after]
    left = np.where(np.arange(len(found)) >= right, right, left)  # at and past the last known frame
    width = np.maximum(right - left, 1)
    weight = ((np.arange(len(found)) - left) / width).clip(0, 1).astype(np.float32)[:, None, None]
    return np.asarray(landmarks[left] * (1 - weight) + landmarks[right] * weight, np.float32)


def smooth_pose(pose: Float32[np.ndarray, "t 6"], sigma: float) -> Float32[np.ndarray, "t 6"]:
    """Smooth head poses over time with a Gaussian of `sigma` frames; 0 leaves them as they are.

    Landmarks that are detected frame by frame make poses jitter by 0.3–0.4°.
    """
    from scipy.ndimage import gaussian_filter1d

    return np.asarray(gaussian_filter1d(pose, sigma, axis=0, mode="nearest"), np.float32) if sigma > 0 else pose
