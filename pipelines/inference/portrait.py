"""Find the face in a picture, crop it as clips are cropped, and paste generated frames back."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32, UInt8

from a2h_models.data_types import SIZE
from a2h_models.errors import ConfigError, InputError
from pipelines.config import GenerateConfig

if TYPE_CHECKING:
    from pipelines.face.face_mesh import Box, Square

PREPROCESS_MODES = ("crop", "resize", "full")  # the values of SadTalker's --preprocess
# Side of a portrait's crop / side of its face box. Clips are cropped around the union of all their
# face boxes, so the face is smaller in the crop than its own box would make it. Over 37 real clips
# the face is 0.583 of the crop high; on their first frames it is 0.641 at 1.6 and 0.587 at 1.8.
PORTRAIT_SCALE = 1.82
MIN_FACE_PX = 48.0  # side of a face box in the picture; a smaller face shows less than the networks can generate
SEAM_SHARE = 0.12  # width of the blend between frame and picture / side of the square


@dataclass(frozen=True)
class Portrait:
    """The crop for the networks, and where in the picture it came from."""

    crop: UInt8[np.ndarray, "256 256 3"]
    picture: UInt8[np.ndarray, "h w 3"] | None = None  # frames are pasted into it; None: frames stay as they are
    square: Square | None = None

    def place_frames(self, batches: Iterable[UInt8[np.ndarray, "n s s 3"]]) -> Iterator[UInt8[np.ndarray, "n h w 3"]]:
        """Yield the frames as generated, or pasted into the picture."""
        if self.picture is None or self.square is None:
            yield from batches
            return
        for batch in batches:
            yield np.stack([paste_back(frame, self.picture, self.square) for frame in batch])


def fit_portrait(picture: UInt8[np.ndarray, "h w 3"], config: GenerateConfig, *, name: str) -> Portrait:
    """Turn a picture into a portrait as `config.preprocess` says.

    `crop` cuts out the face, `resize` takes the picture as it is, and `full` cuts out the face and
    pastes the frames back into the picture.

    Raises:
        InputError: if there is no face, the face is too small, or there is no face of the number
            asked for; if a picture for `resize` is not square.
        ConfigError: for another mode.
    """
    if config.preprocess not in PREPROCESS_MODES:
        raise ConfigError(
            f"generate.preprocess={config.preprocess} does not exist", hint=f"one of: {', '.join(PREPROCESS_MODES)}"
        )
    if config.preprocess == "resize":
        return Portrait(resize_square(picture, name=name))
    if config.preprocess == "crop":
        return Portrait(crop_to_face(picture, name=name, face=config.face))
    _require_mediapipe(name)
    from pipelines.face.face_mesh import cut_square

    limited = limit_size(picture, config.max_side)
    square = _face_square(limited, name=name, face=config.face)
    return Portrait(cut_square(limited, square), limited, square)


def crop_to_face(picture: UInt8[np.ndarray, "h w 3"], *, name: str, face: int = 0) -> UInt8[np.ndarray, "256 256 3"]:
    """Crop a picture to its face, with the margin that clips have.

    Without MediaPipe, a picture of 256×256 pixels is taken for a finished crop.

    Raises:
        InputError: if there is no such face, or MediaPipe is needed and missing.
    """
    if importlib.util.find_spec("mediapipe") is None and picture.shape[:2] == (SIZE, SIZE):
        return picture
    _require_mediapipe(f"{name} is not {SIZE}×{SIZE} pixels, and finding the face in it")
    from pipelines.face.face_mesh import cut_square

    return cut_square(picture, _face_square(picture, name=name, face=face))


def resize_square(picture: UInt8[np.ndarray, "h w 3"], *, name: str) -> UInt8[np.ndarray, "256 256 3"]:
    """Resize a square picture, which is a crop already, to the networks' size.

    Raises:
        InputError: if it is not square.
    """
    import cv2

    height, width = picture.shape[:2]
    if height != width:
        raise InputError(
            f"{name} is {width}×{height} pixels, and generate.preprocess=resize takes a square",
            hint="leave preprocess=crop",
        )
    return np.asarray(cv2.resize(picture, (SIZE, SIZE), interpolation=cv2.INTER_AREA))


def limit_size(picture: UInt8[np.ndarray, "h w 3"], max_side: int) -> UInt8[np.ndarray, "h2 w2 3"]:
    """Shrink a picture to sides of at most `max_side`, and to even ones, as H.264 requires."""
    import cv2

    height, width = picture.shape[:2]
    scale = min(1.0, max_side / max(height, width))
    size = (max(2, round(width * scale) // 2 * 2), max(2, round(height * scale) // 2 * 2))
    return picture if size == (width, height) else np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA))


def paste_back(
    frame: UInt8[np.ndarray, "s s 3"], picture: UInt8[np.ndarray, "h w 3"], square: Square, seam: float = SEAM_SHARE
) -> UInt8[np.ndarray, "h w 3"]:
    """Paste a frame into its square of the picture.

    It fades out towards the square's border, except where that is the border of the picture.
    """
    import cv2

    side = square.side
    resized = cv2.resize(frame, (side, side), interpolation=cv2.INTER_AREA if side < len(frame) else cv2.INTER_CUBIC)
    rows, columns = slice(square.y, square.y + side), slice(square.x, square.x + side)
    weight = _blend_weights(square, picture.shape[1], picture.shape[0], max(1, round(seam * side)))[..., None]
    pasted = picture.copy()
    pasted[rows, columns] = np.rint(weight * resized + (1 - weight) * picture[rows, columns]).astype(np.uint8)
    return pasted


def _blend_weights(square: Square, width: int, height: int, seam: int) -> Float32[np.ndarray, "side side"]:
    """Weights of the frame: 1 inside, 0 at the square's border, smooth over `seam` pixels."""

    def along_axis(start: int, end: int) -> Float32[np.ndarray, " side"]:
        index = np.arange(square.side, dtype=np.float32)
        to_start = np.full_like(index, seam) if start == 0 else index
        to_end = np.full_like(index, seam) if start + square.side >= end else square.side - 1 - index
        share = np.clip(np.minimum(to_start, to_end) / seam, 0, 1)
        return np.asarray(share * share * (3 - 2 * share), np.float32)

    return np.minimum(along_axis(square.y, height)[:, None], along_axis(square.x, width)[None])


