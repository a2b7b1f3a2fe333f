"""Measure how well the mouth of a generated video follows the speech."""

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

MEASURED_FRAMES = 10 * FPS  # the face mesh costs about as much as generating; ten seconds are enough
# confidence of `av_sync.Match` from which an offset is shown; below it, the offset may be chance
MIN_CONFIDENCE = FeaturesConfig.correct_from_confidence


@dataclass
class FaceCrops:
    """The first frames of a video, cropped to the face."""

    portrait: Portrait
    crops: list[UInt8[np.ndarray, "256 256 3"]] = field(default_factory=list)

    def add(self, frames: UInt8[np.ndarray, "n h w 3"]) -> None:
        """Keep those of the frames that are still needed."""
        from pipelines.face.face_mesh import cut_square

        square = self.portrait.square
        for frame in frames[: MEASURED_FRAMES - len(self.crops)]:
            self.crops.append(frame if square is None else cut_square(frame, square))


def measure_sync(crops: list[UInt8[np.ndarray, "h w 3"]], wave: Int16[np.ndarray, " n"]) -> av_sync.Match | None:
    """Compare mouth and speech; None without MediaPipe or a face, or if the video is too short."""
    if importlib.util.find_spec("mediapipe") is None or len(crops) < av_sync.MIN_OVERLAP:
        return None
    from pipelines.face.face_mesh import mesh

    meshes = mesh(np.stack(crops))
    if meshes.found.sum() < av_sync.MIN_OVERLAP:
        return None
    mouth = np.where(meshes.found[:, None], av_sync.mouth_shape(meshes.landmarks), np.nan)
    return av_sync.match(mouth, av_sync.expected_mouth(wave[: len(mouth) * SAMPLES_PER_FRAME], len(mouth)))


def sync_text(match: av_sync.Match | None) -> str:
    """Describe the result in a sentence for the page."""
    if match is None:
        return "not measured: no mouth was found for long enough"
    if match.confidence < MIN_CONFIDENCE:
        return f"not sure (confidence {match.confidence:.1f}: the mouth hardly follows the speech)"
    milliseconds = abs(match.offset) * 1000 // FPS
    direction = "late" if match.offset > 0 else "early"
    delay = f", the sound is {milliseconds} ms {direction}" if match.offset else ""
    return f"{match.offset:+d} frames{delay} (confidence {match.confidence:.1f})"
