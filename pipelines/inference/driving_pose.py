"""Read head poses from a file, or track the head in a video, to drive the generated head."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from a2h_models.data_types import POSE_DIM, SIZE
from a2h_models.errors import InputError
from pipelines import media
from pipelines.config import FeaturesConfig

DETECT_EVERY = 5  # frames between two face detections
SCAN_HEIGHT = 360  # pixels: frames are scaled to it for detection
MAX_POSES = 15_000  # ten minutes; the rest of a longer file or video is ignored
BLOCK = 1024  # poses yielded at a time


def load_driving_poses(path: Path, *, frames: int) -> Iterator[Float32[np.ndarray, "n 6"]]:
    """Yield head poses of a `.npy` file or of the head in a video, in blocks.

    A sequence that is too short is played backwards, then forwards again, and so on.

    Args:
        path: `.npy` of shape (t, 6), rotation in rad and translation in mm-like units, or a video.
        frames: number of poses to yield.

    Raises:
        InputError: for a file that holds no such numbers, or a video without a face that can be
            tracked.
    """
    poses = _read_poses(path) if path.suffix.lower() == ".npy" else _track_head(path)
    there_and_back = np.concatenate([poses, poses[-2:0:-1]])
    for start in range(0, frames, BLOCK):
        yield there_and_back[np.arange(start, min(start + BLOCK, frames)) % len(there_and_back)]


def _read_poses(path: Path) -> Float32[np.ndarray, "t 6"]:
    if not path.is_file():
        raise InputError(f"{path} is not a file")
    try:
        poses = np.load(path, allow_pickle=False, mmap_mode="r")
    except (ValueError, OSError, EOFError) as error:
        raise InputError(f"{path} cannot be read as an array ({error})", hint="numpy.save writes such files") from None
    if poses.shape[1:] != (POSE_DIM,) or not len(poses) or poses.dtype.kind not in "fiu":
        raise InputError(
            f"{path} holds {poses.dtype} of shape {poses.shape}; poses are numbers of shape (t, {POSE_DIM})",
            hint="rad, then mm-like",
        )
    values = np.asarray(poses[:MAX_POSES], np.float32)
    if not np.isfinite(values).all():
        raise InputError(f"{path} holds poses that are not finite numbers")
    return values


def _track_head(path: Path) -> Float32[np.ndarray, "t 6"]:
    """Track a head as preparation does.

    One square around all detections is cropped; landmarks in it give the poses, which are smoothed.
    """
    from pipelines.face.face_mesh import crop_square, cut_square, detect_faces, mesh, solve_pose
    from pipelines.face.smoothing import fill_gaps, smooth_pose

    with media.open_video(path) as video:
        scale = max(1.0, video.height / SCAN_HEIGHT)
        detections = (detect_faces(frame) for frame in video.stream(every=DETECT_EVERY, max_height=SCAN_HEIGHT))
        boxes = [max(boxes, key=lambda box: box.w * box.h).scaled(scale) for boxes in detections if boxes]
        if not boxes:
            raise InputError(
                f"no face was found in {path}", hint="--ref_pose takes a video of one talking head, or poses as .npy"
            )
        square = crop_square(boxes, video.width, video.height)
        region = media.CropRegion(square.x, square.y, square.side)
        crops = np.empty((min(video.frames, MAX_POSES), SIZE, SIZE, 3), np.uint8)
        for index, frame in zip(range(len(crops)), video.stream(part=region, max_height=SIZE), strict=False):
            crops[index] = cut_square(frame, type(square)(0, 0, len(frame)))
    meshes = mesh(crops)
    if not meshes.found.any():
        raise InputError(f"the face in {path} cannot be tracked", hint="give a video in which it is larger")
    return smooth_pose(solve_pose(fill_gaps(meshes.landmarks, meshes.found)), FeaturesConfig.pose_smoothing_frames)
