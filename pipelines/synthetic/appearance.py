"""Sample how a synthetic speaker looks.

The photographed head is recoloured, mirrored and stretched, in front of a still background.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64, UInt8

from a2h_models.features.head_pose import FOCAL
from pipelines.synthetic import photo_regions
from pipelines.synthetic.head import BOTTOM, LEFT, RIGHT, TEXTURE, TOP, Head, Map

# Factors on red, green and blue; (1, 1, 1) are the photograph's own tones
SKINS = (
    (1.0, 1.0, 1.0),
    (0.82, 0.74, 0.66),
    (0.56, 0.46, 0.38),
    (0.92, 0.83, 0.7),
    (1.05, 1.0, 0.98),
    (0.7, 0.58, 0.47),
)
HAIRS = ((1.0, 1.0, 1.0), (0.35, 0.32, 0.33), (0.75, 0.5, 0.35), (1.35, 1.25, 1.0), (0.2, 0.2, 0.22), (1.15, 1.2, 1.3))
BACKGROUNDS = ("photo", "plain", "rooms")
HUES = 180  # OpenCV's hue counts in so many steps
CLOTH_SATURATION = 110  # a pixel of the body above it is cloth
NECK_SHADE = 0.85  # brightness of the neck under the chin
CLOTH_COLOUR = 0.55  # factor on the saturation of the photographed orange suit
STRETCH = 0.06  # largest change of width, height or depth, as a share
PLATE_BLUR = 9  # pixels: the background is out of focus


@dataclass(frozen=True, kw_only=True)
class Appearance:
    """How one synthetic speaker looks."""

    head: Head
    stretch: Float64[np.ndarray, 3]  # factors on width, height and depth
    mirrored: bool
    texture: Float32[np.ndarray, "h w 3"]  # of the moving head, 0 to 255
    plate: UInt8[np.ndarray, "512 512 3"]  # the photograph without its head


def sample_appearance(head: Head, rng: np.random.Generator, background: str) -> Appearance:
    """Sample a speaker in front of one of BACKGROUNDS."""
    skin = np.array(SKINS[rng.integers(len(SKINS))]) * rng.uniform(0.95, 1.05, 3)
    hair = np.array(HAIRS[rng.integers(len(HAIRS))]) * rng.uniform(0.92, 1.08, 3)
    hue = int(rng.integers(HUES))
    return Appearance(
        head=head,
        stretch=rng.uniform(1 - STRETCH, 1 + STRETCH, 3),
        mirrored=bool(rng.integers(2)),
        texture=_texture(head, skin, hair),
        plate=_plate(head, skin, hue, background, rng),
    )


def _texture(head: Head, skin: Float64[np.ndarray, 3], hair: Float64[np.ndarray, 3]) -> Float32[np.ndarray, "h w 3"]:
    """Enlarge the head's part of the photograph and recolour skin and hair, not eyes and teeth."""
    import cv2

    region = head.photo[TOP:BOTTOM, LEFT:RIGHT]
    enlarged = cv2.resize(region, None, fx=TEXTURE, fy=TEXTURE, interpolation=cv2.INTER_CUBIC).astype(np.float32)
    hair_share, white = head.hair[..., None], head.white[..., None]
    tint = (skin * (1 - hair_share) + hair * hair_share) * (1 - white) + white
    return np.asarray((enlarged * tint).clip(0, 255), np.float32)


def _plate(
    head: Head, skin: Float64[np.ndarray, 3], hue: int, background: str, rng: np.random.Generator
) -> UInt8[np.ndarray, "512 512 3"]:
    """Return body and background without the head; the wall and the neck are filled in."""
    behind = _background(head.photo, background, rng)
    neck = _polygon(photo_regions.NECK)[..., None]
    plate = behind * (1 - neck) + _neck_colour(head.photo) * skin * neck
    body = _polygon(photo_regions.BODY)[..., None] * (1 - _hidden()[..., None])
    plate = plate * (1 - body) + _dyed(head.photo, hue) * body
    return np.asarray(plate.clip(0, 255).round(), np.uint8)


