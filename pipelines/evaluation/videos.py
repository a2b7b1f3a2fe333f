"""The videos that are measured: read from a folder, or their faces and poses detected."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from a2h_models.data_types import SIZE
from a2h_models.errors import MediaError
from a2h_models.metrics.video import Face
from a2h_models.timebase import Span
from pipelines.face.smoothing import fill_gaps, smooth_pose
from pipelines.media.formats import VIDEO_SUFFIXES

MAX_MISSING_FRAMES = 5  # at a video's end; systems that work in windows drop a few
POSE_SMOOTHING = 1.0  # frames; as the pose of the truth is smoothed by default


def find_video(folder: Path, key: str) -> Path:
    """Find the video of a clip in a folder.

    Raises:
        MediaError: if there is none.
    """
    for suffix in sorted(VIDEO_SUFFIXES):
        if (path := folder / f"{key}{suffix}").is_file():
            return path
    raise MediaError(f"{folder} holds no video of the clip {key}", reason="missing", hint=f"name it {key}.mp4")


def read_video(path: Path, frames: int) -> UInt8[np.ndarray, "t 256 256 3"]:
    """Read the first frames of a square video at 25 fps.

    The last frame is repeated for up to `MAX_MISSING_FRAMES` that are missing at the end.

    Raises:
        InputError, MediaError: if it cannot be read, is not square, or is too short.
    """
    from pipelines import media

    with media.open_video(path) as video:
        pixels = np.concatenate(list(video.read(Span(0, frames))))[:frames]
    height, width = pixels.shape[1:3]
    if height != width:
        raise MediaError(
            f"{path} has {width}×{height} pixels; the clips are square", hint="write the crop that the portrait shows"
        )
    missing = frames - len(pixels)
    if missing > MAX_MISSING_FRAMES:
        raise MediaError(
            f"{path} has {len(pixels)} frames at 25 fps, the clip {frames}", hint="make it as long as the speech"
        )
    return resize(np.concatenate([pixels, np.repeat(pixels[-1:], missing, axis=0)]), SIZE)


def resize(frames: UInt8[np.ndarray, "t h w 3"], size: int) -> UInt8[np.ndarray, "t s s 3"]:
    """Resize square frames: averaged when they shrink, bicubic when they grow."""
    if frames.shape[1] == size:
        return frames
    import cv2

    interpolation = cv2.INTER_AREA if size < frames.shape[1] else cv2.INTER_CUBIC
    return np.stack([cv2.resize(frame, (size, size), interpolation=interpolation) for frame in frames])


def detect_face(frames: UInt8[np.ndarray, "t h w 3"]) -> Face | None:
    """Detect the face mesh of a video, in pixels of a 256×256 crop; None without MediaPipe."""
    if importlib.util.find_spec("mediapipe") is None:
        return None
    from pipelines.face.face_mesh import mesh

    detected = mesh(resize(frames, SIZE))
    return Face(landmarks=detected.landmarks, found=detected.found)


def solve_head_pose(face: Face | None) -> Float[np.ndarray, "t 6"] | None:
    """Solve the head's motion as preparation does; None where no frame shows a face."""
    if face is None or not face.found.any():
        return None
    from pipelines.face.face_mesh import solve_pose

    return smooth_pose(solve_pose(fill_gaps(np.asarray(face.landmarks, np.float32), face.found)), POSE_SMOOTHING)
