"""What the page says of a video: how fast it was made, and whether mouth and speech go together."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int16, UInt8

from a2h_models.metrics import av_sync
from a2h_models.timebase import FPS, SAMPLES_PER_FRAME
from pipelines.config import FeaturesConfig

if TYPE_CHECKING:
    from pipelines.inference import Portrait

LOOKED_AT = 10 * FPS  # frames; the mesh costs about as much as drawing, and ten seconds tell
SURE_FROM = FeaturesConfig.correct_from_confidence  # of `sync.Match.confidence`: below it, an offset may be chance
LATE, EARLY = "late", "early"


@dataclass
class Sight:
    """The first frames of a video, cut to the face again."""

    portrait: Portrait
    crops: list[UInt8[np.ndarray, "256 256 3"]] = field(default_factory=list)

    def see(self, frames: UInt8[np.ndarray, "n h w 3"]) -> None:
        for frame in frames[: LOOKED_AT - len(self.crops)]:
            self.crops.append(frame if self.portrait.square is None else self._cut(frame))

    def _cut(self, frame: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "256 256 3"]:
        from pipelines.face.face_mesh import cut_square

        assert self.portrait.square is not None  # asked before
        return cut_square(frame, self.portrait.square)


def match(crops: list[UInt8[np.ndarray, "h w 3"]], wave: Int16[np.ndarray, " n"]) -> av_sync.Match | None:
    """Mouth against speech; None where there is no face mesh, no face, or too little of either."""
    if importlib.util.find_spec("mediapipe") is None or len(crops) < av_sync.MIN_OVERLAP:
        return None
    from pipelines.face.face_mesh import mesh

    found = mesh(np.stack(crops))
    if found.found.sum() < av_sync.MIN_OVERLAP:
        return None
    mouth = np.where(found.found[:, None], av_sync.mouth_shape(found.landmarks), np.nan)
    return av_sync.match(mouth, av_sync.expected_mouth(wave[: len(mouth) * SAMPLES_PER_FRAME], len(mouth)))


def told(found: av_sync.Match | None) -> str:
    """In words."""
    if found is None:
        return "not measured: no mouth was found for long enough"
    if found.confidence < SURE_FROM:
        return f"not sure (confidence {found.confidence:.1f}: the mouth hardly follows the speech)"
    milliseconds = abs(found.offset) * 1000 // FPS
    late = f", the sound is {milliseconds} ms {LATE if found.offset > 0 else EARLY}" if found.offset else ""
    return f"{found.offset:+d} frames{late} (confidence {found.confidence:.1f})"
