"""Who of several faces speaks: the one whose mouth goes with the sound, and clearly better than the
others'.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int16, UInt8

from a2h_models.data_types import SIZE
from a2h_models.metrics import av_sync
from a2h_models.timebase import Span
from pipelines import media
from pipelines.config import ClipsConfig
from pipelines.face.face_mesh import Mesh, mesh
from pipelines.face.smoothing import fill_gaps
from pipelines.prepare.sound import cut_wave
from pipelines.prepare.steps.crop import crop_buffer, crop_frames
from pipelines.prepare.steps.find_clips import Clip
from pipelines.prepare.steps.state import PrepareContext, VideoState, VideoStep

MAX_SHIFT = 6  # frames; between several faces only these are looked at: nobody is out of sync beside somebody in sync
KEPT_FRAMES = 8192  # of crops, in temporary files: 1.6 GB


class Speaker(NamedTuple):
    """Whether a face is the one who speaks, where there are several."""

    confidence: float  # of its mouth's match
    lead: float  # over the best other mouth's
    mesh: Mesh  # of the clip's crops
    crops: Path | None  # where they are, if there was room to keep them

    def crops_again(self, into: UInt8[np.ndarray, "t 256 256 3"] | None = None) -> UInt8[np.ndarray, "t 256 256 3"]:
        """The crops that were kept, in memory that is there already or in new."""
        assert self.crops is not None
        frames = np.empty((len(self.mesh.found), SIZE, SIZE, 3), np.uint8) if into is None else into
        with self.crops.open("rb") as file:
            read = file.readinto(frames.data)
        assert read == frames.nbytes
        return frames


@contextmanager
def speakers(
    video: media.VideoReader, clips: Sequence[Clip], wave: Int16[np.ndarray, " n"], config: ClipsConfig
) -> Iterator[dict[str, Speaker]]:
    """For clips with several faces, by key: how well this mouth goes with the speech, and how much
    better than the others.

    All faces of a moment must be seen before one of them can be judged. The crops of so many as
    KEPT_FRAMES allows are kept in files until the block ends, and need not be cut out again.
    """
    crowded = [clip for clip in clips if clip.faces > 1 and len(clip.span) >= config.min_frames]
    with tempfile.TemporaryDirectory(prefix="a2h-") as folder:
        meshes, kept, room = {}, {}, KEPT_FRAMES
        for clip in crowded:
            frames = crop_frames(video, clip, into=crop_buffer(len(clip.span)))
            meshes[clip.key] = mesh(frames)
            if len(frames) <= room:
                kept[clip.key], room = Path(folder, clip.key), room - len(frames)
                kept[clip.key].write_bytes(frames.data)  # NumPy's own writers do not say that a disk is full
        yield _judged(crowded, meshes, kept, wave)


def _judged(
    crowded: Sequence[Clip], meshes: Mapping[str, Mesh], kept: Mapping[str, Path], wave: Int16[np.ndarray, " n"]
) -> dict[str, Speaker]:
    confidences = {clip.key: mouth_confidence(meshes[clip.key], cut_wave(wave, clip.span)) for clip in crowded}
    found = {}
    for clip in crowded:
        rivals = [confidences[other.key] for other in crowded if other is not clip and _meet(clip.span, other.span)]
        lead = confidences[clip.key] - max(rivals, default=0.0)
        found[clip.key] = Speaker(confidences[clip.key], lead, meshes[clip.key], kept.get(clip.key))
    return found


def mouth_confidence(found: Mesh, wave: Int16[np.ndarray, " t*640"]) -> float:
    """How well the mouth of a clip goes with its sound; 0 without a face."""
    if not found.found.any():
        return 0.0
    mouth = av_sync.mouth_shape(fill_gaps(found.landmarks, found.found))
    return av_sync.match(mouth, av_sync.expected_mouth(wave, len(mouth)), max_shift=MAX_SHIFT).confidence


def _meet(a: Span, b: Span) -> bool:
    return a.start < b.stop and b.start < a.stop


class ChooseSpeaker(VideoStep):
    """Match each of several mouths with the speech."""

    name = "choose_speaker"
    label = "match each of several mouths with the speech"
    settings = ("clips.min_frames",)
    takes = ("reader", "clips", "wave")
    gives = ("speakers",)

    @staticmethod
    def run(state: VideoState, context: PrepareContext) -> None:
        """Run the step."""
        matches = speakers(state.reader, state.clips, state.wave, context.config.clips)
        state.speakers = state.stack.enter_context(matches)