def _neck_colour(photo: UInt8[np.ndarray, "512 512 3"]) -> Float64[np.ndarray, 3]:
    """Return the colour of the skin in the shadow of the chin."""
    left, right = photo_regions.NECK_SKIN
    return np.asarray(photo[photo_regions.NECK_ROW, left:right].mean(axis=0) * NECK_SHADE)


def _hidden() -> Map:
    """Return where the photographed neck covered the body."""
    return _polygon(photo_regions.NECK)


def _background(
    photo: UInt8[np.ndarray, "512 512 3"], kind: str, rng: np.random.Generator
) -> Float32[np.ndarray, "512 512 3"]:
    import cv2

    if kind == "photo":
        hole = (
            _polygon(photo_regions.HAIR, grow=9)
            + _polygon(photo_regions.NECK, grow=9)
            + _polygon(photo_regions.BODY, grow=3)
            > 0
        ).astype(np.uint8)
        small = cv2.resize(
            photo, (128, 128), interpolation=cv2.INTER_AREA
        )  # a large hole is filled better at a low resolution
        filled = cv2.inpaint(small, cv2.resize(hole, (128, 128), interpolation=cv2.INTER_NEAREST), 3, cv2.INPAINT_TELEA)
        wide = cv2.GaussianBlur(cv2.resize(filled, photo.shape[1::-1], interpolation=cv2.INTER_CUBIC), (0, 0), 4)
        return np.where(hole[..., None] > 0, wide, photo).astype(np.float32)
    cells = (2, 2) if kind == "plain" else (9, 7)
    colour = rng.uniform(50, 200) + rng.normal(0, 22, 3)
    light = rng.normal(0, 8 if kind == "plain" else 26, (*cells, 1))
    tones = np.clip(colour + light + rng.normal(0, 7, (*cells, 3)), 5, 250).astype(np.float32)
    interpolation = cv2.INTER_CUBIC if kind == "plain" else cv2.INTER_NEAREST
    blocks = cv2.resize(tones, photo.shape[1::-1], interpolation=interpolation)
    return np.asarray(cv2.GaussianBlur(blocks, (0, 0), PLATE_BLUR))


def _dyed(photo: UInt8[np.ndarray, "512 512 3"], hue: int) -> Float32[np.ndarray, "512 512 3"]:
    """Return the photograph with its coloured cloth in another hue."""
    import cv2

    tones = cv2.cvtColor(photo, cv2.COLOR_RGB2HSV)
    cloth = tones[..., 1] > CLOTH_SATURATION
    tones[..., 0] = np.where(cloth, (tones[..., 0].astype(int) + hue) % HUES, tones[..., 0])
    tones[..., 1] = np.where(cloth, tones[..., 1] * CLOTH_COLOUR, tones[..., 1])
    return np.asarray(cv2.cvtColor(tones, cv2.COLOR_HSV2RGB), np.float32)


def _polygon(points: tuple[tuple[int, int], ...], grow: int = 0) -> Map:
    """Fill a polygon of the photograph, 0 to 1, with a soft edge.

    If grown by a number of pixels, it has a hard edge.
    """
    import cv2

    filled = np.zeros((512, 512), np.float32)
    cv2.fillPoly(filled, [np.array(points, np.int32)], 1.0)
    if grow:
        return np.asarray(cv2.dilate(filled, np.ones((3, 3), np.uint8), iterations=grow), np.float32)
    return np.asarray(cv2.GaussianBlur(filled, (0, 0), 0.7), np.float32)


def plate_to_frame(
    head: Head, rest: Float64[np.ndarray, 6], scale: float, centre: tuple[float, float]
) -> Float64[np.ndarray, "2 3"]:
    """Return the affine map photograph → frame by which the body fits the head at rest."""
    size = head.mm * FOCAL * scale / rest[5]
    x, y = (FOCAL * scale * rest[3 + axis] / rest[5] + centre[axis] for axis in (0, 1))
    return np.array([[size, 0, x - size * head.origin[0]], [0, size, y - size * head.origin[1]]])
