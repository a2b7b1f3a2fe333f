"""One picture: what a user gives as the portrait."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

from a2h_models.errors import InputError

if TYPE_CHECKING:
    from PIL import Image

MAX_PIXELS = 100_000_000  # a larger picture is refused before memory is taken
WHITE, DEEP_WHITE = 255, 65_535  # of 8 and 16 bits


def load_portrait(path: Path) -> UInt8[np.ndarray, "h w 3"]:
    """A picture file as 8-bit RGB, turned upright as its EXIF data say; grey, CMYK, palettes and 16
    bits alike.

    Transparency lies on white; of an animation the first picture counts.

    Raises:
        InputError: if there is no such file, it is no picture, is damaged or has more than 100
            million pixels.
    """
    from PIL import Image, ImageOps

    if not path.is_file():
        raise InputError(f"{path} is not a file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of a large picture; our own limit decides
            with Image.open(path) as picture:
                if picture.width * picture.height > MAX_PIXELS:
                    raise InputError(
                        f"{path}: {picture.width}×{picture.height} pixels are too many", hint=f"at most {MAX_PIXELS:,}"
                    )
                upright = _eight_bits(ImageOps.exif_transpose(picture))
                if not upright.has_transparency_data:
                    return np.asarray(upright.convert("RGB"))
                upright = upright.convert("RGBA")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{path} cannot be read as a picture ({error})", hint="give a PNG or JPEG") from None
    paper = Image.new("RGBA", upright.size, "white")
    return np.asarray(Image.alpha_composite(paper, upright).convert("RGB"))


def _eight_bits(picture: Image.Image) -> Image.Image:
    """Grey of 16 or 32 bits, which Pillow would cut off at 255 instead of scaling it."""
    from PIL import Image

    if not picture.mode.startswith(("I", "F")):
        return picture
    values = np.nan_to_num(np.asarray(picture, np.float64))
    span = DEEP_WHITE if values.max(initial=0) > WHITE else WHITE
    return Image.fromarray((values.clip(0, span) / span * WHITE).round().astype(np.uint8))
