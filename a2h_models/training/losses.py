"""Losses: functions of tensors (method.md §4).

Weights are config, and the weighted sum is made in one place, `total`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from a2h_models.errors import ConfigError
from a2h_models.features.keypoints import Keypoints, invert, no_autocast
from a2h_models.networks.blocks import blur_down, gaussian_kernel
from a2h_models.networks.perceptual import Vgg19
from a2h_models.training.equivariance import Transform

SSIM_WINDOW, SSIM_SIGMA = 11, 1.5  # rows or frames, of the Gaussian window
SSIM_K1, SSIM_K2 = 0.01, 0.03  # Wang et al. 2004
POSE_RANGE = 2.0  # of a normalised pose, -1 … 1
STILL = 0.01  # standard deviation of a normalised pose below which a head counts as still: 0.3 degrees, 1 mm

Scalar = Float[Tensor, ""]


def total(terms: Mapping[str, Scalar], weights: Mapping[str, float]) -> Scalar:
    """The one weighted sum. A weight of 0 leaves its term out.

    Raises:
        ConfigError: for a term without a weight, a weight below 0, or when nothing is left to learn
            from.
    """
    if missing := sorted(terms.keys() - weights.keys()):
        raise ConfigError(
            f"loss terms without a weight: {', '.join(missing)}", hint="give each a weight; 0 leaves it out"
        )
    if rewarded := sorted(name for name in terms if not weights[name] >= 0):
        given = ", ".join(f"{name}={weights[name]:g}" for name in rewarded)
        raise ConfigError(f"a loss term's weight is 0 or more: {given}", hint="0 leaves a term out")
    weighted = [weights[name] * term for name, term in terms.items() if weights[name] != 0]
    if not weighted:
        raise ConfigError(f"every loss term has the weight 0: {', '.join(sorted(terms))}")
    return torch.stack(weighted).sum()


# ------------------------------------------------------------------------------------------- images
def image_pyramid(image: Float[Tensor, "b c h w"], scales: Sequence[float]) -> list[Tensor]:
    """The image at each scale 1/n, blurred and strided.

    Raises:
        ConfigError: for a scale that is not one over a whole number.
    """
    factors = [round(1 / scale) for scale in scales]
    for scale, factor in zip(scales, factors, strict=True):
        if abs(scale * factor - 1) > 1e-6:  # noqa: PLR2004 (rounding of a decimal fraction)
            raise ConfigError(
                f"pyramid holds {scale}, which is not one over a whole number", hint="for example 1, 0.5, 0.25, 0.125"
            )
    return [blur_down(image, gaussian_kernel(factor).to(image.device), factor) for factor in factors]


def pyramid_l1(made: Float[Tensor, "b c h w"], true: Float[Tensor, "b c h w"], scales: Sequence[float]) -> Scalar:
    """Mean absolute difference, averaged over the scales: stands in for `perceptual` where VGG-19
    is not at hand.
    """
    pairs = zip(image_pyramid(made, scales), image_pyramid(true, scales), strict=True)
    return torch.stack([F.l1_loss(a, b) for a, b in pairs]).mean()


def perceptual(
    vgg: Vgg19, made: Float[Tensor, "b 3 h w"], true: Float[Tensor, "b 3 h w"], scales: Sequence[float]
) -> Scalar:
    """L1 of VGG-19's features, summed over five layers and the scales (FOMM).

    Images are RGB in [0, 1].
    """
    terms = []
    for a, b in zip(image_pyramid(made, scales), image_pyramid(true, scales), strict=True):
        with torch.no_grad():
            wanted = vgg(b)
        terms += [F.l1_loss(have, want) for have, want in zip(vgg(a), wanted, strict=True)]
    return torch.stack(terms).sum()


# --------------------------------------------------------------------------------------------- time
def contrastive_in_time(likeness: Float[Tensor, "b t t"], reach: int) -> Scalar:
    """Cross-entropy of finding, among the frames within ± reach, the one that belongs to each; both
    ways (after InfoNCE).

    Args:
        likeness: of each frame of one kind (down) with each frame of the other (across), scaled for
            a softmax.
        reach: frames; what is farther off counts for nothing.
    """
    place = torch.arange(likeness.shape[1], device=likeness.device)
    far = (place[:, None] - place[None]).abs() > reach
    near = likeness.masked_fill(far, -torch.inf)
    target = place.expand(len(likeness), -1)
    return (F.cross_entropy(near.transpose(1, 2), target) + F.cross_entropy(near, target)) / 2


# -------------------------------------------------------------------------------------- adversarial
def lsgan_discriminator(true: Float[Tensor, "*p"], made: Float[Tensor, "*p"]) -> Scalar:
    """Least squares: true patches to 1, made ones (detached by the caller) to 0."""
    return (true - 1).square().mean() + made.square().mean()


def lsgan_generator(made: Float[Tensor, "*p"]) -> Scalar:
    """Least squares: have made patches taken for true ones."""
    return (made - 1).square().mean()


def feature_matching(true: Sequence[Tensor], made: Sequence[Tensor]) -> Scalar:
    """L1 of a discriminator's features, summed over its layers; the true image's are the target."""
    return torch.stack([F.l1_loss(b, a.detach()) for a, b in zip(true, made, strict=True)]).sum()


# -------------------------------------------------------------------------------------------- poses
def ssim_over_time(
    made: Float[Tensor, "b t 6"], true: Float[Tensor, "b t 6"], *, data_range: float = POSE_RANGE
) -> Scalar:
    """1 − SSIM of the normalised pose sequences, each taken as a 6×T image (StyleTalk++); 0 where
    they are equal.

    Unlike a pointwise loss it rewards moving as much as the truth does, not standing still at its
    mean (method.md §4).
    """
    window = _gaussian_window(made)
    images = [x.transpose(1, 2).unsqueeze(1) for x in (made, true)]
    a, b = images
    mean_a, mean_b = _smooth(a, window), _smooth(b, window)
    var_a = _smooth(a * a, window) - mean_a.square()
    var_b = _smooth(b * b, window) - mean_b.square()
    covariance = _smooth(a * b, window) - mean_a * mean_b
    c1, c2 = (SSIM_K1 * data_range) ** 2, (SSIM_K2 * data_range) ** 2
    luminance = (2 * mean_a * mean_b + c1) / (mean_a.square() + mean_b.square() + c1)
    structure = (2 * covariance + c2) / (var_a + var_b + c2)
    return 1 - (luminance * structure).mean()


def global_variance(made: Float[Tensor, "b t 6"], true: Float[Tensor, "b t 6"]) -> Scalar:
    """How far the spread over time is from the truth's, after Toda and Tokuda 2007: mean |½ ln((v +
    s²) / (v* + s²))|.

    v and v* are the variances over time of one sequence in one dimension, s is `STILL`; 0 where
    both are equal, ln 2 where one head moves half or twice as widely as the other. It answers
    over-smoothing: what is predicted from little is drawn to its mean. It says nothing of when and
    where a head moves, so it stands beside losses that do.
    """
    spreads = [x.var(dim=1, correction=0) + STILL**2 for x in (made, true)]
    return (spreads[0] / spreads[1]).log().abs().mean() / 2


def spread_between_identities(made: Float[Tensor, "b t 6"], true: Float[Tensor, "b t 6"]) -> Scalar:
    """How far the spreads of some sequences are, as a whole, from those of others that need not
    belong to them.

    Mean squared difference of the standard deviations over time, the narrowest of the one beside
    the narrowest of the other, and so on, in each dimension by itself: the squared Wasserstein
    distance of two samples. 0 where they are the same in any order. Unlike an L1 of logarithms it
    aims at the mean of the true spreads, not at their median.
    """
    a, b = (x.std(dim=1, correction=0).sort(dim=0).values for x in (made, true))
    return F.mse_loss(a, b)


def _gaussian_window(like: Tensor) -> Float[Tensor, "1 1 n n"]:
    offset = torch.arange(SSIM_WINDOW, device=like.device, dtype=like.dtype) - SSIM_WINDOW // 2
    line = torch.exp(-offset.square() / (2 * SSIM_SIGMA**2))
    square = torch.outer(line, line)
    return (square / square.sum())[None, None]


def _smooth(image: Float[Tensor, "b 1 h w"], window: Float[Tensor, "1 1 n n"]) -> Float[Tensor, "b 1 h w"]:
    """Local means; the edge repeats, for six rows are fewer than the window has."""
    return F.conv2d(F.pad(image, [SSIM_WINDOW // 2] * 4, mode="replicate"), window)


# ---------------------------------------------------------------------------------------- keypoints
def equivariance_value(driving: Keypoints, transformed: Keypoints, transform: Transform) -> Scalar:
    """Keypoints of a transformed image, taken back, should lie where those of the image lie."""
    return F.l1_loss(transform.warp(transformed.value), driving.value)


def equivariance_jacobian(driving: Keypoints, transformed: Keypoints, transform: Transform) -> Scalar:
    """The same for the Jacobians, as the distance of J⁻¹ · J′ from the identity, which no common
    scale can shrink (FOMM).
    """
    with no_autocast(driving.value):
        taken_back = transform.jacobian(transformed.value) @ transformed.jacobian
        product = invert(driving.jacobian) @ taken_back
    return F.l1_loss(product, torch.eye(2, device=product.device, dtype=product.dtype).expand_as(product))
