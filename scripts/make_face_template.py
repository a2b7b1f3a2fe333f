"""How face_template.npz was made: the face mesh of many people, averaged, as the one solid head
that every pose refers to.

    python -m scripts.make_face_template VIDEO… --out pipelines/face/face_template.npz

The average of one person's near-frontal frames counts once. It holds no one's face: only 468 points
of an average.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int64

from a2h_models.errors import MediaError
from pipelines import media
from pipelines.face.face_mesh import TEMPLATE, crop_square, cut_square, detect_faces, mesh

LEFT, RIGHT = 234, 454  # the ears
FACE_WIDTH = 140.0  # mm-like, between them
CHIN, BROWS = 152, (107, 336, 55, 285)
LEAN_DEG = 5.0  # the line from the brows to the chin leans back so far in the mean face that OpenFace's poses refer to
MAX_TURN = 0.25  # difference of the ears' depths / face width: 14° of yaw
FRAMES_PER_VIDEO = 12
MIN_FRAMES = 3
MAX_HEIGHT = 720  # pixels; larger frames are scaled down
ROUNDS = 10  # of alignment; the mean stands still after 4
# The 68 points of the usual annotation (jaw, brows, nose, eyes, mouth): the origin is their mean,
# as it is OpenFace's
ANNOTATION = (
    *(162, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 389),
    *(71, 63, 105, 66, 107, 336, 296, 334, 293, 301),
    *(168, 197, 5, 4, 75, 97, 2, 326, 305),
    *(33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380),
    *(61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87),
)

Points = Float64[np.ndarray, "468 3"]


def build_template(people: Sequence[Sequence[Points]]) -> Points:
    """Average, symmetrise, and place: one person's meshes first, then all people alike."""
    mean = _resized(people[0][0])
    for _ in range(ROUNDS):
        mean = _resized(
            np.mean([np.mean([_aligned(face, mean) for face in person], axis=0) for person in people], axis=0)
        )
    return _placed(_symmetric(mean))


def _resized(face: Points) -> Points:
    return np.asarray((face - face.mean(axis=0)) * (FACE_WIDTH / np.linalg.norm(face[LEFT] - face[RIGHT])))


def _aligned(face: Points, to: Points) -> Points:
    from scipy.spatial.transform import Rotation

    face = _resized(face)
    turn, _ = Rotation.align_vectors(to, face)
    return np.asarray(turn.apply(face))


def mirror_pairs(face: Points) -> Int64[np.ndarray, 468]:
    """For each landmark its partner on the other half of the face; found by laying the mirrored
    face over the face.
    """
    from scipy.optimize import linear_sum_assignment

    mirrored = face * [-1, 1, 1]
    laid = mirrored
    for _ in range(ROUNDS):
        _, partner = linear_sum_assignment(np.square(face[:, None] - laid[None]).sum(axis=-1))
        order = np.argsort(partner)
        laid = _aligned(mirrored, face[order])
    return np.asarray(partner)


def _symmetric(face: Points) -> Points:
    """The mean of the face and its mirror image, with the plane of symmetry at x = 0."""
    from scipy.spatial.transform import Rotation

    partner = mirror_pairs(face)
    mirrored = (face * [-1, 1, 1])[partner]
    turn, _ = Rotation.align_vectors(face, mirrored)
    half = Rotation.from_rotvec(turn.as_rotvec() / 2).inv()
    upright: np.ndarray = half.apply(face)
    return np.asarray((upright + (upright * [-1, 1, 1])[partner]) / 2)


def _placed(face: Points) -> Points:
    """Ears 140 apart, pitch 0 where OpenFace has it, origin in the mean of the 68 annotated points."""
    from scipy.spatial.transform import Rotation

    face = _resized(face)
    brow_to_chin = face[CHIN] - face[list(BROWS)].mean(axis=0)
    lean = np.degrees(np.arctan2(brow_to_chin[2], brow_to_chin[1]))
    leaning: np.ndarray = Rotation.from_euler("x", LEAN_DEG - lean, degrees=True).apply(face)
    return np.asarray(leaning - leaning[list(ANNOTATION)].mean(axis=0))


def frontal_meshes(video: Path) -> list[Points]:
    """Meshes of some frames of a video in which one person looks about straight into the camera."""
    try:
        with media.open_video(video) as opened:
            every = max(1, opened.frames // FRAMES_PER_VIDEO)
            frames = [frame for chunk in opened.read(every=every, max_height=MAX_HEIGHT) for frame in chunk]
    except MediaError:  # a damaged file has no part in the average
        return []
    meshes = []
    for frame in frames:
        boxes = detect_faces(frame)
        if len(boxes) == 1:
            found = mesh(cut_square(frame, crop_square(boxes, frame.shape[1], frame.shape[0]))[None])
            meshes += list(found.landmarks[found.found].astype(np.float64))
    return [
        face
        for face in meshes
        if abs(face[LEFT, 2] - face[RIGHT, 2]) < MAX_TURN * np.linalg.norm(face[LEFT] - face[RIGHT])
    ]


def make(videos: Iterable[Path], out: Path) -> int:
    """Write the template of some videos; returns how many of them had a part in it."""
    people = [faces for video in sorted(videos) if len(faces := frontal_meshes(video)) >= MIN_FRAMES]
    np.savez_compressed(out, points=build_template(people).astype(np.float32), videos=len(people))
    return len(people)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, default=TEMPLATE)
    arguments = parser.parse_args()
    make(arguments.videos, arguments.out)


if __name__ == "__main__":
    main()
