"""Rows of an evaluation, and whose head motion drives each video; a stub generates."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from a2h_models.metrics.video import Face, VideoFeatures
from pipelines.config import EvaluateConfig
from pipelines.core.timing import Stopwatch
from pipelines.evaluation import protocols
from pipelines.evaluation.decoded_clip import DecodedClip
from pipelines.evaluation.systems import SystemsUnderTest

FRAMES, SIZE = 4, 64


class StubAnimator:
    """Generates grey frames, and remembers the pose that drove them."""

    def __init__(self, size: int = SIZE) -> None:
        self.size, self.poses = size, []

    def predict_pose(self, portrait: np.ndarray, speech: np.ndarray) -> np.ndarray:
        return np.full((len(speech), 6), 7.0)

    def batches(
        self, portrait: np.ndarray, speech: np.ndarray, *, pose: np.ndarray, **rest: Any
    ) -> Iterator[np.ndarray]:
        self.poses.append(pose)
        for _ in speech:
            yield np.full((1, self.size, self.size, 3), 90, np.uint8)


@pytest.fixture
def clip() -> DecodedClip:
    frames = np.arange(FRAMES, dtype=np.uint8)[:, None, None, None] * np.ones((1, SIZE, SIZE, 3), np.uint8)
    face = Face(landmarks=np.zeros((FRAMES, 468, 3), np.float32), found=np.ones(FRAMES, bool))
    truth = VideoFeatures(frames=frames, face=face, pose=np.arange(FRAMES * 6.0).reshape(FRAMES, 6))
    return DecodedClip(
        key="clip",
        truth=truth,
        wave=np.zeros(FRAMES * 640, np.int16),
        speech=np.zeros((FRAMES, 4, 41)),
        portrait=np.zeros((256, 256, 3), np.uint8),
    )


def rows(clip: DecodedClip, systems: SystemsUnderTest, **settings: Any) -> dict[str, VideoFeatures]:
    return dict(protocols.row_videos(clip, systems, EvaluateConfig(**settings), Stopwatch()))


@pytest.fixture
def animators(monkeypatch: pytest.MonkeyPatch) -> dict[str, StubAnimator]:
    stubs = {"candidate": StubAnimator(), "champion": StubAnimator(size=32)}
    monkeypatch.setattr(protocols, "load_animator", stubs.__getitem__)
    monkeypatch.setattr(protocols, "detect_face", lambda _: None)
    return stubs


def test_each_system_generates_under_each_protocol(clip: DecodedClip, animators: dict[str, StubAnimator]) -> None:
    systems = SystemsUnderTest(candidate="candidate", third_party=False, champion="champion")
    videos = rows(clip, systems)
    assert list(videos) == [
        "ground_truth",
        "copy_portrait",
        "true_pose",
        "predicted_pose",
        "champion_true_pose",
        "champion_predicted_pose",
    ]
    assert videos["champion_true_pose"].frames.shape == clip.truth.frames.shape  # compared at the candidate's size
    true_pose, predicted_pose = animators["candidate"].poses
    np.testing.assert_array_equal(true_pose, clip.truth.pose)
    assert (predicted_pose == 7.0).all()
    assert videos["true_pose"].pose is None  # the truth drives: there is nothing to compare
    assert (videos["predicted_pose"].pose == 7.0).all()


def test_the_copied_portrait_does_not_move(clip: DecodedClip, animators: dict[str, StubAnimator]) -> None:
    copied = rows(clip, SystemsUnderTest(candidate="candidate", third_party=False))["copy_portrait"]
    assert (copied.frames == clip.truth.frames[0]).all()
    assert (copied.pose == clip.truth.pose[0]).all()


@pytest.mark.parametrize(
    ("wanted", "row"),
    [(("true_pose", "predicted_pose"), "predicted_pose"), (("true_pose",), "true_pose")],
)
def test_third_party_videos_are_one_row(
    clip: DecodedClip, monkeypatch: pytest.MonkeyPatch, wanted: tuple[str, ...], row: str
) -> None:
    monkeypatch.setattr(protocols, "detect_face", lambda _: None)
    monkeypatch.setattr(protocols, "find_video", lambda folder, key: folder / key)
    monkeypatch.setattr(protocols, "read_video", lambda _, frames: np.zeros((frames, SIZE, SIZE, 3), np.uint8))
    videos = rows(clip, SystemsUnderTest(candidate=str(Path("folder")), third_party=True), protocols=wanted)
    assert list(videos) == ["ground_truth", "copy_portrait", row]
