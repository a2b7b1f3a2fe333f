"""Faces: where they are, their landmarks, their pose, and the square that becomes the crop."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64, UInt8

from a2h_models.data_types import LANDMARKS, SIZE
from a2h_models.errors import InputError
from a2h_models.features.head_pose import CENTRE, FOCAL
from pipelines.face.graphs import MediaPipeGraph, Model, points

# MediaPipe's detectors, which let pass what they are sure of by 0.6 and by 0.5: for any size of
# face; for faces that fill the picture
FULL_RANGE = Model("face_detection/face_detection_full_range_cpu", "detections")
SHORT_RANGE = Model("face_detection/face_detection_short_range_cpu", "detections")
MESH = Model(
    *("face_landmark/face_landmark_front_cpu", "multi_face_landmarks"),
    told=(("num_faces", 1), ("with_attention", False), ("use_prev_landmarks", True)),
)
HANDS = Model(
    *("hand_landmark/hand_landmark_tracking_cpu", "multi_hand_landmarks"),
    told=(("num_hands", 2), ("model_complexity", 0), ("use_prev_landmarks", False)),
    # at 0.5 every fifth real clip has a hand that is not there
    limits=(("palmdetectioncpu__TensorsToDetectionsCalculator", 0.8),),
)
TEMPLATE = Path(__file__).parent / "face_template.npz"  # made by face_template.py
CROP_SCALE = 1.6  # side of the crop / longer side of the union of the face boxes
# A face box ends at the chin and at the middle of the forehead: so much of its side the crop is
# raised to hold the hair as well.
# With it, faces stand below the middle of the crop, as they do in the release's range of
# translations (method.md §2).
RAISE = 0.12
MOUTH_TOP, MOUTH_SIDE = 22.0, 45.0  # mm of the template: what is below and between moves with speech
# of a hand's 21 points: so many within the face cover it; with more than 12 it is no hand but the
# face
HAND_TOUCHES, HAND_WITHIN = 2, 12
# OpenCV's COUNT + EPS, steps, change at which to stop: within 0.0004° of the end, in two thirds of
# the time
REFINED = (3, 20, 1e-3)
CAMERA = np.array([[FOCAL, 0, CENTRE], [0, FOCAL, CENTRE], [0, 0, 1]])


# -------------------------------------------------------------------------------------------- boxes
@dataclass(frozen=True)
class Box:
    """A face in a picture: corner and sides in pixels, and the detector's score."""

    x: float
    y: float
    w: float
    h: float
    score: float = 1.0

    def scaled(self, factor: float) -> Box:
        """The same box in a picture that is larger by `factor`."""
        return Box(self.x * factor, self.y * factor, self.w * factor, self.h * factor, self.score)


@dataclass(frozen=True)
class Square:
    """A crop: corner and side in whole pixels."""

    x: int
    y: int
    side: int


def crop_square(boxes: Sequence[Box], width: int, height: int, scale: float = CROP_SCALE) -> Square:
    """One fixed square around all boxes of a clip, as FOMM's video preprocessing lays it.

    Its side is `scale` times the longer side of the boxes' union. At a border of the picture it is
    shifted, not squeezed; if it is larger than the picture's shorter side, it is that side.
    """
    left, top = min(box.x for box in boxes), min(box.y for box in boxes)
    right, bottom = max(box.x + box.w for box in boxes), max(box.y + box.h for box in boxes)
    longer = max(right - left, bottom - top)
    side = max(1, min(round(scale * longer), width, height))
    x = round((left + right) / 2 - side / 2)
    y = round((top + bottom) / 2 - RAISE * longer - side / 2)
    return Square(min(max(x, 0), width - side), min(max(y, 0), height - side), side)


def cut_square(
    picture: UInt8[np.ndarray, "h w 3"], square: Square, size: int = SIZE
) -> UInt8[np.ndarray, "size size 3"]:
    """The square of a picture, resized: averaged over areas where it shrinks, interpolated where it
    grows.
    """
    import cv2

    piece = picture[square.y : square.y + square.side, square.x : square.x + square.side]
    return np.asarray(
        cv2.resize(piece, (size, size), interpolation=cv2.INTER_AREA if square.side > size else cv2.INTER_CUBIC)
    )


def crop_portrait(
    picture: UInt8[np.ndarray, "h w 3"], *, scale: float = CROP_SCALE, name: str = "the portrait"
) -> UInt8[np.ndarray, "256 256 3"]:
    """The crop of a picture's largest face, by the rule of the clips.

    Raises:
        InputError: if there is no face; `name` says where.
    """
    boxes = detect_faces(picture)
    if not boxes:
        raise InputError(f"no face was found in {name}", hint="give a picture that shows one face from the front")
    largest = max(boxes, key=lambda box: box.w * box.h)
    return cut_square(picture, crop_square([largest], picture.shape[1], picture.shape[0], scale))


