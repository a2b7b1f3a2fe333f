"""Third-party videos: found by key, cropped to the clip's length, or refused."""

from pathlib import Path

import numpy as np
import pytest

from a2h_models.errors import MediaError
from pipelines import media
from pipelines.evaluation.videos import MAX_MISSING_FRAMES, find_video, read_video, resize, solve_head_pose

FRAMES = 16


@pytest.fixture
def video(tmp_path: Path) -> Path:
    frames = np.random.default_rng(0).integers(0, 256, (FRAMES, 16, 16, 3), np.uint8).repeat(4, 1).repeat(4, 2)
    path = tmp_path / "clip.mp4"
    media.write_video(path, [frames], None)
    return path


def test_a_video_is_found_by_the_clips_key(video: Path) -> None:
    assert find_video(video.parent, "clip") == video
    with pytest.raises(MediaError, match="holds no video of the clip other"):
        find_video(video.parent, "other")


def test_missing_frames_at_the_end_repeat_the_last_one(video: Path) -> None:
    assert read_video(video, FRAMES - 4).shape == (FRAMES - 4, 256, 256, 3)
    longer = read_video(video, FRAMES + MAX_MISSING_FRAMES)
    np.testing.assert_array_equal(longer[FRAMES:], np.repeat(longer[FRAMES - 1 : FRAMES], MAX_MISSING_FRAMES, axis=0))
    with pytest.raises(MediaError, match=f"has {FRAMES} frames"):
        read_video(video, FRAMES + MAX_MISSING_FRAMES + 1)


def test_resizing_keeps_a_flat_picture() -> None:
    flat = np.full((2, 8, 8, 3), 77, np.uint8)
    assert resize(flat, 8) is flat
    for size in (4, 16):
        np.testing.assert_array_equal(resize(flat, size), np.full((2, size, size, 3), 77, np.uint8))


def test_without_a_face_there_is_no_pose() -> None:
    assert solve_head_pose(None) is None
