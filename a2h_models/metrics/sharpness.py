"""How sharp a film looks, without a truth: CPBD (Narvekar and Karam 2011), which counts the edges
whose blur nobody notices.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

BLOCK = 64  # pixels a side; contrast is a matter of the surroundings
EDGE_SHARE = 0.002  # of a block's pixels that must be edges; fewer are no edge block
STRONG = 51  # grey levels between a block's darkest and brightest, from which on narrower blur is noticed
NOTICED_WEAK, NOTICED_STRONG = 5.0, 3.0  # pixels: the width of an edge whose blur is just noticed
# The original gives each width a probability of being noticed, 1 − exp(−(width / just
# noticed)^3.6), and counts edges up to that of the
# just noticed width, 63 %. That is the same as comparing the widths.
# an edge's gradient is more than the root of this times the picture's mean square: Sobel's usual
# threshold
GRADIENT_SCALE = 4.0
GREY = np.array([0.299, 0.587, 0.114])  # of RGB


def cpbd(frames: UInt8[np.ndarray, "t h w 3"]) -> Float32[np.ndarray, " t"]:
    """Share of the edge pixels whose blur is not noticed, a number a frame. 0 … 1; higher is
    sharper; the truth's own value is best.

    Upright edges are looked at, as in the original; a frame without an edge has 0.
    """
    return np.array([_cpbd(frame @ GREY) for frame in frames], dtype=np.float32)


def _cpbd(grey: Float[np.ndarray, "h w"]) -> float:
    edges, widths = upright_edges(grey), edge_widths(grey)
    unnoticed = counted = 0
    for top in range(0, grey.shape[0] - BLOCK + 1, BLOCK):
        for left in range(0, grey.shape[1] - BLOCK + 1, BLOCK):
            block = (slice(top, top + BLOCK), slice(left, left + BLOCK))
            here = edges[block]
            if here.sum() <= EDGE_SHARE * here.size:
                continue
            noticed = NOTICED_STRONG if np.ptp(grey[block]) >= STRONG else NOTICED_WEAK
            unnoticed += int((widths[block][here] <= noticed).sum())
            counted += int(here.sum())
    return unnoticed / counted if counted else 0.0


def upright_edges(grey: Float[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Where Sobel's horizontal gradient is strong and the strongest of its row's neighbours."""
    import cv2

    slope = np.abs(cv2.Sobel(grey, cv2.CV_64F, 1, 0))
    strong = slope**2 > GRADIENT_SCALE * (slope**2).mean()
    ridge = np.zeros_like(strong)
    ridge[:, 1:-1] = (slope[:, 1:-1] > slope[:, :-2]) & (slope[:, 1:-1] >= slope[:, 2:])
    return np.asarray(strong & ridge)


def edge_widths(grey: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """At each pixel, how many pixels its row rises, or falls, without a break around it (Marziliano
    et al. 2002).
    """
    steps = np.sign(np.diff(grey, axis=1))
    before, after = _run_lengths(steps), _run_lengths(steps[:, ::-1])[:, ::-1]
    direction = np.zeros_like(grey)
    direction[:, 1:-1] = np.sign(grey[:, 2:] - grey[:, :-2])
    widths = np.zeros_like(grey)
    widths[:, 1:] += np.where(steps == direction[:, 1:], before, 0)
    widths[:, :-1] += np.where(steps == direction[:, :-1], after, 0)
    return np.where(direction == 0, 0.0, widths)


def _run_lengths(steps: Float[np.ndarray, "h n"]) -> Float[np.ndarray, "h n"]:
    """At each place, how many equal values in a row end there."""
    lengths = np.ones_like(steps)
    for column in range(1, steps.shape[1]):
        lengths[:, column] = np.where(steps[:, column] == steps[:, column - 1], lengths[:, column - 1] + 1, 1)
    return lengths
