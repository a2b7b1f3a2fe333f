"""A video → its clips: shot boundaries, faces, tracks, and one fixed square crop for each stretch
of one face in one shot.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median

import numpy as np
from jaxtyping import Float32, Int32, UInt8

from a2h_models.timebase import Span
from pipelines import media
from pipelines.config import ClipsConfig
from pipelines.face.face_mesh import Box, Square, crop_square, detect_faces

BINS = 6  # levels of each colour in a histogram
LEVELS = 256  # of each colour in a picture
COLOURS = (BINS + 1) ** 3  # bins: the ones that lie half a bin apart are one more
# what a step of red, green and blue adds to the number of a bin
PLACES = np.array([[(BINS + 1) ** 2, BINS + 1, 1]], np.float32)
GRID = 3  # histograms are taken on a grid of so many cells a side, so that two framings of one room differ
CELL = 24  # pixels a side of a cell in the thumbnail that they are taken of …
FINER = 3  # … each averaged over so many points a side
KEY_DIGITS = 20  # of the video's content hash: 80 bits
SAME_FACE = 0.3  # intersection over union of a face's boxes in two sightings in a row


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


@dataclass
class Track:
    """One face through one shot: where it was seen."""

    frames: list[int] = field(default_factory=list)
    boxes: list[Box] = field(default_factory=list)

    @property
    def height(self) -> float:
        return float(median(box.h for box in self.boxes))


@dataclass(frozen=True, kw_only=True)
class Clip:
    """A candidate: one face in one shot, and the square that will be its crop."""

    key: str
    span: Span
    square: Square
    face_px: float  # median height of the face box, pixels of the video as shown
    faces: int  # seen beside each other, this one included
    shot: int


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


# -------------------------------------------------------------------------------------------- track
def shots(cuts: Sequence[int], stop: int, *, start: int = 0) -> list[Span]:
    """The stretches between cuts; they tile what was looked at."""
    edges = [start, *cuts, stop]
    return [Span(start, stop) for start, stop in itertools.pairwise(edges) if stop > start]


def overlap(a: Box, b: Box) -> float:
    """Intersection over union, 0 to 1."""
    width = min(a.x + a.w, b.x + b.w) - max(a.x, b.x)
    height = min(a.y + a.h, b.y + b.h) - max(a.y, b.y)
    shared = max(0.0, width) * max(0.0, height)
    union = a.w * a.h + b.w * b.h - shared
    return shared / union if union > 0 else 0.0


def tracks(sightings: Iterable[Detection], config: ClipsConfig) -> list[Track]:
    """Join the sightings of one shot to tracks: best overlap first, with the box where a track was
    last seen.
    """
    found: list[Track] = []
    for sighting in sightings:
        alive = [track for track in found if sighting.frame - track.frames[-1] <= config.max_gap]
        pairs = [
            (overlap(track.boxes[-1], box), t, b)
            for t, track in enumerate(alive)
            for b, box in enumerate(sighting.boxes)
        ]
        taken_tracks, taken_boxes = set(), set()
        for likeness, t, b in sorted(pairs, key=lambda pair: (-pair[0], pair[1], pair[2])):
            if likeness >= SAME_FACE and t not in taken_tracks and b not in taken_boxes:
                alive[t].frames.append(sighting.frame)
                alive[t].boxes.append(sighting.boxes[b])
                taken_tracks.add(t)
                taken_boxes.add(b)
        found += [Track([sighting.frame], [box]) for b, box in enumerate(sighting.boxes) if b not in taken_boxes]
    return [track for track in found if len(track.frames) >= config.min_sightings]


def split_drifting_track(track: Track, config: ClipsConfig) -> list[Track]:
    """Cut a track where the face has wandered so far that one fixed crop would hold it small."""
    pieces: list[Track] = []
    for frame, box in zip(track.frames, track.boxes, strict=True):
        if not pieces or spread([*pieces[-1].boxes, box]) > config.max_spread:
            pieces.append(Track())
        pieces[-1].frames.append(frame)
        pieces[-1].boxes.append(box)
    return pieces


def spread(boxes: Sequence[Box]) -> float:
    """Longer side of the union of boxes / longer side of the first."""
    across = max(box.x + box.w for box in boxes) - min(box.x for box in boxes)
    down = max(box.y + box.h for box in boxes) - min(box.y for box in boxes)
    return max(across, down) / max(boxes[0].w, boxes[0].h)


def extent(track: Track, within: Span, step: int) -> Span:
    """The frames of a track: from its first to its last sighting, and to the borders that lie less
    than one step away.
    """
    start, stop = track.frames[0], track.frames[-1] + 1
    return Span(
        within.start if start - within.start < step else start, within.stop if within.stop - stop < step else stop
    )


def clip_spans(span: Span, *, max_frames: int) -> list[Span]:
    """Cut a span into the fewest pieces of at most max_frames, about equally long, so that no rest
    is too short to use.
    """
    pieces = max(1, -(-len(span) // max_frames))
    edges = [span.start + len(span) * piece // pieces for piece in range(pieces + 1)]
    return [Span(start, stop) for start, stop in itertools.pairwise(edges)]


# -------------------------------------------------------------------------------------------- clips
def find_clips(scan: VideoScan, sha256: str, config: ClipsConfig) -> list[Clip]:
    """All candidates of a video, in the order of their keys."""
    clips = []
    for number, shot in enumerate(shots(scan.cuts, scan.frames, start=scan.start)):
        seen = [sighting for sighting in scan.sightings if sighting.frame in shot]
        faces = tracks(seen, config)
        for face in faces:
            clips += _clips_of_track(face, faces, shot, number, scan, sha256, config)
    return sorted(clips, key=lambda clip: clip.key)


def _clips_of_track(
    face: Track, faces: Sequence[Track], shot: Span, number: int, scan: VideoScan, sha256: str, config: ClipsConfig
) -> list[Clip]:
    clips = []
    whole = extent(face, shot, config.detect_every)
    pieces = split_drifting_track(face, config)
    starts = [whole.start, *(piece.frames[0] for piece in pieces[1:]), whole.stop]
    for piece, start, stop in zip(pieces, starts, starts[1:], strict=False):
        for span in clip_spans(Span(start, stop), max_frames=config.max_frames):
            boxes = [box for frame, box in zip(piece.frames, piece.boxes, strict=True) if frame in span] or piece.boxes
            square = crop_square(boxes, scan.width, scan.height, config.crop_scale)
            clips.append(
                Clip(
                    key=clip_key(sha256, span, square),
                    span=span,
                    square=square,
                    face_px=median(box.h for box in boxes),
                    faces=1 + sum(_beside(other, span, face, config) for other in faces if other is not face),
                    shot=number,
                )
            )
    return clips


def _beside(other: Track, span: Span, face: Track, config: ClipsConfig) -> bool:
    """Whether another track is a second face of a clip: not much smaller, and there for more than a
    moment.
    """
    together = sum(frame in span for frame in other.frames)
    return together >= config.min_sightings and other.height >= config.min_rival * face.height


def clip_key(sha256: str, span: Span, square: Square) -> str:
    """Content-derived: the video's hash, the clip's first frame and the corner of its square, so
    that keys sort by time.
    """
    return f"{sha256[:KEY_DIGITS]}_{span.start:07d}_{square.x:04d}x{square.y:04d}"
