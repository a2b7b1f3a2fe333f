"""A sample refuses arrays of other shapes and types; a batch can be cut to its first window."""

from typing import Any

import numpy as np
import pytest
import torch

from a2h_models.data_types import Sample, WindowBatch

FRAMES = 2


def arrays() -> dict[str, Any]:
    """Arrays of a valid sample of FRAMES frames."""
    return {
        "frames": np.zeros((FRAMES, 256, 256, 3), np.uint8),
        "wave": np.zeros(FRAMES * 640, np.int16),
        "speech": np.zeros((FRAMES, 4, 41), np.float32),
        "mel": np.zeros((FRAMES * 4, 80), np.float16),
        "pose": np.zeros((FRAMES, 6), np.float32),
        "landmarks": np.zeros((FRAMES, 468, 3), np.float16),
    }


def test_samples_do_not_share_their_metadata() -> None:
    first, second = (Sample(key="clip", **arrays()) for _ in range(2))
    first.meta["identity"] = "anna"
    assert second.meta == {}


@pytest.mark.parametrize("name", arrays())
def test_an_array_that_is_one_too_short_is_named(name: str) -> None:
    values = arrays()
    values[name] = values[name][:-1]
    # the frames themselves set the count: without one of them, the wave is the first to disagree
    with pytest.raises(ValueError, match=f"^clip: {'wave' if name == 'frames' else name} must be"):
        Sample(key="clip", **values)


@pytest.mark.parametrize("name", arrays())
def test_an_array_of_another_type_is_named(name: str) -> None:
    values = arrays()
    values[name] = values[name].astype(np.float64)
    with pytest.raises(ValueError, match=f"^clip: {name} must be .*, not float64 "):
        Sample(key="clip", **values)


def test_the_first_window_keeps_what_is_missing_missing() -> None:
    batch = WindowBatch(
        keys=["a", "b"],
        portrait=torch.arange(2.0).view(2, 1, 1, 1).expand(2, 3, 4, 4),
        portrait_pose=torch.zeros(2, 6),
        speech=torch.zeros(2, 64, 4, 41),
        pose=torch.zeros(2, 64, 6),
        frames=torch.zeros(2, 0, 3, 4, 4),
        mouth=torch.ones(2, 64, 4),
    )
    first = batch.first()
    assert first.keys == ["a"]
    assert torch.equal(first.portrait, torch.zeros(1, 3, 4, 4))
    assert first.keypoints is None
    assert first.mouth is not None
    assert [len(first.speech), len(first.pose), len(first.frames), len(first.mouth)] == [1, 1, 1, 1]
