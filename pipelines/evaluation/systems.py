"""What makes the films that are measured: a model of ours, or videos that any other system made,
named by the keys of the clips.
"""

from __future__ import annotations

import functools
import importlib.util
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from a2h_models.data_types import SIZE
from a2h_models.errors import InputError, MediaError, RegistryError
from a2h_models.metrics import NEEDS
from a2h_models.metrics.video import Face, VideoFeatures
from a2h_models.timebase import Span
from pipelines.config import EXPERT, EvaluateCommand, EvaluateConfig
from pipelines.core.hashing import sha256_of_text
from pipelines.core.timing import Stopwatch
from pipelines.pretrained import assets
from pipelines.registry import BUNDLE, SCHEME, ModelRegistry
from pipelines.registry import CHAMPION as CHAMPION_ALIAS

if TYPE_CHECKING:
    from a2h_models.evaluators.metric_networks import MetricNetworks
    from a2h_models.inference.animator import Animator

TRUE_POSE, PREDICTED_POSE = "true_pose", "predicted_pose"
PROTOCOLS = (TRUE_POSE, PREDICTED_POSE)
CHAMPION = "champion_"  # before the protocol, in the name of a row
VIDEOS = "videos:"  # before a folder of videos, where a model is asked for
MISSING_FRAMES = 5  # at a video's end that are filled with its last frame: systems that work in windows drop a few
SYNC_EXPERT = "sync_expert"  # field of `MetricNetworks`
POSE_SMOOTHING = 1.0  # frames; as the pose of the truth is smoothed by default
FEATURES, POSE, RENDER = "features", "pose", "render"  # parts of generating that are timed


@dataclass(frozen=True, kw_only=True)
class SystemsUnderTest:
    """Whose films are measured, as paths: workers load them."""

    candidate: str  # folder of a bundle, or of videos
    videos: bool  # which of the two
    champion: str = ""  # folder of a bundle; empty: none, or it is the candidate
    champion_uri: str = ""
    weights: Mapping[str, str] = field(default_factory=dict)  # field of `MetricNetworks` → path of its weights
    sync_expert_uri: str = ""  # empty: there is none

    @property
    def fingerprint(self) -> str:
        """Of the files: another one, and results that were kept do not count any more."""
        lines = [json.dumps(dict(self.weights), sort_keys=True)]
        for folder in filter(None, (self.candidate, self.champion)):
            for file in sorted(Path(folder).rglob("*")):
                info = file.stat()
                lines.append(f"{file}\0{info.st_size}\0{info.st_mtime_ns}\n")
        return sha256_of_text("".join(lines))


def systems_under_test(command: EvaluateCommand) -> SystemsUnderTest:
    """The candidate, the champion where there is another, and the networks that measure where their
    weights are.

    Raises:
        InputError: if the folder of videos is not there.
        RegistryError: if there is no such model, or its files were changed.
    """
    expert, weights = _sync_expert(command), _foreign(command.paths.assets)
    judged: dict[str, Any] = {
        "sync_expert_uri": expert.uri,
        "weights": weights | ({SYNC_EXPERT: expert.folder} if expert.folder else {}),
    }
    if command.model.startswith(VIDEOS):
        folder = Path(command.model.removeprefix(VIDEOS))
        if not folder.is_dir():
            raise InputError(
                f"{folder} is not a folder of videos", hint="it should hold one video a clip, named by the clip's key"
            )
        uri, champion = _champion(command)
        return SystemsUnderTest(
            candidate=str(folder.absolute()), videos=True, champion=champion, champion_uri=uri, **judged
        )
    folder = ModelRegistry.from_config(command.logger).fetch(command.model)
    uri, champion = _champion(command)
    return SystemsUnderTest(
        candidate=str(folder.absolute()), videos=False, champion=champion, champion_uri=uri, **judged
    )


def _champion(command: EvaluateCommand) -> tuple[str, str]:
    """The champion's name and folder; empty where there is none, it is not wanted, or it is the
    candidate.
    """
    if not command.evaluate.champion:
        return "", ""
    registry = ModelRegistry.from_config(command.logger)
    try:
        champion = registry.find(f"{SCHEME}{BUNDLE}@{CHAMPION_ALIAS}")
    except RegistryError:
        return "", ""
    if registry.pin(command.model) == champion.uri:
        return "", ""
    return champion.uri, str(registry.fetch_version(champion).absolute())


def _foreign(folder: str) -> dict[str, str]:
    """Of other people's networks those whose weights are here."""
    known = assets.list_assets(folder)
    return {name: str(assets.locate(name, folder).absolute()) for name in NEEDS if known[name].path.is_file()}


class Expert(NamedTuple):
    uri: str
    folder: str


def _sync_expert(command: EvaluateCommand) -> Expert:
    """The sync expert's name and folder; empty where none was trained, and none was asked for by
    name.

    Raises:
        RegistryError: if there is no such expert.
    """
    uri = command.evaluate.sync_expert
    if not uri:
        return Expert("", "")
    registry = ModelRegistry.from_config(command.logger)
    try:
        version = registry.pin(uri)
        return Expert(version, str(registry.fetch(version).absolute()))
    except RegistryError:
        if uri != EXPERT:
            raise
        return Expert("", "")


def judges_of(cast: SystemsUnderTest) -> MetricNetworks:
    """Loaded once a worker."""
    import torch

    from a2h_models.evaluators.metric_networks import load_metric_networks

    return load_metric_networks(cast.weights, "cuda" if torch.cuda.is_available() else "cpu")


