"""Motion on hand-made sequences."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from a2h_models.metrics import motion
from a2h_models.timebase import FPS


def turning(yaw_deg: np.ndarray) -> np.ndarray:
    """A head that only turns left and right."""
    pose = np.zeros((len(yaw_deg), 6))
    pose[:, 1] = np.radians(yaw_deg)
    return pose


def some_face(frames: int = 5, points: int = 468) -> np.ndarray:
    return np.random.default_rng(3).uniform(50, 200, (frames, points, 3))


def test_a_still_head_has_no_motion() -> None:
    still = turning(np.full(20, 7.0))
    assert motion.head_diversity(still) == pytest.approx(0.0)
    assert motion.mean_absolute_step(still) == 0.0
    assert motion.jitter(still) == 0.0


def test_an_even_turn_has_steps_and_no_jitter() -> None:
    pose = turning(np.arange(20) * 3.0)
    assert motion.mean_absolute_step(pose) == pytest.approx(1.0)  # 3 degrees in one of three angles
    assert motion.jitter(pose) == pytest.approx(0.0, abs=1e-9)


def test_a_shaking_head_jitters() -> None:
    pose = turning(np.array([1.0, -1.0] * 10))
    assert motion.mean_absolute_step(pose) == pytest.approx(2 / 3)
    assert motion.jitter(pose) == pytest.approx(4 / 3)
    assert motion.head_diversity(pose) == pytest.approx(1 / 3)


def test_pose_ssim_falls_with_distance() -> None:
    truth = turning(10 * np.sin(np.arange(60) / 8))
    assert motion.pose_ssim(truth, truth) == pytest.approx(1.0)
    near, far = motion.pose_ssim(truth + 0.02, truth), motion.pose_ssim(-truth, truth)
    assert far < near < 1.0


def test_pose_ssim_needs_a_window() -> None:
    with pytest.raises(ValueError, match="11 frames or more"):
        motion.pose_ssim(np.zeros((5, 6)), np.zeros((5, 6)))


def test_head_beats_are_where_the_head_is_slowest() -> None:
    """A swing of one second is slow at its two turning points."""
    times = np.arange(4 * FPS) / FPS
    beats = motion.head_beats(turning(10 * np.cos(2 * np.pi * times)))
    np.testing.assert_allclose(beats[:4], [0.5, 1.0, 1.5, 2.0], atol=1.01 / FPS)


def test_beats_that_coincide_align_fully() -> None:
    times = np.arange(4 * FPS) / FPS
    pose = turning(10 * np.cos(2 * np.pi * times))
    beats = motion.head_beats(pose)
    assert motion.beat_alignment(pose, beats) == pytest.approx(1.0)
    assert motion.beat_alignment(pose, beats + motion.BEAT_SIGMA_S) == pytest.approx(np.exp(-0.5), abs=0.02)


def test_beat_alignment_without_beats() -> None:
    pose = turning(np.zeros(50))
    assert np.isnan(motion.beat_alignment(pose, np.zeros(0)))
    assert motion.beat_alignment(pose, np.array([1.0])) == 0.0


@given(scale=st.floats(0.2, 5.0), shift=st.floats(-300, 300))
def test_landmark_distance_ignores_translation_and_scale(scale: float, shift: float) -> None:
    truth = some_face()
    np.testing.assert_allclose(motion.landmark_distances(truth * scale + shift, truth), 0.0, atol=1e-6)


def test_landmark_distance_is_in_pixels_of_the_truth() -> None:
    """One point of many moved by 10 px moves the mean by about 10 / n."""
    truth = some_face()
    moved = truth.copy()
    moved[:, 100, 0] += 10.0
    np.testing.assert_allclose(motion.landmark_distances(moved, truth, np.array([100])), 10.0, rtol=0.02)
    np.testing.assert_allclose(motion.average_keypoint_distance(moved, truth), 10.0 / 468)


def test_average_keypoint_distance_sees_translation() -> None:
    truth = some_face()
    np.testing.assert_allclose(motion.average_keypoint_distance(truth + np.array([3.0, 4.0, 0.0]), truth), 5.0)


def test_the_lips_are_those_of_the_face_mesh() -> None:
    face_mesh = pytest.importorskip("mediapipe.python.solutions.face_mesh_connections")
    assert set(motion.LIPS.tolist()) == {point for edge in face_mesh.FACEMESH_LIPS for point in edge}


def test_a_swaying_head_does_not_drift_and_a_turning_one_does() -> None:
    time = np.arange(60 * FPS) / FPS
    assert motion.drift(turning(10 * np.sin(2 * np.pi * time))) == pytest.approx(0, abs=1e-6)
    assert motion.drift(turning(0.1 * time)) == pytest.approx(0.1 * 50 / 3)  # 50 s lie between the middles of both ends


def test_a_drift_needs_more_than_ten_seconds() -> None:
    with pytest.raises(ValueError, match="250 frames is too short"):
        motion.drift(turning(np.zeros(250)))
