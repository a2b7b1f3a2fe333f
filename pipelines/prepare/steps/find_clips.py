"""Candidate clips: one fixed square crop for each stretch of one face in one shot."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median

from a2h_models.timebase import Span
from pipelines.config import ClipsConfig
from pipelines.face.face_mesh import Box, Square, crop_square
from pipelines.prepare.steps.scan_video import Detection, VideoScan
from pipelines.prepare.steps.state import PrepareContext, VideoState, VideoStep

KEY_DIGITS = 20  # of the video's content hash: 80 bits
SAME_FACE = 0.3  # intersection over union of a face's boxes in two sightings in a row


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


class FindClips(VideoStep):
    """Follow each face through each shot, and cut clips."""

    name = "find_clips"
    label = "follow each face through each shot, and cut clips"
    settings = (
        "clips.max_gap",
        "clips.min_sightings",
        "clips.max_spread",
        "clips.min_rival",
        "clips.max_frames",
        "clips.crop_scale",
    )
    takes = ("scan",)
    gives = ("clips",)

    @staticmethod
    def run(state: VideoState, context: PrepareContext) -> None:
        """Run the step."""
        state.clips = find_clips(state.scan, state.video.sha256, context.config.clips)
