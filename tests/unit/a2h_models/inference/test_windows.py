"""Windows tile the speech and keep the frames that the release keeps; wrong shapes are refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from a2h_models.errors import InputError
from a2h_models.inference.buffer import StreamBuffer
from a2h_models.inference.windows import (
    STEP,
    FrameSequences,
    kept_frames,
    pose_blocks,
    scaled,
    speech_blocks,
    windows_of,
)


def stitched(frames: int) -> list[tuple[int, int, int]]:
    """Start of each window, and the span of its frames that is kept."""
    script = FrameSequences(
        StreamBuffer([np.zeros((frames, 4, 41), np.float32)]), StreamBuffer([np.zeros((frames + 1, 6))])
    )
    return [(STEP * number, window.kept.start, window.kept.stop) for number, window in enumerate(windows_of(script))]


@given(st.integers(0, 1000))
def test_windows_tile_the_frames(frames: int) -> None:
    assert [start + offset for start, first, stop in stitched(frames) for offset in range(first, stop)] == list(
        range(frames)
    )


def test_windows_are_the_releases() -> None:
    assert stitched(110) == [(0, 0, 48), (32, 16, 48), (64, 16, 46)]
    assert len(kept_frames(96, 14)) == 0  # all that the last one could add is known


@pytest.mark.parametrize(("samples", "frames"), [(1, 1), (640, 1), (641, 2), (6400, 10)])
def test_a_wave_has_features_for_each_frame_begun(samples: int, frames: int) -> None:
    blocks = list(speech_blocks(np.zeros(samples, np.int16)))
    assert np.concatenate(blocks).shape == (frames, 4, 41)


def test_arrays_of_another_shape_are_refused() -> None:
    with pytest.raises(InputError, match=r"speech must be .*, not \(4, 40\)"):
        list(speech_blocks([np.zeros((2, 4, 41)), np.zeros((4, 40))]))
    with pytest.raises(InputError, match=r"poses must have .*, not \(3, 7\)"):
        list(pose_blocks(np.zeros((3, 7))))


def test_poses_that_end_before_the_speech_are_refused() -> None:
    sequences = FrameSequences(StreamBuffer([np.zeros((9, 4, 41), np.float32)]), StreamBuffer([np.zeros((8, 6))]))
    with pytest.raises(InputError, match="the poses end before frame 9"):
        next(windows_of(sequences))


def test_motion_is_scaled_around_the_first_pose_of_all_blocks() -> None:
    poses = np.arange(24.0).reshape(4, 6)
    halved = np.concatenate(list(scaled(iter([poses[:1], poses[1:]]), 0.5)))
    np.testing.assert_allclose(halved, poses[0] + np.arange(4.0)[:, None] * 3)
