"""Who of several faces speaks: the one whose mouth goes with the sound, and clearly better than the others'."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int16

from a2h_models.metrics import sync
from a2h_models.timebase import Span
from pipelines import media
from pipelines.config import ClipsConfig
from pipelines.prepare.clips import Clip
from pipelines.prepare.faces import Mesh, mesh
from pipelines.prepare.samples import crop_frames, cut_wave, fill_gaps

MAX_SHIFT = 6  # frames; between several faces only these are looked at: nobody is out of sync beside somebody in sync


class Speaker(NamedTuple):
    """Whether a face is the one who speaks, where there are several."""

    confidence: float  # of its mouth's match
    lead: float  # over the best other mouth's
    mesh: Mesh  # of the clip's crops


def speakers(video: media.Video, clips: Sequence[Clip], wave: Int16[np.ndarray, " n"], config: ClipsConfig) -> dict[str, Speaker]:
    """For clips with several faces, by key: how well this mouth goes with the speech, and how much better than the others."""
    crowded = [clip for clip in clips if clip.faces > 1 and len(clip.span) >= config.min_frames]
    meshes = {clip.key: mesh(crop_frames(video, clip)) for clip in crowded}
    confidences = {clip.key: mouth_confidence(meshes[clip.key], cut_wave(wave, clip.span)) for clip in crowded}
    found = {}
    for clip in crowded:
        rivals = [confidences[other.key] for other in crowded if other is not clip and _meet(clip.span, other.span)]
        found[clip.key] = Speaker(confidences[clip.key], confidences[clip.key] - max(rivals, default=0.0), meshes[clip.key])
    return found


def mouth_confidence(found: Mesh, wave: Int16[np.ndarray, " t*640"]) -> float:
    """How well the mouth of a clip goes with its sound; 0 without a face."""
    if not found.found.any():
        return 0.0
    mouth = sync.mouth_shape(fill_gaps(found.landmarks, found.found))
    return sync.match(mouth, sync.expected_mouth(wave, len(mouth)), max_shift=MAX_SHIFT).confidence


def _meet(a: Span, b: Span) -> bool:
    return a.start < b.stop and b.start < a.stop
