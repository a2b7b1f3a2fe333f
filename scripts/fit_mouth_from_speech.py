"""How mouth_from_speech.npz was made: which mouth a speech lets expect, learned from people who
talk.

    python -m scripts.fit_mouth_from_speech VIDEO… --out a2h_models/metrics/mouth_from_speech.npz

A linear map from a third of a second of speech to the opening, jaw and width of the mouth in its
middle (a2h_models/metrics/av_sync.py). It holds no one's voice or face: 567 numbers of an average.
Mouths are ahead of their sound; by how much is part of what is learned, so that offset 0 is what
videos have on average.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from a2h_models.errors import MediaError
from a2h_models.metrics import av_sync
from pipelines import media
from pipelines.config import PrepareConfig
from pipelines.face.face_mesh import mesh
from pipelines.face.smoothing import fill_gaps
from pipelines.prepare.sound import cut_wave, level_db
from pipelines.prepare.steps.crop import crop_frames
from pipelines.prepare.steps.find_clips import find_clips
from pipelines.prepare.steps.scan_video import scan_video
from pipelines.prepare.steps.score import mouth_range

# of the regression, whose inputs have variance 1: about as many as frames in ten minutes of speech
# have a say
RIDGE = 5000.0
# a clip whose own offset is larger than OFF frames, found with this confidence, is out of sync and
# has no part
BELIEVED, OFF = 1.2, 2


class Talk(NamedTuple):
    """A clip of one face that speaks."""

    mouth: Float64[np.ndarray, "t 3"]
    heard: Float64[np.ndarray, "t k"]


def fit(talks: Sequence[Talk]) -> Float64[np.ndarray, "k 3"]:
    """Ridge regression of the mouths on what is heard, both in the band of frequencies that are
    matched.
    """
    mouths = np.concatenate([av_sync.standardised(av_sync.middle_band(talk.mouth)) for talk in talks])
    heard = np.concatenate([av_sync.middle_band(talk.heard) for talk in talks])
    return np.asarray(np.linalg.solve(heard.T @ heard + RIDGE * np.eye(heard.shape[1]), heard.T @ mouths))


def in_sync(talk: Talk, weights: Float64[np.ndarray, "k 3"]) -> bool:
    found = av_sync.match(talk.mouth, talk.heard @ weights)
    return found.confidence < BELIEVED or abs(found.offset) <= OFF


def learn(talks: Sequence[Talk]) -> Float64[np.ndarray, "k 3"]:
    """Fit to all, and once more without those that are out of sync by the first fit."""
    weights = fit(talks)
    return fit([talk for talk in talks if in_sync(talk, weights)])


def talks_of(video: Path, config: PrepareConfig) -> Iterator[Talk]:
    """The clips of a video in which one face, alone, moves its mouth while something is heard."""
    filters = config.filters
    try:
        with media.open_video(video) as opened:
            wave = media.read_speech(video)
            for clip in find_clips(scan_video(opened, config.clips), video.stem, config.clips):
                piece = cut_wave(wave, clip.span)
                large = (
                    clip.faces == 1
                    and clip.face_px >= filters.min_face_px
                    and len(clip.span) >= config.clips.min_frames
                )
                if not large or level_db(piece) < filters.min_speech_db:
                    continue
                found = mesh(crop_frames(opened, clip))
                landmarks = fill_gaps(found.landmarks, found.found)
                if found.found.mean() >= filters.min_face_share and mouth_range(landmarks) >= filters.min_mouth_range:
                    yield Talk(av_sync.mouth_shape(landmarks), av_sync.speech_context(piece, len(landmarks)))
    except MediaError:  # no sound, or damaged: it has no part in the average
        return


def make(videos: Iterable[Path], out: Path) -> int:
    """Write the map that some videos teach; returns how many clips had a part in it."""
    talks = [talk for video in sorted(videos) for talk in talks_of(video, PrepareConfig())]
    np.savez_compressed(out, weights=learn(talks).astype(np.float32), clips=len(talks))
    return len(talks)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, default=av_sync.WEIGHTS)
    arguments = parser.parse_args()
    make(arguments.videos, arguments.out)


if __name__ == "__main__":
    main()
