"""Where the head's motion comes from, if not from the model: poses in a file, or a video whose head
is followed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from a2h_models.data_types import POSE_DIM, SIZE
from a2h_models.errors import InputError
from pipelines import media
from pipelines.config import FeaturesConfig

DETECT_EVERY = 5  # frames between two looks for the face
SCAN_HEIGHT = 360  # pixels, at which it is looked for
MAX_POSES = 15_000  # ten minutes; longer videos and files are read so far
BLOCK = 1024  # poses handed on at a time


def reference_poses(path: Path, *, frames: int) -> Iterator[Float32[np.ndarray, "n 6"]]:
    """The poses of a file (`.npy`, (t, 6), rad and mm-like) or of the head in a video; where they
    end, backwards, and so on.

    Args:
        path: of either.
        frames: how many are wanted.

    Raises:
        InputError: for a file that holds no such numbers, or a video without a face that can be
            followed.
    """
    poses = _from_file(path) if path.suffix.lower() == ".npy" else _from_video(path)
    there_and_back = np.concatenate([poses, poses[-2:0:-1]])
    for start in range(0, frames, BLOCK):
        yield there_and_back[np.arange(start, min(start + BLOCK, frames)) % len(there_and_back)]


def _from_file(path: Path) -> Float32[np.ndarray, "t 6"]:
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
    found = np.asarray(poses[:MAX_POSES], np.float32)
    if not np.isfinite(found).all():
        raise InputError(f"{path} holds poses that are not finite numbers")
    return found


def _from_video(path: Path) -> Float32[np.ndarray, "t 6"]:
    """Followed as preparation follows a clip: one square around all sightings, landmarks in it,
    their pose, smoothed.
    """
    from pipelines.face.face_mesh import crop_square, cut_square, detect_faces, mesh, solve_pose
    from pipelines.prepare.steps.samples import fill_gaps, smooth

    with media.open_video(path) as video:
        scale = max(1.0, video.height / SCAN_HEIGHT)
        looks = (detect_faces(frame) for frame in video.stream(every=DETECT_EVERY, max_height=SCAN_HEIGHT))
        boxes = [max(boxes, key=lambda box: box.w * box.h).scaled(scale) for boxes in looks if boxes]
        if not boxes:
            raise InputError(
                f"no face was found in {path}", hint="--ref_pose takes a video of one talking head, or poses as .npy"
            )
        square = crop_square(boxes, video.width, video.height)
        part = media.CropRegion(square.x, square.y, square.side)
        crops = np.empty((min(video.frames, MAX_POSES), SIZE, SIZE, 3), np.uint8)
        for index, piece in zip(range(len(crops)), video.stream(part=part, max_height=SIZE), strict=False):
            crops[index] = cut_square(piece, type(square)(0, 0, len(piece)))
    found = mesh(crops)
    if not found.found.any():
        raise InputError(f"the face in {path} cannot be followed", hint="give a video in which it is larger")
    return smooth(solve_pose(fill_gaps(found.landmarks, found.found)), FeaturesConfig.pose_smoothing_frames)
