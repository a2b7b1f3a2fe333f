"""CSIM: is it still the same person, by ArcFace's cosine to the portrait (method.md §5); it needs the
weights from outside.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Float32, UInt8

from a2h_models.data_types import SIZE, UNIT
from a2h_models.evaluators.arcface import INPUT, ArcFace
from a2h_models.metrics.av_sync import EYE_CORNERS, MOUTH_CORNERS, NOSE

COLLAPSED = 0.1  # cosine below which it is nobody any more, or somebody else
LOW_PERCENTILE = 5.0
BATCH = 16  # faces at a time
INNER_EYE_CORNERS = (133, 362)  # of the face mesh, beside the outer ones of EYE_CORNERS
# Where a face's eyes, nose and mouth corners come to lie in 112×112 pixels (Deng et al. 2019): the
# published alignment
PLACES = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]], np.float32
)


class IdentitySimilarity(NamedTuple):
    """Cosines of a film's faces to the portrait's, of the frames that have a face."""

    mean: float  # -1 … 1
    low: float  # 5th percentile
    collapsed: float  # share below 0.1


def identity_similarity(cosines: Float[np.ndarray, " t"]) -> IdentitySimilarity:
    """Raises:
    ValueError: if there is none.
    """
    if not len(cosines):
        raise ValueError("no face to compare with the portrait")
    return IdentitySimilarity(
        float(cosines.mean()), float(np.percentile(cosines, LOW_PERCENTILE)), float((cosines < COLLAPSED).mean())
    )


@torch.inference_mode()
def identities(
    network: ArcFace,
    frames: UInt8[np.ndarray, "t h w 3"],
    landmarks: Float[np.ndarray, "t n d"],
    found: Bool[np.ndarray, " t"],
) -> Float32[np.ndarray, "f 512"]:
    """Unit vectors of the frames that have a face.

    Args:
        network: with the public weights.
        frames: square, RGB, of any size.
        landmarks: of the face mesh, in pixels of a 256×256 crop.
        found: which frames have a face.
    """
    device = next(network.parameters()).device
    faces = align(frames[found], landmarks[found]).to(device)
    vectors = [network(faces[start : start + BATCH]) for start in range(0, len(faces), BATCH)]
    return np.asarray(torch.cat(vectors).cpu().numpy()) if vectors else np.zeros((0, 512), np.float32)


def align(
    frames: UInt8[np.ndarray, "t h w 3"], landmarks: Float[np.ndarray, "t n d"]
) -> Float[torch.Tensor, "t 3 112 112"]:
    """Faces turned, scaled and moved so that eyes, nose and mouth lie where ArcFace expects them;
    RGB in [-1, 1].
    """
    left, right = (
        (landmarks[:, outer, :2] + landmarks[:, inner, :2]) / 2
        for outer, inner in zip(EYE_CORNERS, INNER_EYE_CORNERS, strict=True)
    )
    points = np.stack(
        [left, right, landmarks[:, NOSE, :2], *(landmarks[:, corner, :2] for corner in MOUTH_CORNERS)], axis=1
    )
    moves = np.stack(
        [_similarity(PLACES / INPUT * 2 - 1, face) for face in points.astype(np.float32) / SIZE * 2 - 1]
        or [np.zeros((2, 3))]
    )
    if not len(frames):
        return torch.zeros(0, 3, INPUT, INPUT)
    grid = F.affine_grid(
        torch.from_numpy(moves.astype(np.float32)), [len(frames), 3, INPUT, INPUT], align_corners=False
    )
    pictures = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float() * UNIT
    return 2 * F.grid_sample(pictures, grid, align_corners=False) - 1


def _similarity(start: Float[np.ndarray, "n 2"], end: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "2 3"]:
    """The rotation, scale and shift that takes points nearest to others, by least squares (Umeyama
    1991); points as complex numbers.
    """
    a, b = (points[:, 0] + 1j * points[:, 1] for points in (start, end))
    turn = np.vdot(a - a.mean(), b - b.mean()) / np.vdot(a - a.mean(), a - a.mean()).real
    shift = b.mean() - turn * a.mean()
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])
