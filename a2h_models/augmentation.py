"""What is changed at random in training images so that speech still fits them: colours, and which side is left where no pose is asked for.

Nothing is mirrored in time: a mouth that runs backwards belongs to no speech. Pairs of frames are drawn in either order already.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)  # of R, G, B (ITU-R BT.601)
YIQ = (LUMA, (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112))  # brightness, and the plane in which hue is an angle


def random_colours(count: int, strength: float, generator: torch.Generator) -> Float[Tensor, "b 3 4"]:
    """Colour changes, one for each item of a batch: brightness, contrast, saturation (factors 1 ± strength), hue (± strength of a turn).

    Each is a linear map of RGB in [0, 1] and, in its last column, what is added.
    """
    drawn = (2 * torch.rand(count, 4, generator=generator) - 1) * strength
    brightness, contrast, saturation = (1 + drawn[:, :3]).unbind(1)
    to_yiq = torch.tensor(YIQ)
    angle = 2 * math.pi * drawn[:, 3]
    turn = torch.zeros(count, 3, 3)
    turn[:, 0, 0] = 1
    turn[:, 1, 1] = turn[:, 2, 2] = saturation * angle.cos()
    turn[:, 1, 2], turn[:, 2, 1] = -saturation * angle.sin(), saturation * angle.sin()
    linear = torch.linalg.inv(to_yiq) @ turn @ to_yiq * (brightness * contrast)[:, None, None]
    added = ((1 - contrast) / 2)[:, None, None].expand(-1, 3, 1)
    return torch.cat([linear, added], dim=2)


def recolour(images: Float[Tensor, "b *t 3 h w"], colours: Float[Tensor, "b 3 4"]) -> Float[Tensor, "b *t 3 h w"]:
    """All images of an item are changed alike, and stay in [0, 1]."""
    colours = colours.to(images)
    added = colours[:, :, 3].reshape(len(images), *[1] * (images.ndim - 4), 3, 1, 1)
    return (torch.einsum("bij,b...jhw->b...ihw", colours[:, :, :3], images) + added).clamp(0, 1)


def mirrored(images: Float[Tensor, "b 3 h w"], which: Bool[Tensor, " b"]) -> Float[Tensor, "b 3 h w"]:
    """Left and right exchanged in those images."""
    return torch.where(which.to(images.device)[:, None, None, None], images.flip(-1), images)
