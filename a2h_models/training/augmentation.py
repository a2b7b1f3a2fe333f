"""What is changed at random in training, so that speech still fits: colours, and which side is left
where no pose is asked for; and voices.

Nothing is mirrored in time: a mouth that runs backwards belongs to no speech. Pairs of frames are
drawn in either order already.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from a2h_models.data_types import SPEECH_DIM

LUMA = (0.299, 0.587, 0.114)  # of R, G, B (ITU-R BT.601)
# brightness, and the plane in which hue is an angle
YIQ = (LUMA, (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112))


def random_color_jitter(count: int, strength: float, generator: torch.Generator) -> Float[Tensor, "b 3 4"]:
    """Colour changes, one for each item of a batch: brightness, contrast, saturation (factors 1 ±
    strength), hue (± strength of a turn).

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


def color_jitter(images: Float[Tensor, "b *t 3 h w"], colours: Float[Tensor, "b 3 4"]) -> Float[Tensor, "b *t 3 h w"]:
    """All images of an item are changed alike, and stay in [0, 1]."""
    colours = colours.to(images)
    added = colours[:, :, 3].reshape(len(images), *[1] * (images.ndim - 4), 3, 1, 1)
    return (torch.einsum("bij,b...jhw->b...ihw", colours[:, :, :3], images) + added).clamp(0, 1)


def horizontal_flip(images: Float[Tensor, "b 3 h w"], which: Bool[Tensor, " b"]) -> Float[Tensor, "b 3 h w"]:
    """Left and right exchanged in those images."""
    return torch.where(which.to(images.device)[:, None, None, None], images.flip(-1), images)


def random_speech_jitter(count: int, strength: float, generator: torch.Generator) -> Float[Tensor, "b 42"]:
    """Changes of voice, one for each item of a batch: what is added to each of the 41 features, in
    that feature's standard deviations (normal, spread `strength`), and by which factor all of them
    vary (1 ± strength).
    """
    added = strength * torch.randn(count, SPEECH_DIM, generator=generator)
    factor = 1 + strength * (2 * torch.rand(count, 1, generator=generator) - 1)
    return torch.cat([added, factor], dim=1)


def speech_feature_jitter(
    speech: Float[Tensor, "b t 4 41"], voices: Float[Tensor, "b 42"]
) -> Float[Tensor, "b t 4 41"]:
    """The same words at the same time as if somebody else said them somewhere else: all frames of
    an item are changed alike.
    """
    spread, mean = torch.std_mean(speech, dim=(1, 2), keepdim=True)
    changes = voices.to(speech)[:, None, None]
    return mean + (speech - mean) * changes[..., SPEECH_DIM:] + spread * changes[..., :SPEECH_DIM]
