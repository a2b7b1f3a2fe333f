"""Synthetic speakers against their own ground truth, through the real face steps."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from a2h_models.errors import FailedError, InputError
from a2h_models.timebase import FPS, SAMPLES_PER_FRAME
from pipelines import media
from pipelines.face import face_mesh
from pipelines.synthetic import SceneConfig, make_speaker_videos
from pipelines.synthetic.motion import LIMIT, sample_motion
from pipelines.synthetic.render import mirror_pose
from pipelines.synthetic.voice import LIP_LEAD_S, mouth_curve, openness, speak

UPPER, LOWER, FOREHEAD, CHIN = 13, 14, 10, 152  # landmarks
MAX_SHIFT = 8  # frames
LIP_LEAD_FRAMES = (LIP_LEAD_S - 0.03) * FPS  # a mouth curve 0.03 s ahead is in step with the loudness


def crops_of(video: Path) -> np.ndarray:
    frames = np.concatenate(list(media.read_clip(video)))
    boxes = [box for frame in frames[::10] for box in face_mesh.detect_faces(frame)]
    square = face_mesh.crop_square(boxes, frames.shape[2], frames.shape[1])
    return np.stack([face_mesh.cut_square(frame, square) for frame in frames])


def opening_of(landmarks: np.ndarray) -> np.ndarray:
    height = np.linalg.norm(landmarks[:, CHIN, :2] - landmarks[:, FOREHEAD, :2], axis=1)
    return np.linalg.norm(landmarks[:, LOWER, :2] - landmarks[:, UPPER, :2], axis=1) / height


def best_shift(late: np.ndarray, signal: np.ndarray) -> tuple[int, float]:
    """By how many frames the first signal is late against the second, and their correlation then."""
    inner = slice(MAX_SHIFT, len(signal) - MAX_SHIFT)
    scores = {
        shift: np.corrcoef(np.roll(late, -shift)[inner], signal[inner])[0, 1]
        for shift in range(-MAX_SHIFT, MAX_SHIFT + 1)
    }
    shift = max(scores, key=scores.get)
    return shift, scores[shift]


def loudness(wave: np.ndarray, frames: int) -> np.ndarray:
    blocks = wave[: frames * SAMPLES_PER_FRAME].astype(float).reshape(frames, -1)
    return np.log(np.sqrt((blocks**2).mean(axis=1)) + 30)


def rotation_errors(found: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Degrees per frame, after one constant rotation of the head's own axes is taken out."""
    found, true = Rotation.from_rotvec(found[:, :3]), Rotation.from_rotvec(true[:, :3])
    offset = (true.inv() * found).mean()
    return np.degrees((true * offset * found.inv()).magnitude())


