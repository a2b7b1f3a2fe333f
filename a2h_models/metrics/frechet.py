"""How far two sets of pictures or films are from each other as wholes: the Fréchet distance of
Gaussians around their features.

FID is that of Inception's features of frames (Heusel et al. 2017), FVD of I3D's of stretches of 16
frames (Unterthiner et al. 2018).
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64, UInt8

from a2h_models.evaluators.i3d import CLASSES, CLIP, I3D
from a2h_models.evaluators.inception import FEATURES, Inception

BATCH = 16  # frames at a time
ENOUGH = 2  # samples, for a covariance


class Moments:
    """Mean and covariance of samples that come piece by piece.

    Pieces in the same order give the same bits.
    """

    def __init__(self, dimensions: int) -> None:
        self.count = 0
        self._sum = np.zeros(dimensions)
        self._products = np.zeros((dimensions, dimensions))

    def add(self, samples: Float[np.ndarray, "n d"]) -> None:
        values = samples.astype(np.float64)
        self.count += len(values)
        self._sum += values.sum(axis=0)
        self._products += values.T @ values

    @property
    def mean(self) -> Float64[np.ndarray, " d"]:
        return np.asarray(self._sum / self.count)

    @property
    def covariance(self) -> Float64[np.ndarray, "d d"]:
        """Unbiased. Needs two samples."""
        return np.asarray((self._products - self.count * np.outer(self.mean, self.mean)) / (self.count - 1))


def frechet_distance(a: Moments, b: Moments) -> float:
    """|μa − μb|² + tr(Ca + Cb − 2 (Ca Cb)^½), ≥ 0; 0 for equal Gaussians (Dowson and Landau 1982).

    Raises:
        ValueError: if either has fewer than two samples.
    """
    if min(a.count, b.count) < ENOUGH:
        raise ValueError(f"{min(a.count, b.count)} samples have no covariance")
    return gaussian_distance(a.mean, a.covariance, b.mean, b.covariance)


def gaussian_distance(
    mean_a: Float64[np.ndarray, " d"],
    covariance_a: Float64[np.ndarray, "d d"],
    mean_b: Float64[np.ndarray, " d"],
    covariance_b: Float64[np.ndarray, "d d"],
) -> float:
    """The same for given Gaussians.

    The root's trace is that of (Ca^½ Cb Ca^½)^½, which is symmetric, so that no imaginary parts
    arise.
    """
    half = _root(covariance_a)
    overlap = np.sqrt(np.linalg.eigvalsh(half @ covariance_b @ half).clip(min=0)).sum()
    distance = np.square(mean_a - mean_b).sum() + np.trace(covariance_a) + np.trace(covariance_b) - 2 * overlap
    return float(max(distance, 0.0))


def _root(covariance: Float64[np.ndarray, "d d"]) -> Float64[np.ndarray, "d d"]:
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray((vectors * np.sqrt(values.clip(min=0))) @ vectors.T)


# ----------------------------------------------------------------------------------------- features
@torch.inference_mode()
def frame_features(network: Inception, frames: UInt8[np.ndarray, "t h w 3"]) -> Float32[np.ndarray, "t 2048"]:
    """Of every frame."""
    pictures = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2)
    device = next(network.parameters()).device
    found = [network(pictures[start : start + BATCH].to(device)).cpu() for start in range(0, len(pictures), BATCH)]
    return np.asarray(torch.cat(found or [torch.zeros(0, FEATURES)]).numpy())


@torch.inference_mode()
def video_features(network: I3D, frames: UInt8[np.ndarray, "t h w 3"]) -> Float32[np.ndarray, "n 400"]:
    """Of each stretch of 16 frames, one after the other; what is left at the end is left out."""
    device = next(network.parameters()).device
    films = torch.from_numpy(np.ascontiguousarray(frames)).permute(3, 0, 1, 2)
    found = [
        network(films[None, :, start : start + CLIP].to(device)).cpu()
        for start in range(0, len(frames) - CLIP + 1, CLIP)
    ]
    return np.asarray(torch.cat(found or [torch.zeros(0, CLASSES)]).numpy())
