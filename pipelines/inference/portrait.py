"""The face in a picture: found, cut out as clips are cut in preparation, and the talking frames
laid back into the picture.
"""

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

WAYS = ("crop", "resize", "full")  # SadTalker's words
# Side of a portrait's crop / its one face box. Clips are cut by the union of all their boxes, so
# that a face is smaller in them than its
# own box would make it: over 37 real clips it is 0.583 of the crop high, on their first frames
# 0.641 at 1.6, 0.587 at 1.8 (DECISIONS.md).
PORTRAIT_SCALE = 1.82
MIN_FACE_PX = 48.0  # of a face box in the picture: below, there is less to see than the networks draw
SEAM = 0.12  # of the square's side: how wide the frames fade into the picture


@dataclass(frozen=True)
class Portrait:
    """What the networks get, and where in the picture it came from."""

    crop: UInt8[np.ndarray, "256 256 3"]
    picture: UInt8[np.ndarray, "h w 3"] | None = None  # into which the frames are laid; None: they stay as they are
    square: Square | None = None

    def frames(self, batches: Iterable[UInt8[np.ndarray, "n s s 3"]]) -> Iterator[UInt8[np.ndarray, "n h w 3"]]:
        """What is shown: the frames as drawn, or laid into the picture."""
        if self.picture is None or self.square is None:
            yield from batches
            return
        for batch in batches:
            yield np.stack([paste_back(frame, self.picture, self.square) for frame in batch])


def find(picture: UInt8[np.ndarray, "h w 3"], config: GenerateConfig, *, name: str) -> Portrait:
    """A portrait by `config.preprocess`: cut to the face (crop), the picture as it is (resize), or
    cut and laid back (full).

    Raises:
        InputError: if no face, too small a one, or not so many as asked for are found; if a picture
            for `resize` is not square.
        ConfigError: for another word.
    """
    if config.preprocess not in WAYS:
        raise ConfigError(f"generate.preprocess={config.preprocess} does not exist", hint=f"one of: {', '.join(WAYS)}")
    if config.preprocess == "resize":
        return Portrait(whole(picture, name=name))
    if config.preprocess == "crop":
        return Portrait(crop(picture, name=name, face=config.face))
    _need_mediapipe(name)
    from pipelines.face.face_mesh import cut_square

    small = bounded(picture, config.max_side)
    square = _square(small, name=name, face=config.face)
    return Portrait(cut_square(small, square), small, square)


def fit(picture: UInt8[np.ndarray, "h w 3"], config: GenerateConfig, *, name: str) -> UInt8[np.ndarray, "256 256 3"]:
    """Only what the networks get."""
    return find(picture, config, name=name).crop


def crop(picture: UInt8[np.ndarray, "h w 3"], *, name: str, face: int = 0) -> UInt8[np.ndarray, "256 256 3"]:
    """Cut a picture as clips are cut in preparation. Without MediaPipe, a 256×256 picture is taken
    for a crop that was made before.

    Raises:
        InputError: if there is no such face in it, or it would need MediaPipe.
    """
    if importlib.util.find_spec("mediapipe") is None and picture.shape[:2] == (SIZE, SIZE):
        return picture
    _need_mediapipe(f"{name} is not {SIZE}×{SIZE} pixels, and finding the face in it")
    from pipelines.face.face_mesh import cut_square

    return cut_square(picture, _square(picture, name=name, face=face))


def whole(picture: UInt8[np.ndarray, "h w 3"], *, name: str) -> UInt8[np.ndarray, "256 256 3"]:
    """A picture that is a crop already, at the networks' size.

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


def bounded(picture: UInt8[np.ndarray, "h w 3"], max_side: int) -> UInt8[np.ndarray, "h2 w2 3"]:
    """A picture no larger than what is worth to be a video, with even sides."""
    import cv2

    height, width = picture.shape[:2]
    scale = min(1.0, max_side / max(height, width))
    size = (max(2, round(width * scale) // 2 * 2), max(2, round(height * scale) // 2 * 2))
    return picture if size == (width, height) else np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA))


def paste_back(
    frame: UInt8[np.ndarray, "s s 3"], picture: UInt8[np.ndarray, "h w 3"], square: Square, seam: float = SEAM
) -> UInt8[np.ndarray, "h w 3"]:
    """A frame in its place in the picture.

    Towards the square's border it fades into it, except where that is the picture's own border.
    """
    import cv2

    side = square.side
    fitted = cv2.resize(frame, (side, side), interpolation=cv2.INTER_AREA if side < len(frame) else cv2.INTER_CUBIC)
    rows, columns = slice(square.y, square.y + side), slice(square.x, square.x + side)
    weight = _fade(square, picture.shape[1], picture.shape[0], max(1, round(seam * side)))[..., None]
    laid = picture.copy()
    laid[rows, columns] = np.rint(weight * fitted + (1 - weight) * picture[rows, columns]).astype(np.uint8)
    return laid


def _fade(square: Square, width: int, height: int, seam: int) -> Float32[np.ndarray, "side side"]:
    """How much of the frame is seen: 1 inside, 0 at the square's border, a smooth step between."""

    def along(start: int, end: int) -> Float32[np.ndarray, " side"]:
        place = np.arange(square.side, dtype=np.float32)
        before = np.full_like(place, seam) if start == 0 else place
        after = np.full_like(place, seam) if start + square.side >= end else square.side - 1 - place
        part = np.clip(np.minimum(before, after) / seam, 0, 1)
        return np.asarray(part * part * (3 - 2 * part), np.float32)

    return np.minimum(along(square.y, height)[:, None], along(square.x, width)[None])


def _square(picture: UInt8[np.ndarray, "h w 3"], *, name: str, face: int) -> Square:
    from pipelines.face.face_mesh import crop_square, detect_faces

    box = choose(detect_faces(picture), face, name=name)
    return crop_square([box], picture.shape[1], picture.shape[0], PORTRAIT_SCALE)


def choose(boxes: Sequence[Box], face: int, *, name: str) -> Box:
    """The largest face, or the one of that number from left to right.

    Raises:
        InputError: if there is none, no such one, or it is too small.
    """
    if not boxes:
        raise InputError(f"no face was found in {name}", hint="give a picture that shows one human face from the front")
    if not 0 <= face <= len(boxes):
        raise InputError(
            f"{name} shows {len(boxes)} face(s), and generate.face={face} is none of them",
            hint="they count from the left",
        )
    box = (
        sorted(boxes, key=lambda each: each.x + each.w / 2)[face - 1]
        if face
        else max(boxes, key=lambda each: each.w * each.h)
    )
    if max(box.w, box.h) < MIN_FACE_PX:
        raise InputError(
            f"the face in {name} is {max(box.w, box.h):.0f} pixels high, and must be {MIN_FACE_PX:.0f}",
            hint="give a larger picture",
        )
    return box


def _need_mediapipe(what: str) -> None:
    if importlib.util.find_spec("mediapipe") is None:
        raise InputError(
            f"{what} needs MediaPipe", hint='install the extra "generate", or give a square crop of the head'
        )
