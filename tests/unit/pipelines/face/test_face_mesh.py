"""Faces: the crop rule as a rule, pose against known poses, detection and mesh on a photograph."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from a2h_models.errors import InputError
from a2h_models.features.head_pose import POSE_MAX, POSE_MIN, project
from pipelines.face import face_mesh
from scripts.make_face_template import build_template, mirror_pairs

LEFT, RIGHT, NOSE, CHIN = 234, 454, 4, 152

boxes = st.builds(
    face_mesh.Box,
    x=st.floats(-50, 1900),
    y=st.floats(-50, 1000),
    w=st.floats(5, 900),
    h=st.floats(5, 900),
)


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    from skimage.data import astronaut

    return astronaut()


@given(st.lists(boxes, min_size=1, max_size=5), st.integers(16, 1920), st.integers(16, 1080), st.floats(1, 3))
def test_a_square_lies_within_the_picture(found: list[face_mesh.Box], width: int, height: int, scale: float) -> None:
    square = face_mesh.crop_square(found, width, height, scale)
    assert 0 <= square.x <= width - square.side
    assert 0 <= square.y <= height - square.side
    assert square.side >= 1


@given(st.floats(50, 200), st.floats(700, 1200), st.floats(700, 1200))
def test_away_from_borders_a_square_holds_all_boxes_and_some_hair(size: float, x: float, y: float) -> None:
    pair = [face_mesh.Box(x, y, size, size), face_mesh.Box(x + 0.2 * size, y, size, size)]
    square = face_mesh.crop_square(pair, 4000, 4000, 1.6)
    assert square.side == round(1.6 * 1.2 * size)
    assert square.x <= x
    assert square.x + square.side >= x + 1.2 * size
    above, below = y - square.y, square.y + square.side - (y + size)
    assert above > below > 0


def test_at_a_border_a_square_is_shifted_and_keeps_its_side() -> None:
    inside = face_mesh.crop_square([face_mesh.Box(300, 300, 100, 100)], 1000, 1000)
    corner = face_mesh.crop_square([face_mesh.Box(0, 0, 100, 100)], 1000, 1000)
    assert corner == face_mesh.Square(0, 0, inside.side)
    assert face_mesh.crop_square([face_mesh.Box(300, 0, 100, 100)], 1000, 120).side == 120


def test_cutting_resizes_both_ways() -> None:
    picture = np.arange(100, dtype=np.uint8)[None, :, None].repeat(100, axis=0).repeat(3, axis=2)
    assert face_mesh.cut_square(picture, face_mesh.Square(10, 20, 50)).shape == (256, 256, 3)
    small = face_mesh.cut_square(picture, face_mesh.Square(10, 20, 50), size=5)
    assert np.allclose(small[0, :, 0], [14.5, 24.5, 34.5, 44.5, 54.5], atol=1)


def test_the_template_is_placed_as_its_docstring_says() -> None:
    points = face_mesh.template()
    assert points.shape == (468, 3)
    assert np.linalg.norm(points[LEFT] - points[RIGHT]) == pytest.approx(140, abs=0.01)
    assert points[LEFT, 0] == pytest.approx(-70, abs=0.5)
    assert abs(points[NOSE, 0]) < 0.1
    assert points[NOSE, 2] < points[LEFT, 2]  # the nose is nearer than the ears
    assert points[CHIN, 1] > 60  # down is positive
    assert np.allclose((points * [-1, 1, 1])[mirror_pairs(points)], points, atol=0.1)


def test_an_average_of_turned_and_scaled_faces_is_the_face() -> None:
    from scipy.spatial.transform import Rotation

    rng = np.random.default_rng(0)
    points = face_mesh.template()
    people = [
        [
            Rotation.from_rotvec(rng.normal(0, 0.1, 3)).apply(points) * rng.uniform(0.5, 2) + rng.normal(0, 50, 3)
            for _ in range(3)
        ]
        for _ in range(4)
    ]
    assert np.allclose(build_template(people), points, atol=0.1)


@given(st.tuples(*(st.floats(low, high) for low, high in zip(POSE_MIN, POSE_MAX, strict=True))))
def test_a_projected_template_gives_its_pose_back(pose: tuple[float, ...]) -> None:
    landmarks = np.zeros((1, 468, 3), np.float32)
    landmarks[0, :, :2] = project(face_mesh.template(), np.array(pose))
    assert np.allclose(face_mesh.solve_pose(landmarks)[0], pose, atol=0.02)


def test_speech_does_not_move_the_pose() -> None:
    landmarks = np.zeros((2, 468, 3), np.float32)
    landmarks[:, :, :2] = project(face_mesh.template(), np.array([0.1, 0.2, 0, 0, 20, 280.0]))
    landmarks[1, CHIN, 1] += 20  # an open mouth
    assert np.array_equal(*face_mesh.solve_pose(landmarks))
    assert face_mesh.solve_pose(landmarks[:0]).shape == (0, 6)


def test_the_photographed_face_is_found_meshed_and_about_frontal(photo: np.ndarray) -> None:
    (box,) = face_mesh.detect_faces(photo)
    assert 160 < box.x < 190
    assert box.score > 0.8
    assert box.scaled(2).w == 2 * box.w
    crop = face_mesh.crop_portrait(photo)
    found = face_mesh.mesh(np.stack([crop] * 3))
    assert found.found.all()
    pose = face_mesh.solve_pose(found.landmarks)
    assert np.abs(np.degrees(pose[:, :3])).max() < 10
    assert ((np.array(POSE_MIN) < pose) & (pose < np.array(POSE_MAX))).all()


def test_a_face_that_fills_the_picture_is_found(photo: np.ndarray) -> None:
    assert face_mesh.detect_faces(photo[62:182, 165:285])


def test_no_hand_stands_before_a_bare_face(photo: np.ndarray) -> None:
    crops = face_mesh.crop_portrait(photo)[None].repeat(2, axis=0)
    assert face_mesh.hands_before(crops, face_mesh.mesh(crops).landmarks).tolist() == [False, False]
    assert face_mesh.hands_before(crops[:0], np.zeros((0, 468, 3), np.float32)).shape == (0,)


def test_a_new_tracker_for_each_clip(photo: np.ndarray) -> None:
    """What was meshed before changes nothing."""
    crop = face_mesh.crop_portrait(photo)[None]
    alone = face_mesh.mesh(crop)
    face_mesh.mesh(np.roll(crop, 40, axis=2).repeat(3, axis=0))
    assert np.array_equal(alone.landmarks, face_mesh.mesh(crop).landmarks)


def test_without_a_face_there_is_no_mesh_and_no_portrait() -> None:
    grey = np.full((2, 256, 256, 3), 128, np.uint8)
    assert not face_mesh.mesh(grey).found.any()
    assert not face_mesh.mesh(grey).landmarks.any()
    assert face_mesh.mesh(grey[:0]).landmarks.shape == (0, 468, 3)
    assert face_mesh.detect_faces(grey[0]) == []
    with pytest.raises(InputError, match=r"no face was found in me\.png"):
        face_mesh.crop_portrait(grey[0], name="me.png")


@pytest.mark.slow
def test_nothing_is_written_to_the_error_stream() -> None:
    code = (
        "import numpy as np; from skimage.data import astronaut; from pipelines.face import face_mesh;"
        "crop = face_mesh.crop_portrait(astronaut()); face_mesh.mesh(crop[None])"
    )
    environment = {**os.environ, "PYTHONWARNINGS": "error"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, timeout=120, env=environment, text=True
    )
    assert done.stderr == ""
