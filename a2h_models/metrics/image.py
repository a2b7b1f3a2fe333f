"""How alike two films are, frame by frame.

All functions take RGB bytes and return one number a frame.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, UInt8
from torch import Tensor

Frames = UInt8[np.ndarray, "t h w 3"]

WHITE = 255.0
MAX_PSNR = 100.0  # dB; what two equal frames get, so that means stay finite
SSIM_WINDOW, SSIM_SIGMA = 11, 1.5  # of Wang et al. 2004, and of everybody since
SSIM_K1, SSIM_K2 = 0.01, 0.03
# of the five scales, finest first (Wang, Simoncelli and Bovik 2003)
MS_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
MS_SMALLEST = SSIM_WINDOW * 2 ** (len(MS_WEIGHTS) - 1)  # pixels a side, below which the coarsest scale holds no window
BATCH = 16  # frames whose windows are in memory at a time


def psnr(prediction: Frames, truth: Frames) -> Float32[np.ndarray, " t"]:
    """Peak signal-to-noise ratio in dB: 10 log10(255² / mean squared difference). 0 … 100; higher
    is better.

    Raises:
        ValueError: if the films differ in shape.
    """
    check_same_shape(prediction, truth)
    error = np.array(
        [np.mean((a.astype(np.float32) - b.astype(np.float32)) ** 2) for a, b in zip(prediction, truth, strict=True)]
    )
    floor = WHITE**2 / 10 ** (MAX_PSNR / 10) / 2  # a little below the cap, which keeps zero out of the logarithm
    return np.asarray(np.minimum(10 * np.log10(WHITE**2 / np.maximum(error, floor)), MAX_PSNR), dtype=np.float32)


def l1(prediction: Frames, truth: Frames) -> Float32[np.ndarray, " t"]:
    """Mean absolute difference of pixels in [0, 1]. 0 … 1; lower is better.

    Raises:
        ValueError: if the films differ in shape.
    """
    check_same_shape(prediction, truth)
    return np.array(
        [
            np.mean(np.abs(a.astype(np.float32) - b.astype(np.float32))) / WHITE
            for a, b in zip(prediction, truth, strict=True)
        ],
        dtype=np.float32,
    )


def ssim(prediction: Frames, truth: Frames) -> Float32[np.ndarray, " t"]:
    """Structural similarity (Wang et al. 2004): Gaussian window 11×11, σ 1.5, whole windows only,
    mean over pixels and colours.

    -1 … 1; higher is better, 1 for equal frames.

    Raises:
        ValueError: if the films differ in shape, or are smaller than a window.
    """
    check_same_shape(prediction, truth)
    if min(prediction.shape[1:3]) < SSIM_WINDOW:
        raise ValueError(
            f"frames of {prediction.shape[2]}×{prediction.shape[1]} pixels are smaller than a window of {SSIM_WINDOW}"
        )
    batches = [slice(start, start + BATCH) for start in range(0, len(prediction), BATCH)]
    values = [_ssim(as_tensor(prediction[batch]), as_tensor(truth[batch])) for batch in batches]
    return np.concatenate([value.numpy() for value in values]) if values else np.zeros(0, np.float32)


def ms_ssim(prediction: Frames, truth: Frames) -> Float32[np.ndarray, " t"]:
    """SSIM at five scales, each half of the one before: the contrasts of all times the brightness
    of the coarsest. 0 … 1; higher is better.

    A scale whose contrasts are negative counts as 0: the power of a negative number is none.

    Raises:
        ValueError: if the films differ in shape, or are smaller than MS_SMALLEST.
    """
    check_same_shape(prediction, truth)
    if min(prediction.shape[1:3]) < MS_SMALLEST:
        raise ValueError(
            f"frames of {prediction.shape[2]}×{prediction.shape[1]} pixels are smaller than {MS_SMALLEST}, which MS-SSIM needs"
        )
    batches = [slice(start, start + BATCH) for start in range(0, len(prediction), BATCH)]
    values = [_ms_ssim(as_tensor(prediction[batch]), as_tensor(truth[batch])) for batch in batches]
    return np.concatenate([value.numpy() for value in values]) if values else np.zeros(0, np.float32)


def _ms_ssim(prediction: Tensor, truth: Tensor) -> Tensor:
    """(b, 3, h, w) in [0, 1] → (b,)."""
    product = torch.ones(len(prediction))
    for weight in MS_WEIGHTS[:-1]:
        _, structure = _likeness(prediction, truth)
        product = product * structure.clamp(min=0) ** weight
        prediction, truth = F.avg_pool2d(prediction, 2), F.avg_pool2d(truth, 2)
    return product * _ssim(prediction, truth).clamp(min=0) ** MS_WEIGHTS[-1]


def _ssim(prediction: Tensor, truth: Tensor) -> Tensor:
    """(b, 3, h, w) in [0, 1] → (b,)."""
    return _likeness(prediction, truth)[0]


def _likeness(prediction: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """(b, 3, h, w) in [0, 1] → of brightness and structure together, and of structure alone, both
    (b,).
    """
    mean_p, mean_t = _blur(prediction), _blur(truth)
    variance_p = _blur(prediction * prediction) - mean_p * mean_p
    variance_t = _blur(truth * truth) - mean_t * mean_t
    covariance = _blur(prediction * truth) - mean_p * mean_t
    c1, c2 = SSIM_K1**2, SSIM_K2**2
    light = (2 * mean_p * mean_t + c1) / (mean_p * mean_p + mean_t * mean_t + c1)
    structure = (2 * covariance + c2) / (variance_p + variance_t + c2)
    return (light * structure).mean(dim=(1, 2, 3)), structure.mean(dim=(1, 2, 3))


def _blur(image: Tensor) -> Tensor:
    """Gaussian mean around each pixel that has a whole window: rows, then columns."""
    channels = image.shape[1]
    offsets = torch.arange(SSIM_WINDOW, dtype=image.dtype) - SSIM_WINDOW // 2
    taps = torch.exp(-(offsets**2) / (2 * SSIM_SIGMA**2))
    kernel = (taps / taps.sum()).expand(channels, 1, 1, SSIM_WINDOW)
    rows = F.conv2d(image, kernel, groups=channels)
    return F.conv2d(rows, kernel.transpose(2, 3), groups=channels)


def as_tensor(frames: Frames) -> Float[Tensor, "t 3 h w"]:
    """RGB bytes → [0, 1], channels first."""
    return torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float() / WHITE


def check_same_shape(prediction: Frames, truth: Frames) -> None:
    """Raises:
    ValueError: naming both shapes, if they differ.
    """
    if prediction.shape != truth.shape:
        raise ValueError(f"films of shapes {prediction.shape} and {truth.shape} cannot be compared")