def image_size(cast: SystemsUnderTest) -> int:
    """Pixels a side at which films are compared: the candidate's own."""
    return SIZE if cast.videos else _animator(cast.candidate).config.image_size


@functools.lru_cache(maxsize=2)
def _animator(folder: str) -> Animator:
    """One load a worker; two are the candidate and the champion."""
    import torch

    from a2h_models.inference.animator import Animator

    return Animator.load(Path(folder), "cuda" if torch.cuda.is_available() else "cpu")


# -------------------------------------------------------------------------------------------- films
def protocol_of_videos(config: EvaluateConfig) -> str:
    """Other systems make their own head motion, unless only the other protocol is asked for."""
    return PREDICTED_POSE if PREDICTED_POSE in config.protocols else TRUE_POSE


def films_of(
    cast: SystemsUnderTest,
    key: str,
    portrait: UInt8[np.ndarray, "256 256 3"],
    speech: Float[np.ndarray, "t 4 41"],
    truth: VideoFeatures,
    config: EvaluateConfig,
    clock: Stopwatch,
) -> Iterator[tuple[str, VideoFeatures]]:
    """Row and film, one after the other.

    Raises:
        MediaError: if there is no usable video for the clip.
    """
    if cast.videos:
        frames = read_video(find_video(Path(cast.candidate), key), len(truth.frames))
        row = protocol_of_videos(config)
        face = look(frames)
        yield row, VideoFeatures(frames=frames, face=face, pose=_seen_pose(face) if row == PREDICTED_POSE else None)
    else:
        for protocol in config.protocols:
            yield protocol, animate(_animator(cast.candidate), portrait, speech, truth, protocol, config, clock)
    for protocol in config.protocols if cast.champion else ():
        film = animate(_animator(cast.champion), portrait, speech, truth, protocol, config, Stopwatch())
        yield CHAMPION + protocol, film._replace(frames=resized(film.frames, truth.frames.shape[1]))


def animate(
    animator: Animator,
    portrait: UInt8[np.ndarray, "256 256 3"],
    speech: Float[np.ndarray, "t 4 41"],
    truth: VideoFeatures,
    protocol: str,
    config: EvaluateConfig,
    clock: Stopwatch,
) -> VideoFeatures:
    """Make the portrait talk, driven by the true poses or by the model's own."""
    pose = truth.pose
    if protocol == PREDICTED_POSE:
        with clock(f"{protocol}/{POSE}"):
            pose = animator.predict_pose(portrait, speech)
    with clock(f"{protocol}/{RENDER}"):
        batches = animator.batches(
            portrait, speech, pose=pose, keypoints=config.keypoints, batch_size=config.batch_size
        )
        frames = np.concatenate(list(batches))
    with clock("face_mesh"):
        face = look(frames)
    return VideoFeatures(
        frames=frames, face=face, pose=None if protocol == TRUE_POSE or pose is None else pose[: len(frames)]
    )


def find_video(folder: Path, key: str) -> Path:
    """The video of a clip.

    Raises:
        MediaError: if there is none.
    """
    from pipelines.prepare.sources.discover import SUFFIXES

    for suffix in sorted(SUFFIXES):
        if (path := folder / f"{key}{suffix}").is_file():
            return path
    raise MediaError(f"{folder} holds no video of the clip {key}", reason="missing", hint=f"name it {key}.mp4")


def read_video(path: Path, frames: int) -> UInt8[np.ndarray, "t 256 256 3"]:
    """The first frames of a square video at 25 fps; a few that are missing at its end are the last
    one again.

    Raises:
        InputError, MediaError: if it cannot be read, is not square, or is too short.
    """
    from pipelines import media

    with media.open_video(path) as video:
        chunks = list(video.read(Span(0, frames)))
    film = np.concatenate(chunks)[:frames]
    height, width = film.shape[1:3]
    if height != width:
        raise MediaError(
            f"{path} has {width}×{height} pixels; the clips are square", hint="write the crop that the portrait shows"
        )
    if len(film) < frames - MISSING_FRAMES:
        raise MediaError(
            f"{path} has {len(film)} frames at 25 fps, the clip {frames}", hint="make it as long as the speech"
        )
    return resized(np.concatenate([film, np.repeat(film[-1:], frames - len(film), axis=0)]), SIZE)


def resized(frames: UInt8[np.ndarray, "t h w 3"], size: int) -> UInt8[np.ndarray, "t s s 3"]:
    """Frames at another size: averaged when they shrink, bicubic when they grow."""
    if frames.shape[1] == size:
        return frames
    import cv2

    way = cv2.INTER_AREA if size < frames.shape[1] else cv2.INTER_CUBIC
    return np.stack([cv2.resize(frame, (size, size), interpolation=way) for frame in frames])


def look(frames: UInt8[np.ndarray, "t h w 3"]) -> Face | None:
    """The face mesh of a film, where MediaPipe is installed; in pixels of a 256×256 crop, whatever
    the networks' size.
    """
    if importlib.util.find_spec("mediapipe") is None:
        return None
    from pipelines.face.face_mesh import mesh

    found = mesh(resized(frames, SIZE))
    return Face(landmarks=found.landmarks, found=found.found)


def _seen_pose(face: Face | None) -> Float[np.ndarray, "t 6"] | None:
    """The head's motion, as preparation solves it."""
    if face is None or not face.found.any():
        return None
    from pipelines.face.face_mesh import solve_pose
    from pipelines.prepare.steps.samples import fill_gaps, smooth

    return smooth(solve_pose(fill_gaps(np.asarray(face.landmarks, np.float32), face.found)), POSE_SMOOTHING)
