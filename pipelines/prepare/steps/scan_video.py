"""Read a video once: its sound, shot boundaries, and faces in every few frames."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int32, UInt8

from a2h_models.timebase import Span
from pipelines import media
from pipelines.config import ClipsConfig
from pipelines.face.face_mesh import Box, detect_faces
from pipelines.prepare.reasons import Reason
from pipelines.prepare.sound import cut_wave, level_db
from pipelines.prepare.steps.state import PrepareContext, VideoState, VideoStep

BINS = 6  # levels of each colour in a histogram
LEVELS = 256  # of each colour in a picture
COLOURS = (BINS + 1) ** 3  # bins: the ones that lie half a bin apart are one more
# what a step of red, green and blue adds to the number of a bin
PLACES = np.array([[(BINS + 1) ** 2, BINS + 1, 1]], np.float32)
GRID = 3  # histograms are taken on a grid of so many cells a side, so that two framings of one room differ
CELL = 24  # pixels a side of a cell in the thumbnail that they are taken of …
FINER = 3  # … each averaged over so many points a side


@dataclass(frozen=True, kw_only=True)
class Detection:
    """What the detector saw in one frame; boxes in pixels of the video as shown."""

    frame: int
    boxes: tuple[Box, ...]


@dataclass(frozen=True, kw_only=True)
class VideoScan:
    """One look at a video, or at a span of it."""

    frames: int  # up to which it was looked at
    width: int
    height: int
    cuts: tuple[int, ...]  # first frames of new shots
    sightings: tuple[Detection, ...]
    start: int = 0  # the first frame that was looked at


# --------------------------------------------------------------------------------------------- look
def scan_video(video: media.VideoReader, config: ClipsConfig, span: Span | None = None) -> VideoScan:
    """Read a video, or a span of it, once, at a bounded size: a colour histogram of every frame,
    faces in every `detect_every`-th.
    """
    span = Span(0, video.frames) if span is None else span
    cuts, sightings = [], []
    previous = None
    for index, frame in zip(span, video.stream(span, max_height=config.scan_height, rough=True), strict=True):
        colours = colours_of(frame)
        if previous is not None and change(previous, colours) > config.cut_threshold:
            cuts.append(index)
        if (index - span.start) % config.detect_every == 0:
            boxes = tuple(box.scaled(video.height / len(frame)) for box in detect_faces(frame))
            sightings.append(Detection(frame=index, boxes=boxes))
        previous = colours
    return VideoScan(
        start=span.start,
        frames=span.stop,
        width=video.width,
        height=video.height,
        cuts=tuple(cuts),
        sightings=tuple(sightings),
    )


def colours_of(frame: UInt8[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "2 cells bins"]:
    """Share of each colour in each cell of a grid over a thumbnail of the frame; a cell's shares
    sum to 1.

    Twice, with bins that lie half a bin apart: a flat wall that grows a little lighter crosses
    borders of the one or of the other.
    """
    import cv2

    side = GRID * CELL
    finer = cv2.resize(frame, (FINER * side, FINER * side))
    thumbnail = cv2.resize(finer, (side, side), interpolation=cv2.INTER_AREA)  # in two steps: a fifth of the time
    levels = (cv2.LUT(thumbnail, table).astype(np.float32) for table in _levels())
    numbers = _cells() + np.stack([cv2.transform(level, PLACES) for level in levels]).astype(np.int32)
    shares = np.bincount(numbers.ravel(), minlength=2 * GRID**2 * COLOURS).astype(np.float32)
    return shares.reshape(2, GRID**2, COLOURS) / CELL**2


@functools.cache
def _levels() -> UInt8[np.ndarray, "2 256"]:
    """For both binnings, the bin of each level of a colour."""
    return np.asarray(
        [np.arange(LEVELS) * BINS // LEVELS, (np.arange(LEVELS) * BINS + LEVELS // 2) // LEVELS], np.uint8
    )


@functools.cache
def _cells() -> Int32[np.ndarray, "2 side side"]:
    """For both binnings and each pixel of a thumbnail, the number of its cell's first bin."""
    cell = np.arange(GRID * CELL) // CELL
    first = (cell[:, None] * GRID + cell) * COLOURS
    return np.asarray([first, first + GRID**2 * COLOURS], np.int32)


def change(a: Float32[np.ndarray, "2 cells bins"], b: Float32[np.ndarray, "2 cells bins"]) -> float:
    """Share of the picture whose colour is new, 0 to 1: half the L1 distance of the histograms, the
    lesser of both binnings.

    The median over the cells leaves out captions that appear and hands that pass.
    """
    return float(np.sort(np.abs(a - b).sum(axis=2), axis=1)[:, GRID**2 // 2].min() / 2)


class ScanVideo(VideoStep):
    """Read a video once: its sound, shots and faces."""

    name = "scan_video"
    label = "read a video once: its sound, shots and faces"
    settings = ("clips.scan_height", "clips.detect_every", "clips.cut_threshold", "filters.min_speech_db")
    takes = ("path",)
    gives = ("reader", "wave", "span", "scan")

    @staticmethod
    def run(state: VideoState, context: PrepareContext) -> None:
        """Run the step."""
        state.reader = state.stack.enter_context(media.open_video(state.path))
        state.wave, state.span = state.reader.speech(), state.video.within(state.reader.frames)
        level = level_db(cut_wave(state.wave, state.span))
        if level < context.config.filters.min_speech_db:
            state.reason, state.message = Reason.SILENT, f"mean level {level:.0f} dB"
            return
        state.scan = scan_video(state.reader, context.config.clips, state.span)