def _face_square(picture: UInt8[np.ndarray, "h w 3"], *, name: str, face: int) -> Square:
    from pipelines.face.face_mesh import crop_square, detect_faces

    box = select_face(detect_faces(picture), face, name=name)
    return crop_square([box], picture.shape[1], picture.shape[0], PORTRAIT_SCALE)


def select_face(boxes: Sequence[Box], face: int, *, name: str) -> Box:
    """Return the largest face (0), or the one of that number, counted from the left (1, 2, …).

    Raises:
        InputError: if there is no face, no face of that number, or it is too small.
    """
    if not boxes:
        raise InputError(f"no face was found in {name}", hint="give a picture that shows one human face from the front")
    if not 0 <= face <= len(boxes):
        raise InputError(
            f"{name} shows {len(boxes)} face(s), and generate.face={face} is none of them",
            hint="they are numbered from the left, starting with 1",
        )
    if face:
        box = sorted(boxes, key=lambda each: each.x + each.w / 2)[face - 1]
    else:
        box = max(boxes, key=lambda each: each.w * each.h)
    if max(box.w, box.h) < MIN_FACE_PX:
        raise InputError(
            f"the face in {name} is {max(box.w, box.h):.0f} pixels high, and must be {MIN_FACE_PX:.0f}",
            hint="give a larger picture",
        )
    return box


def _require_mediapipe(what: str) -> None:
    if importlib.util.find_spec("mediapipe") is None:
        raise InputError(
            f"{what} needs MediaPipe", hint='install the extra "generate", or give a square crop of the head'
        )
