"""A clip of a dataset, decoded."""

from pathlib import Path

import pytest

from pipelines.config import EvaluateConfig
from pipelines.core.storage import Storage
from pipelines.evaluation import decoded_clip
from pipelines.evaluation.sets import choose_clips


def test_all_parts_have_the_clips_frames(small_dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoded_clip, "detect_face", lambda _: None)
    _, (clip, _) = choose_clips(Storage(small_dataset), EvaluateConfig(max_frames=17))
    decoded = decoded_clip.decode_clip(clip, size=64)
    assert decoded.key == clip.key == "clip-a"
    assert decoded.truth.frames.shape == (17, 64, 64, 3)
    assert decoded.truth.pose is not None
    assert decoded.truth.pose.shape == (17, 6)
    assert decoded.speech.shape == (17, 4, 41)
    assert decoded.wave.shape == (17 * 640,)
    assert decoded.portrait.shape == (256, 256, 3)
