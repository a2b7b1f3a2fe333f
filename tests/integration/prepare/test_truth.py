"""How exact preparation is: synthetic talkers against their own truth.

`--log-cli-level=INFO` shows what was measured.
"""

from __future__ import annotations

import json
import logging
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from a2h_models.data_types import SIZE
from a2h_models.features.head_pose import project
from a2h_models.metrics import av_sync
from a2h_models.timebase import SAMPLES_PER_FRAME, Span
from pipelines import media
from pipelines.config import FiltersConfig, PrepareConfig
from pipelines.core.storage import Storage
from pipelines.core.timing import Stopwatch
from pipelines.face import face_mesh
from pipelines.face.smoothing import fill_gaps, smooth_pose
from pipelines.prepare.planning.plan import Unit, Video
from pipelines.prepare.reasons import Reason
from pipelines.prepare.sound import cut_wave
from pipelines.prepare.steps.align_sound import Offset, correction
from pipelines.prepare.steps.choose_speaker import Speaker, speakers
from pipelines.prepare.steps.crop import crop_frames
from pipelines.prepare.steps.filter import judge
from pipelines.prepare.steps.find_clips import Clip, find_clips
from pipelines.prepare.steps.order import CLIP_STEPS
from pipelines.prepare.steps.scan_video import scan_video
from pipelines.prepare.steps.state import ClipState, PrepareContext, VideoState
from pipelines.synthetic import SceneConfig, make_speaker_video

logger = logging.getLogger(__name__)
pytestmark = pytest.mark.slow

PEOPLE, SECONDS = 8, 6.0
LIVELY = 1.5  # times the usual head motion: yaw to 20°, pitch to 13°, roll to 11°
SHA256 = "ab" * 32
OFFSETS = range(-8, 9)  # frames
WITHIN_DEG = 25.0


class Seen(NamedTuple):
    """A talker as preparation sees it, and what is true of it."""

    clip: Clip
    landmarks: np.ndarray
    wave: np.ndarray
    true_pose: np.ndarray  # in the crop's camera


def dio() -> PrepareConfig:
    config = PrepareConfig()
    config.features.f0 = "dio"
    return config


def true_pose_in(square: face_mesh.Square, camera: dict[str, int], poses: np.ndarray) -> np.ndarray:
    """Poses of one crop's camera in another's: the template is projected into the frame, and solved
    for where it is seen in the crop.
    """
    landmarks = np.zeros((len(poses), 468, 3), np.float32)
    for points, pose in zip(landmarks, poses, strict=True):
        frame = project(face_mesh.template(), pose.astype(np.float64)) * camera["side"] / SIZE + [
            camera["x"],
            camera["y"],
        ]
        points[:, :2] = (frame - [square.x, square.y]) * SIZE / square.side
    return face_mesh.solve_pose(landmarks)


def see(path: Path) -> Seen:
    with media.open_video(path) as video:
        (clip,) = find_clips(scan_video(video, PrepareConfig().clips), SHA256, PrepareConfig().clips)
        found = face_mesh.mesh(crop_frames(video, clip))
    truth = json.loads(path.with_suffix(".json").read_text())
    with np.load(path.with_suffix(".npz")) as signals:
        poses = signals["pose_25"][clip.span.start : clip.span.stop]
    landmarks = fill_gaps(found.landmarks, found.found)
    return Seen(clip, landmarks, media.read_speech(path), true_pose_in(clip.square, truth["squares"][0][0], poses))


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> list[Seen]:
    folder = tmp_path_factory.mktemp("people")
    scene = SceneConfig(seconds=SECONDS, liveliness=LIVELY)
    return [
        see(make_speaker_video(folder / f"talker-{number:04d}.mp4", (2026, number), scene)) for number in range(PEOPLE)
    ]


def rotation_errors(seen: Seen) -> np.ndarray:
    """Degrees a frame, after one constant rotation of the clip: where the zero of a head lies is a
    convention.
    """
    found = smooth_pose(face_mesh.solve_pose(seen.landmarks), PrepareConfig().features.pose_smoothing_frames)
    turned, true = Rotation.from_rotvec(found[:, :3]), Rotation.from_rotvec(seen.true_pose[:, :3])
    offset = (true.inv() * turned).mean()
    return np.degrees((true * offset * turned.inv()).magnitude())


def translation_errors(seen: Seen) -> np.ndarray:
    """Shares of the distance, after one constant factor of the clip: one camera cannot tell a large
    head from a near one.
    """
    found = smooth_pose(face_mesh.solve_pose(seen.landmarks), PrepareConfig().features.pose_smoothing_frames)[:, 3:]
    true = seen.true_pose[:, 3:]
    size = np.median(found[:, 2] / true[:, 2])
    return np.linalg.norm(found / size - true, axis=1) / np.linalg.norm(true, axis=1)


def test_rotation(people: list[Seen]) -> None:
    errors = np.concatenate([rotation_errors(seen) for seen in people])
    turns = np.degrees(np.concatenate([np.linalg.norm(seen.true_pose[:, :3], axis=1) for seen in people]))
    assert turns.max() > 0.8 * WITHIN_DEG  # the heads do turn
    errors = errors[turns <= WITHIN_DEG]
    logger.info(
        "rotation: median %.2f°, 95th percentile %.2f°, %d frames",
        np.median(errors),
        np.percentile(errors, 95),
        len(errors),
    )
    assert np.median(errors) <= 2.0
    assert np.percentile(errors, 95) <= 4.0


