"""Cut the frames of a clip out of its video, and its sound."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
from jaxtyping import UInt8

from a2h_models.data_types import SIZE
from pipelines import media
from pipelines.face.face_mesh import Square, cut_square
from pipelines.prepare.reasons import Reason
from pipelines.prepare.scores import rounded
from pipelines.prepare.steps.filter import judge
from pipelines.prepare.steps.find_clips import Clip
from pipelines.prepare.steps.state import ClipState, ClipStep, PrepareContext

ROOM_FRAMES = 1024  # of crops whose memory is kept: 200 MB, and the longest clip by default


# --------------------------------------------------------------------------------------------- crop
def crop_frames(
    video: media.VideoReader, clip: Clip, into: UInt8[np.ndarray, "t 256 256 3"] | None = None
) -> UInt8[np.ndarray, "t 256 256 3"]:
    """The frames of a clip, cut out and resized; written `into` memory that is there already, or
    into new.
    """
    crops = np.empty((len(clip.span), SIZE, SIZE, 3), np.uint8) if into is None else into
    part = media.CropRegion(clip.square.x, clip.square.y, clip.square.side)
    for index, piece in enumerate(video.stream(clip.span, part=part, max_height=SIZE)):
        crops[index] = piece if len(piece) == SIZE else cut_square(piece, Square(0, 0, len(piece)))  # a small one grows
    return crops


def crop_buffer(frames: int) -> UInt8[np.ndarray, "frames 256 256 3"]:
    """Memory for the crops of one clip at a time: the next clip's are written over them.

    New memory for each costs a twentieth of all.
    """
    return _room()[:frames] if frames <= ROOM_FRAMES else np.empty((frames, SIZE, SIZE, 3), np.uint8)


@functools.cache
def _room() -> UInt8[np.ndarray, "frames 256 256 3"]:
    return np.empty((ROOM_FRAMES, SIZE, SIZE, 3), np.uint8)


class Crop(ClipStep):
    """Cut out the square, unless the clip is too short."""

    name = "crop"
    label = "cut out the square, unless the clip is too short"
    settings = ("clips.min_frames",)
    takes = ("clip", "speaker")
    gives = ("frames",)

    @staticmethod
    def run(state: ClipState, context: PrepareContext) -> None:
        """Run the step."""
        clip, least = state.clip, context.config.clips.min_frames
        state.scores = replace(state.scores, face_px=clip.face_px, faces=float(clip.faces))
        if len(clip.span) < least:
            state.scores = rounded(state.scores)
            state.reason = judge(state.scores, context.config.filters) or Reason.TOO_SHORT
            state.message = f"{len(clip.span)} frames, at least {least}"
            return
        buffer, speaker = crop_buffer(len(clip.span)), state.speaker
        kept = speaker is not None and speaker.crops is not None
        state.frames = (
            speaker.crops_again(into=buffer) if speaker and kept else crop_frames(state.source.reader, clip, buffer)
        )