# ---------------------------------------------------------------------------------------- detection
def detect_faces(picture: UInt8[np.ndarray, "h w 3"]) -> list[Box]:
    """Faces of an RGB picture, best first.

    The full-range detector finds small faces and misses some that fill the picture; where it finds
    none, the short-range one looks.
    """
    return _detect(FULL_RANGE, picture) or _detect(SHORT_RANGE, picture)


def _detect(detector: Model, picture: UInt8[np.ndarray, "h w 3"]) -> list[Box]:
    height, width = picture.shape[:2]
    places = [(face.location_data.relative_bounding_box, face.score[0]) for face in _at_work(detector).look(picture)]
    boxes = [
        Box(box.xmin * width, box.ymin * height, box.width * width, box.height * height, float(score))
        for box, score in places
    ]
    return sorted(boxes, key=lambda box: -box.score)


@functools.cache
def _at_work(model: Model) -> MediaPipeGraph:
    """The graph that looks at all pictures, where it looks at each by itself."""
    return MediaPipeGraph(model)


# ---------------------------------------------------------------------------------------- landmarks
class Mesh(NamedTuple):
    """Landmarks of a clip. Where no face was found, they are zeros."""

    # x, y in crop pixels; z in the same scale, smaller is nearer to the camera
    landmarks: Float32[np.ndarray, "t 468 3"]
    found: Bool[np.ndarray, " t"]


def mesh(frames: UInt8[np.ndarray, "t h w 3"]) -> Mesh:
    """Face mesh of the frames of one clip, RGB, one face, in order.

    The tracker is made for this call: it carries state, and a shared one would make results depend
    on the order of the clips.
    """
    landmarks = np.zeros((len(frames), LANDMARKS, 3), np.float32)
    found = np.zeros(len(frames), bool)
    if not len(frames):
        return Mesh(landmarks, found)
    height, width = frames.shape[1:3]
    with closing(MediaPipeGraph(MESH)) as tracker:
        for index, frame in enumerate(frames):
            for face in tracker.look(frame):
                found[index], landmarks[index] = True, points(face)
    return Mesh(landmarks * np.array([width, height, width], np.float32), found)


# -------------------------------------------------------------------------------------------- hands
def hands_before(
    frames: UInt8[np.ndarray, "t 256 256 3"], landmarks: Float32[np.ndarray, "t 468 3"]
) -> Bool[np.ndarray, " t"]:
    """In which frames a hand stands before the face. Each frame is looked at by itself.

    Of a true hand a part lies outside of the face; what the detector takes for a hand although it
    is a face lies within it.
    """
    import cv2

    covered = np.zeros(len(frames), bool)
    for index, (frame, face) in enumerate(zip(frames, landmarks, strict=True)):
        outline = cv2.convexHull(np.ascontiguousarray(face[:, :2]))
        for hand in _at_work(HANDS).look(frame):
            places = [(point.x * frame.shape[1], point.y * frame.shape[0]) for point in hand.landmark]
            inside = sum(cv2.pointPolygonTest(outline, place, measureDist=False) > 0 for place in places)
            covered[index] |= HAND_TOUCHES <= inside <= HAND_WITHIN
    return covered


# --------------------------------------------------------------------------------------------- pose
@functools.cache
def template() -> Float64[np.ndarray, "468 3"]:
    """The average face: mm-like, 140 from ear to ear (landmarks 234 and 454), x right, y down, z
    away from the camera.
    """
    with np.load(TEMPLATE, allow_pickle=False) as file:
        points: np.ndarray = file["points"].astype(np.float64)
    return points


@functools.cache
def rigid() -> Int64[np.ndarray, " n"]:
    """The landmarks above the mouth and at the sides of the face.

    With lips and chin among them an opening mouth reads as a nod and as a step: on real clips the
    correlation of z with the mouth falls from −0.6 to 0 without them, and on synthetic talkers the
    median error of the rotation from 2.0° to 1.5°.
    """
    points = template()
    return np.flatnonzero((points[:, 1] < MOUTH_TOP) | (np.abs(points[:, 0]) > MOUTH_SIDE))


def solve_pose(landmarks: Float32[np.ndarray, "t 468 3"]) -> Float32[np.ndarray, "t 6"]:
    """Rotation vector (rad) and translation (mm-like) that carry the template into the crop's
    camera; not smoothed.

    SQPNP, then iterative refinement, on the x and y of the landmarks that do not move with speech.
    Landmarks are those of a 256×256 crop.
    """
    points, solid = template(), rigid()
    return np.array(
        [_solve_one(points[solid], frame[solid, :2].astype(np.float64)) for frame in landmarks], np.float32
    ).reshape(-1, 6)


def _solve_one(points: Float64[np.ndarray, "n 3"], pixels: Float64[np.ndarray, "n 2"]) -> Float64[np.ndarray, 6]:
    import cv2

    pixels = np.ascontiguousarray(pixels)
    _, rotation, translation = cv2.solvePnP(points, pixels, CAMERA, None, flags=cv2.SOLVEPNP_SQPNP)
    rotation, translation = cv2.solvePnPRefineLM(points, pixels, CAMERA, None, rotation, translation, REFINED)
    return np.concatenate([rotation.ravel(), translation.ravel()])
