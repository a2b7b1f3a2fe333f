"""Write a visible label into a corner of every frame."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from jaxtyping import UInt8

TEXT = "synthetic"
LETTER_SHARE = 0.045  # letter height / frame height
FULL_HEIGHT_PX = 22.0  # height of OpenCV's letters at scale 1
STROKE = 0.11  # line width / letter height
MARGIN = 0.5  # distance from the border / letter height
WHITE, BLACK = (255, 255, 255), (0, 0, 0)


def draw_watermark(
    batches: Iterable[UInt8[np.ndarray, "n h w 3"]], text: str = TEXT
) -> Iterator[UInt8[np.ndarray, "n h w 3"]]:
    """Yield the batches with the text at the lower left, white with a black outline."""
    for batch in batches:
        yield np.stack([_draw_on_frame(frame, text) for frame in batch])


def _draw_on_frame(frame: UInt8[np.ndarray, "h w 3"], text: str) -> UInt8[np.ndarray, "h w 3"]:
    import cv2

    labelled = np.ascontiguousarray(frame).copy()
    height = max(5.0, LETTER_SHARE * len(frame))
    scale, line = height / FULL_HEIGHT_PX, max(1, round(STROKE * height))
    origin = (round(MARGIN * height), round(len(frame) - 1 - MARGIN * height))
    for colour, width in ((BLACK, 2 * line + 1), (WHITE, line)):
        cv2.putText(labelled, text, origin, cv2.FONT_HERSHEY_SIMPLEX, scale, colour, width, cv2.LINE_AA)
    return labelled
