"""A visible mark: a line of letters in a corner of every frame that says what the video is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from jaxtyping import UInt8

TEXT = "synthetic"
LETTER_SHARE = 0.045  # of the frame's height
FULL_HEIGHT_PX = 22.0  # of OpenCV's letters at scale 1
STROKE = 0.11  # of the letters' height
EDGE = 0.5  # of the letters' height: how far they stand from the border
WHITE, BLACK = (255, 255, 255), (0, 0, 0)


def draw_watermark(
    batches: Iterable[UInt8[np.ndarray, "n h w 3"]], text: str = TEXT
) -> Iterator[UInt8[np.ndarray, "n h w 3"]]:
    """Batches with the text at the lower left, white with a black outline."""
    for batch in batches:
        yield np.stack([_mark(frame, text) for frame in batch])


def _mark(frame: UInt8[np.ndarray, "h w 3"], text: str) -> UInt8[np.ndarray, "h w 3"]:
    import cv2

    picture = np.ascontiguousarray(frame).copy()
    letter = max(5.0, LETTER_SHARE * len(frame))
    scale, line = letter / FULL_HEIGHT_PX, max(1, round(STROKE * letter))
    place = (round(EDGE * letter), round(len(frame) - 1 - EDGE * letter))
    for colour, width in ((BLACK, 2 * line + 1), (WHITE, line)):
        cv2.putText(picture, text, place, cv2.FONT_HERSHEY_SIMPLEX, scale, colour, width, cv2.LINE_AA)
    return picture