@pytest.fixture(scope="module")
def speakers(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return make_speaker_videos(tmp_path_factory.mktemp("talkers"), count=3, seed=7, scene=SceneConfig(seconds=4.0))


@pytest.mark.slow
@pytest.mark.parametrize("index", range(3))
def test_the_face_steps_find_the_true_pose_and_mouth(speakers: list[Path], index: int) -> None:
    with np.load(speakers[index].with_suffix(".npz")) as truth:
        pose, opening = truth["pose_25"], truth["opening_25"]
    found = face_mesh.mesh(crops_of(speakers[index]))
    assert found.found.all()
    errors = rotation_errors(gaussian_filter1d(face_mesh.solve_pose(found.landmarks), 1.0, axis=0), pose)
    assert np.median(errors) < 3.0
    assert np.percentile(errors, 95) < 5.0
    shift, likeness = best_shift(opening_of(found.landmarks), opening)
    assert abs(shift) <= 1
    assert likeness > 0.6


def test_the_video_agrees_with_its_ground_truth(speakers: list[Path]) -> None:
    info = media.probe(speakers[0])
    truth = json.loads(speakers[0].with_suffix(".json").read_text())
    assert (info.frames, info.fps, info.width, info.oddities) == (100, 25.0, 320, ())
    assert info.has_audio
    assert truth["frames"] == 100
    assert truth["text"]
    assert truth["identity"] != json.loads(speakers[1].with_suffix(".json").read_text())["identity"]


def test_the_audio_offset_is_the_one_of_the_scene(tmp_path: Path) -> None:
    for offset in (-5, 0, 5):
        (video,) = make_speaker_videos(
            tmp_path / str(offset), count=1, seed=3, scene=SceneConfig(seconds=4.0, size=96, audio_offset_frames=offset)
        )
        with np.load(video.with_suffix(".npz")) as truth:
            opening = truth["opening_25"]
        shift, likeness = best_shift(loudness(media.read_speech(video), len(opening)), opening)
        assert abs(shift - offset - LIP_LEAD_FRAMES) <= 1  # lips are ahead of what is heard
        assert likeness > 0.4


def test_equal_seeds_give_equal_bytes_and_complete_videos_stay(tmp_path: Path) -> None:
    settings, scene = {"count": 1, "seed": 11}, SceneConfig(seconds=1.0, size=96)
    (first,), (second,) = (make_speaker_videos(tmp_path / folder, **settings, scene=scene) for folder in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()
    assert first.with_suffix(".npz").stat().st_size == second.with_suffix(".npz").stat().st_size
    written = first.stat().st_mtime_ns
    make_speaker_videos(tmp_path / "a", **settings, scene=scene)
    assert first.stat().st_mtime_ns == written
    make_speaker_videos(tmp_path / "a", **settings, scene=replace(scene, seconds=1.2))
    assert first.stat().st_mtime_ns != written


def test_rate_length_second_face_and_cut(tmp_path: Path) -> None:
    (video,) = make_speaker_videos(
        tmp_path, count=1, seed=1, scene=SceneConfig(seconds=2.0, fps=30, size=256, second_face=True, cut=True)
    )
    info = media.probe(video)
    assert (info.width, info.height, info.fps, info.frames) == (512, 256, 30.0, 50)
    frames = np.concatenate(list(media.read_clip(video)))
    assert len(face_mesh.detect_faces(frames[5])) == 2
    jumps = np.abs(np.diff(frames.astype(int), axis=0)).mean(axis=(1, 2, 3))
    assert jumps.argmax() == 24  # between frames 24 and 25, the middle
    assert jumps.max() > 5 * np.median(jumps)
    truth = json.loads(video.with_suffix(".json").read_text())
    assert (truth["cut_s"], truth["faces"], len(truth["squares"])) == (1.0, 2, 2)
    with np.load(video.with_suffix(".npz")) as signals:
        assert (signals["pose"].shape, signals["pose_25"].shape) == ((60, 6), (50, 6))


@pytest.mark.parametrize("wrong", [{"seconds": 0}, {"fps": 0}, {"size": 10}, {"background": "beach"}])
def test_impossible_scenes_are_refused(wrong: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(InputError):
        make_speaker_videos(tmp_path, count=1, seed=0, scene=SceneConfig(**wrong))


def test_speech_comes_with_phonemes_in_order() -> None:
    speech = speak("Bob may borrow my hammer.")
    starts = [phoneme.start_s for phoneme in speech.phonemes]
    assert starts == sorted(starts)
    assert starts[-1] <= len(speech.wave) / 16_000 + 0.1
    assert any(phoneme.name.endswith("m") for phoneme in speech.phonemes)
    assert np.abs(speech.wave.astype(int)).max() > 3000
    assert np.array_equal(speak("Bob may borrow my hammer.").wave, speech.wave)  # whatever was said before
    with pytest.raises(FailedError, match="no voice 'nobody'"):
        speak("Hello.", voice="nobody")


def test_a_mouth_is_closed_for_m_and_open_for_a() -> None:
    assert openness("m") == openness("") == 0.0
    assert openness("ˈæ") == 1.0
    speech = speak("Bob may borrow my hammer.")
    curve = mouth_curve(speech.phonemes, len(speech.wave) / 16_000)
    assert 0 <= curve.min() < 0.1
    assert 0.6 < curve.max() <= 1.0


def test_a_head_moves_smoothly_within_its_limits() -> None:
    rest = np.array([0, 0, 0, 0, 25.0, 285.0])
    motion = sample_motion(np.random.default_rng(0), rest, seconds=60)
    pose = motion.pose(np.arange(60 * FPS) / FPS) - rest
    pose[:, :3] = np.degrees(pose[:, :3])
    assert (np.abs(pose) <= LIMIT).all()
    assert (pose.std(axis=0) > 0.3 * np.array([4, 8, 3.5, 5, 3.5, 7])).all()
    assert np.abs(np.diff(pose, n=2, axis=0)).max() < 1.0
    blink = motion.blink(np.arange(0, 60, 0.01))
    assert 0 <= blink.min() < 0.01
    assert 0.99 < blink.max() <= 1
    assert np.allclose(
        sample_motion(np.random.default_rng(0), rest, seconds=9, liveliness=0).pose(np.arange(3.0)), rest
    )


def test_the_mirror_image_of_a_pose() -> None:
    """Reflecting a point and projecting it is projecting it under the mirrored pose, reflected."""
    flip = np.diag([-1.0, 1.0, 1.0])
    pose = np.array([0.2, -0.3, 0.1, 5.0, 20.0, 280.0])
    turned = Rotation.from_rotvec(mirror_pose(pose)[:3]).as_matrix()
    assert np.allclose(flip @ Rotation.from_rotvec(pose[:3]).as_matrix() @ flip, turned)
    assert np.allclose(flip @ pose[3:], mirror_pose(pose)[3:])