def test_translation(people: list[Seen]) -> None:
    errors = np.concatenate([translation_errors(seen) for seen in people])
    logger.info(
        "translation: median %.4f, 95th percentile %.4f of the distance", np.median(errors), np.percentile(errors, 95)
    )
    assert np.percentile(errors, 95) <= 0.03


def test_planted_offsets_are_found(people: list[Seen]) -> None:
    """Each talker's sound shifted by every offset; eight frames at either end are left out, so that
    nothing is padded.
    """
    misses = []
    for seen in people:
        inner = Span(seen.clip.span.start + 8, seen.clip.span.stop - 8)
        mouth = av_sync.mouth_shape(seen.landmarks)[8:-8]
        for offset in OFFSETS:
            piece = cut_wave(seen.wave, inner, late=-offset)
            misses.append(av_sync.match(mouth, av_sync.expected_mouth(piece, len(inner))).offset - offset)
    right = np.mean(np.abs(misses) <= 1)
    logger.info("sync: %.3f of %d planted offsets found within a frame", right, len(misses))
    assert right >= 0.95


def measure(
    reader: media.VideoReader, clip: Clip, wave: Any, speaker: Speaker | None, config: PrepareConfig
) -> ClipState:
    """Run the steps from the crop to the scores."""
    video = Video(file="", sha256=SHA256, size=0, identity="")
    unit = Unit(id="", split="train", number=0, plan="", videos=(video,))
    with ExitStack() as stack:
        source = VideoState(video=video, unit=unit, path=Path(), stack=stack, clock=Stopwatch())
        source.reader, source.wave = reader, wave
        state = ClipState(clip=clip, source=source, speaker=speaker)
        for step in CLIP_STEPS[:4]:
            step.run(state, PrepareContext(config=config, source=Storage("."), out=Storage(".")))
        state.frames = state.frames.copy()  # the next clip's are written over them
        return state


def late_talker(folder: Path, offset: int) -> Path:
    """A talker of twelve seconds: long enough for a sure match."""
    return make_speaker_video(
        folder / "talker-0000.mp4", (5, 3), SceneConfig(seconds=12.0, size=200, audio_offset_frames=offset)
    )


@pytest.mark.parametrize("offset", [-5, 4])
def test_an_offset_in_a_file_is_found_and_mended(tmp_path: Path, offset: int) -> None:
    """End to end: what was encoded late is decoded, found, and heard in time."""
    config = dio()
    path = late_talker(tmp_path, offset)
    with media.open_video(path) as video:
        wave = media.read_speech(path)
        (clip,) = find_clips(scan_video(video, config.clips), SHA256, config.clips)
        features = measure(video, clip, wave, None, config)
    scores = features.scores
    assert scores.sync_offset is not None
    assert abs(scores.sync_offset - offset) <= 1
    assert scores.sync_corrected == scores.sync_offset
    assert judge(scores, config.filters) is None
    again = av_sync.match(
        av_sync.mouth_shape(features.landmarks), av_sync.expected_mouth(features.wave, len(features.frames))
    )
    assert abs(again.offset) <= 1
    late = int(scores.sync_corrected) * SAMPLES_PER_FRAME
    start = clip.span.start * SAMPLES_PER_FRAME + late
    whole = wave[max(start, 0) : start + len(features.wave)]
    at = max(-start, 0)
    assert np.array_equal(features.wave[at : at + len(whole)], whole)  # the video's own sound, at the shifted place


def test_what_lies_beyond_correction_is_rejected() -> None:
    config = PrepareConfig().features
    sure, unsure = config.correct_from_confidence, config.correct_from_confidence - 0.01
    assert [correction(Offset(frames, sure, None, None), config) for frames in (0, 2, 3, -6, 7)] == [0, 0, 3, -6, 0]
    assert correction(Offset(5, unsure, None, None), config) == 0
    assert [correction(Offset(frames, 0.0, 8.0, config.correct_from_lse_c), config) for frames in (1, 2, -6, 7)] == [
        0,
        2,
        -6,
        0,
    ]
    assert correction(Offset(5, 9.9, 8.0, 1.0), config) == 0  # SyncNet decides


def test_of_two_faces_the_speaking_one_is_kept(tmp_path: Path) -> None:
    config = dio()
    path = make_speaker_video(
        tmp_path / "talker-0000.mp4", (7, 1), SceneConfig(seconds=12.0, size=200, second_face=True)
    )
    wave = media.read_speech(path)
    with media.open_video(path) as video:
        clips = find_clips(scan_video(video, config.clips), SHA256, config.clips)
        with speakers(video, clips, wave, config.clips) as known:
            features = {clip.square.x < 100: measure(video, clip, wave, known[clip.key], config) for clip in clips}
            cut_again = {clip.square.x < 100: crop_frames(video, clip) for clip in clips}
    reasons = {left: judge(found.scores, FiltersConfig()) for left, found in features.items()}
    assert all((found.frames == cut_again[left]).all() for left, found in features.items())
    # the one on the left speaks, the one on the right listens
    assert reasons == {True: None, False: Reason.SEVERAL_FACES}
