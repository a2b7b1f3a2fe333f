"""Head pose: 3 rotations (rad, a Rodrigues vector) and 3 translations (mm-like), seen by one fixed
camera.

The camera is OpenFace's default for a 256×256 image, because the authors ran OpenFace on the crops
(method.md §2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np
from jaxtyping import Float, UInt8

from a2h_models.data_types import SIZE

if TYPE_CHECKING:
    from torch import Tensor

FOCAL = 233.333  # pixels of the 256×256 crop
CENTRE = 128.0  # pixels, x and y
POSE_MIN = (-0.639, -0.501, -0.47, -102.6, -32.5, 184.6)  # what the networks' -1 stands for
POSE_MAX = (0.411, 0.547, 0.433, 159.1, 116.5, 376.5)  # what the networks' +1 stands for

NEAR_SIDE, NEAR_Z = 75, 0  # half the side of the box's first square, and its depth
FAR_SIDE, FAR_Z = 100, 100
LINE_PX = 2  # at 256×256
WHITE = 255
MAX_PX = 32_000  # what is drawn is clipped to this, so that a point near the camera's plane cannot overflow

Array = TypeVar("Array", np.ndarray, "Tensor")


def _limits(like: Array) -> tuple[Array, Array]:
    if isinstance(like, np.ndarray):
        return np.asarray(POSE_MIN, dtype=np.float32), np.asarray(POSE_MAX, dtype=np.float32)
    return like.new_tensor(POSE_MIN), like.new_tensor(POSE_MAX)


def normalise(pose: Array) -> Array:
    """(…, 6) in rad and mm-like → the networks' range, about [-1, 1]; nothing is clipped, so it
    inverts.
    """
    low, high = _limits(pose)
    scaled: Array = (pose - low) / (high - low) * 2 - 1
    return scaled


def denormalise(pose: Array) -> Array:
    """(…, 6) in the networks' range → rad and mm-like."""
    low, high = _limits(pose)
    scaled: Array = (pose + 1) / 2 * (high - low) + low
    return scaled


def project(
    points: Float[np.ndarray, "n 3"], pose: Float[np.ndarray, " 6"], *, size: int = SIZE
) -> Float[np.ndarray, "n 2"]:
    """Pixels, x then y, of points of the head's own frame, in a crop of `size` pixels a side."""
    import cv2

    scale = size / SIZE
    camera = np.array([[FOCAL * scale, 0, CENTRE * scale], [0, FOCAL * scale, CENTRE * scale], [0, 0, 1]])
    rotation, translation = np.asarray(pose[:3], np.float64), np.asarray(pose[3:], np.float64)
    found, _ = cv2.projectPoints(np.asarray(points, np.float64), rotation, translation, camera, None)
    pixels: np.ndarray = found.reshape(-1, 2)
    return pixels


def _square(side: int, z: int) -> list[tuple[int, int, int]]:
    """A closed square, as the release's polyline walks it."""
    return [(-side, -side, z), (-side, side, z), (side, side, z), (side, -side, z), (-side, -side, z)]


BOX = np.array(_square(NEAR_SIDE, NEAR_Z) + _square(FAR_SIDE, FAR_Z), dtype=np.float64)  # (10, 3)
BOX_EDGES = (*((corner, (corner + 1) % len(BOX)) for corner in range(len(BOX))), (1, 6), (2, 7), (3, 8))


def draw_boxes(pose: Float[np.ndarray, "t 6"], size: int = SIZE) -> UInt8[np.ndarray, "t size size"]:
    """The release's picture of each pose: a 3-D box, white on black.

    Only 0 and 255 occur: the release asks for anti-aliased lines, but draws on floats, where OpenCV
    does not smooth.
    """
    return np.stack([_draw_box(one, size) for one in pose]) if len(pose) else np.zeros((0, size, size), np.uint8)


def _draw_box(pose: Float[np.ndarray, " 6"], size: int) -> UInt8[np.ndarray, "size size"]:
    import cv2

    image = np.zeros((size, size), np.uint8)
    width = max(1, round(LINE_PX * size / SIZE))
    # OpenCV 4.13, which drew the reference, clips thick lines to this rectangle before it fills
    # them; 4.12 and older do not, and draw
    # lines that leave the picture a pixel aside. Clipping here gives the same picture with all of
    # them.
    frame = (-width, -width, size + 2 * width, size + 2 * width)
    # truncated, as the release
    corners = np.clip(np.nan_to_num(project(BOX, pose, size=size)), -MAX_PX, MAX_PX).astype(np.int32).tolist()
    for start, end in BOX_EDGES:
        inside, a, b = cv2.clipLine(frame, corners[start], corners[end])
        if inside:
            cv2.line(image, a, b, WHITE, width, cv2.LINE_8)
    return image


def box_tensor(pose: Float[np.ndarray, "t 6"], size: int = SIZE) -> Float[Tensor, "t 1 size size"]:
    """The box images as the motion field takes them: float, still 0..255."""
    import torch

    return torch.from_numpy(draw_boxes(pose, size)).float().unsqueeze(1)
