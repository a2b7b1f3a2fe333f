"""One picture: what a user gives as the portrait."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from a2h_models.errors import InputError

MAX_PIXELS = 100_000_000  # a larger picture is refused before memory is taken


def load_portrait(path: Path) -> UInt8[np.ndarray, "h w 3"]:
    """A picture file as RGB, turned upright as its EXIF data say; transparency lies on white, the first picture of an animation counts.

    Raises:
        InputError: if there is no such file, it is no picture, is damaged or has more than 100 million pixels.
    """
    from PIL import Image, ImageOps

    if not path.is_file():
        raise InputError(f"{path} is not a file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of a large picture; our own limit decides
            with Image.open(path) as picture:
                if picture.width * picture.height > MAX_PIXELS:
                    raise InputError(f"{path}: {picture.width}×{picture.height} pixels are too many", hint=f"at most {MAX_PIXELS:,}")
                upright = ImageOps.exif_transpose(picture).convert("RGBA")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{path} cannot be read as a picture ({error})", hint="give a PNG or JPEG") from None
    paper = Image.new("RGBA", upright.size, "white")
    return np.asarray(Image.alpha_composite(paper, upright).convert("RGB"))
