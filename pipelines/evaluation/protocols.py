"""The two protocols, and the videos that each system generates of a clip under them.

`true_pose`: the clip's own head motion drives. `predicted_pose`: the system's.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from a2h_models.metrics.video import Face, VideoFeatures
from pipelines.config import EvaluateConfig
from pipelines.core.timing import Stopwatch
from pipelines.evaluation.decoded_clip import DecodedClip
from pipelines.evaluation.systems import SystemsUnderTest, load_animator
from pipelines.evaluation.videos import detect_face, find_video, read_video, resize, solve_head_pose

if TYPE_CHECKING:
    from a2h_models.inference.animator import Animator

GROUND_TRUTH, COPY_PORTRAIT = "ground_truth", "copy_portrait"  # rows that are measured beside the systems
TRUE_POSE, PREDICTED_POSE = PROTOCOLS = ("true_pose", "predicted_pose")
CHAMPION_PREFIX = "champion_"  # before the protocol, in the name of a row
FEATURES, POSE, RENDER, FACE_MESH = "features", "pose", "render", "face_mesh"  # parts that are timed


def row_videos(
    clip: DecodedClip, systems: SystemsUnderTest, config: EvaluateConfig, stopwatch: Stopwatch
) -> Iterator[tuple[str, VideoFeatures]]:
    """Yield each row and its video, one at a time: memory holds the truth and one more.

    Raises:
        MediaError: if a folder of videos has no usable one of the clip.
    """
    yield GROUND_TRUTH, clip.truth
    yield COPY_PORTRAIT, _still_video(clip.truth)
    if systems.third_party:
        yield _third_party_video(clip, Path(systems.candidate), config)
    else:
        for protocol in config.protocols:
            yield protocol, _generate(load_animator(systems.candidate), clip, protocol, config, stopwatch)
    for protocol in config.protocols if systems.champion else ():
        video = _generate(load_animator(systems.champion), clip, protocol, config, Stopwatch())
        size = clip.truth.frames.shape[1]
        yield CHAMPION_PREFIX + protocol, video._replace(frames=resize(video.frames, size))


def _still_video(truth: VideoFeatures) -> VideoFeatures:
    """The video of a system that copies the portrait into every frame."""
    frames = np.broadcast_to(truth.frames[:1], truth.frames.shape)
    face = Face(*(np.broadcast_to(part[:1], part.shape) for part in truth.face)) if truth.face else None
    pose = None if truth.pose is None else np.broadcast_to(truth.pose[:1], truth.pose.shape)
    return VideoFeatures(frames=frames, face=face, pose=pose)


def _third_party_video(clip: DecodedClip, folder: Path, config: EvaluateConfig) -> tuple[str, VideoFeatures]:
    """Other systems predict their head motion, unless only the other protocol is asked for."""
    frames = read_video(find_video(folder, clip.key), len(clip.truth.frames))
    face = detect_face(frames)
    if PREDICTED_POSE in config.protocols:
        return PREDICTED_POSE, VideoFeatures(frames=frames, face=face, pose=solve_head_pose(face))
    return TRUE_POSE, VideoFeatures(frames=frames, face=face, pose=None)


def _generate(
    animator: Animator, clip: DecodedClip, protocol: str, config: EvaluateConfig, stopwatch: Stopwatch
) -> VideoFeatures:
    """Animate the portrait with the true head poses, or with those that the model predicts."""
    pose = clip.truth.pose
    if protocol == PREDICTED_POSE:
        with stopwatch(f"{protocol}/{POSE}"):
            pose = animator.predict_pose(clip.portrait, clip.speech)
    with stopwatch(f"{protocol}/{RENDER}"):
        batches = animator.batches(
            clip.portrait, clip.speech, pose=pose, keypoints=config.keypoints, batch_size=config.batch_size
        )
        frames = np.concatenate(list(batches))
    with stopwatch(FACE_MESH):
        face = detect_face(frames)
    predicted = None if protocol == TRUE_POSE or pose is None else pose[: len(frames)]
    return VideoFeatures(frames=frames, face=face, pose=predicted)
