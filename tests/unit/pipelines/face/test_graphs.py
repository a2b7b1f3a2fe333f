"""MediaPipe's graphs, worked by one thread, say what its own classes say."""

from __future__ import annotations

import warnings
from contextlib import closing
from typing import Any

import numpy as np
import pytest

from pipelines.face import face_mesh
from pipelines.face.graphs import MediaPipeGraph, points


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    from skimage.data import astronaut

    return astronaut()


@pytest.fixture(scope="module")
def passing(photo: np.ndarray) -> list[np.ndarray]:
    """A face that moves through the picture, and leaves it."""
    return [np.ascontiguousarray(photo[step : step + 256, 96 + 4 * step : 352 + 4 * step]) for step in range(0, 32, 2)]


@pytest.fixture(scope="module")
def solutions() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mediapipe as mp
    return mp.solutions


def written(messages: list[Any] | None) -> list[bytes]:
    return [message.SerializeToString() for message in messages or []]


@pytest.mark.filterwarnings("ignore")  # of MediaPipe's classes
def test_the_mesh_is_the_libraries_own(passing: list[np.ndarray], solutions: Any) -> None:
    with closing(MediaPipeGraph(face_mesh.MESH)) as ours, solutions.face_mesh.FaceMesh() as theirs:
        seen = [(written(ours.look(frame)), written(theirs.process(frame).multi_face_landmarks)) for frame in passing]
    assert any(mine for mine, _ in seen)
    assert all(mine == its for mine, its in seen)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("model", "number"), [(face_mesh.SHORT_RANGE, 0), (face_mesh.FULL_RANGE, 1)])
def test_the_detections_are_the_libraries_own(photo: np.ndarray, solutions: Any, model: Any, number: int) -> None:
    with (
        closing(MediaPipeGraph(model)) as ours,
        solutions.face_detection.FaceDetection(model_selection=number) as theirs,
    ):
        assert written(ours.look(photo)) == written(theirs.process(photo).detections) != []


def test_a_limit_keeps_out_what_is_less_sure(photo: np.ndarray) -> None:
    palms = face_mesh.HANDS._replace(output="palm_detections")
    with (
        closing(MediaPipeGraph(palms)) as strict,
        closing(MediaPipeGraph(palms._replace(limits=((palms.limits[0][0], 0.01),)))) as lax,
    ):
        assert len(strict.look(photo)) < len(lax.look(photo))


def test_landmarks_become_numbers_also_where_they_hold_more(photo: np.ndarray) -> None:
    with closing(MediaPipeGraph(face_mesh.MESH)) as graph:
        face = graph.look(photo)[0]
    plain = np.array([(point.x, point.y, point.z) for point in face.landmark], np.float32)
    assert np.array_equal(points(face), plain)
    face.landmark[0].visibility = 0.5
    assert np.array_equal(points(face), plain)
    assert points(type(face)()).shape == (0, 3)
