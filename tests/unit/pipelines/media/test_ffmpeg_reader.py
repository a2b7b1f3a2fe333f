"""Large videos: what does not fit into memory comes through a pipe, frame by frame, and is the
same.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from a2h_models.errors import MediaError
from a2h_models.timebase import Span
from pipelines import media
from pipelines.media import video
from pipelines.media.ffmpeg_reader import CropRegion, pipe_frames

BITS, BAR, HEIGHT = 8, 16, 96  # a frame's number in bars across the picture
COUNT = 150
ENCODERS = {
    "b-frames": ("-c:v", "libx264", "-bf", "3", "-g", "40"),
    "open groups": ("-c:v", "libx264", "-bf", "3", "-g", "30", "-x264opts", "open-gop=1"),
    "one key frame": ("-c:v", "libx264", "-g", "1000"),
    "hevc": ("-c:v", "libx265", "-x265-params", "log-level=none:keyint=35:open-gop=1"),
}


def numbered(count: int) -> np.ndarray:
    bits = (np.arange(count)[:, None] >> np.arange(BITS)) & 1
    bars = np.repeat(bits[:, None, :, None] * np.uint8(255), BAR, axis=2).astype(np.uint8)
    return np.repeat(np.repeat(bars, HEIGHT, axis=1), 3, axis=3)


def numbers_of(frames: object) -> list[int]:
    shown = np.stack(list(frames))
    width = shown.shape[2]
    bars = shown[:, shown.shape[1] // 2, width // BITS // 2 :: width // BITS, 0][:, :BITS] > 127
    return (bars << np.arange(BITS)).sum(axis=1).tolist()


@pytest.fixture(scope="module", params=ENCODERS)
def path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """150 numbered frames at 25 fps."""
    folder = tmp_path_factory.mktemp("piping")
    media.write_video(folder / "plain.mp4", [numbered(COUNT)], None)
    command = [
        media.ffmpeg_path(),
        "-y",
        "-loglevel",
        "error",
        "-i",
        folder / "plain.mp4",
        *ENCODERS[request.param],
        folder / "large.mp4",
    ]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, timeout=60)
    return folder / "large.mp4"


@pytest.fixture
def _large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video, "KEPT_BYTES", 0)


@pytest.mark.usefixtures("_large")
def test_any_span_of_a_large_video_is_exact(path: Path) -> None:
    with media.open_video(path) as opened:
        assert numbers_of(opened.stream()) == list(range(COUNT))
        for start in (1, 29, 30, 31, 39, 40, 41, 77, COUNT - 1):
            stop = min(start + 12, COUNT)
            assert numbers_of(opened.stream(Span(start, stop))) == list(range(start, stop))
        assert numbers_of(opened.stream(Span(20, 60), every=7)) == list(range(20, 60, 7))
        assert not list(opened.stream(Span(5, 5)))


ODD = {
    "edit list": (("-g", "20"), ("-ss", "0.88")),
    "rotation": (("-g", "20"), ("-display_rotation", "180")),
    "pixel aspect": (("-g", "20", "-vf", "setsar=2/1"), ()),
    "interlaced": (("-g", "20", "-flags", "+ildct+ilme", "-x264opts", "tff=1", "-vf", "setfield=tff"), ()),
    "codec": (("-g", "20", "-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8"), ()),
}


@pytest.mark.usefixtures("_large")
@pytest.mark.parametrize("kind", ODD)
def test_any_span_of_a_large_odd_video_is_exact_without_a_copy(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, copied = ODD[kind]
    media.write_video(tmp_path / "plain.mp4", [numbered(COUNT)], None)
    steps = {
        "odd.mp4": ("-i", tmp_path / "plain.mp4", *encoder),
        "copied.mp4": (*copied, "-i", tmp_path / "odd.mp4", "-c", "copy"),
    }
    for name, words in steps.items():
        subprocess.run(
            [media.ffmpeg_path(), "-y", "-loglevel", "error", *words, tmp_path / name],
            check=True,
            stdin=subprocess.DEVNULL,
            timeout=60,
        )
    assert kind in media.probe(tmp_path / "copied.mp4").oddities
    monkeypatch.delattr(video, "_normalise")
    with media.open_video(tmp_path / "copied.mp4") as opened:
        shown = [frame.tobytes() for frame in opened.stream()]
        assert len(shown) == opened.frames == COUNT - 22 * (kind == "edit list")
        for start in (1, 17, 18, 19, 40, 77, opened.frames - 1):
            span = Span(start, min(start + 7, opened.frames))
            assert [frame.tobytes() for frame in opened.stream(span)] == shown[span.start : span.stop]
        upright = [frame[::-1, ::-1] if kind == "rotation" else frame for frame in opened.stream()]
    assert numbers_of(upright) == list(range(COUNT - len(shown), COUNT))


@pytest.mark.usefixtures("_large")
@pytest.mark.parametrize(("rate", "step"), [(50, 2.0), (30, 1.2), (12.5, 0.5)])
def test_other_rates_are_picked_by_time(rate: float, step: float, tmp_path: Path) -> None:
    media.write_video(tmp_path / "rate.mp4", [numbered(COUNT)], None, fps=rate)
    with media.open_video(tmp_path / "rate.mp4") as opened:
        start = opened.frames // 3
        shown = numbers_of(opened.stream(Span(start, opened.frames)))
    assert np.abs(np.array(shown) - step * np.arange(start, start + len(shown))).max() <= 0.5


def painted(count: int) -> np.ndarray:
    """Smooth colours that move."""
    y, x = np.mgrid[:240, :320] / 320
    base = 128 + 90 * np.stack([np.sin(6 * x + y), np.cos(5 * y), np.sin(4 * x * y + 1)], axis=2)
    return np.stack([np.roll(base, 3 * i, axis=1) for i in range(count)]).astype(np.uint8)


def test_both_ways_show_the_same_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Decord's pictures, kept, and ffmpeg's through the pipe: whole, smaller, and a part that is
    not on even pixels.
    """
    media.write_video(tmp_path / "painted.mp4", [painted(20)], None)
    asked = [
        {},
        {"max_height": 90},
        {"part": CropRegion(33, 21, 181), "max_height": 64},
        {"part": CropRegion(0, 0, 40), "max_height": 64},
    ]
    shown = {}
    for kept in (0, video.KEPT_BYTES):
        monkeypatch.setattr(video, "KEPT_BYTES", kept)
        with media.open_video(tmp_path / "painted.mp4") as opened:
            shown[kept] = [np.stack(list(opened.stream(Span(7, 12), **words))).astype(float) for words in asked]
    for ours, theirs in zip(*shown.values(), strict=True):
        assert ours.shape == theirs.shape
        assert np.abs(ours - theirs).mean() < 2.5  # decord rounds down from YUV to RGB: 1.0–1.4 levels
        assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.999


def test_a_decoder_that_ends_early_or_hangs_is_an_error(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MediaError, match=r"large.mp4: the decoder gave 150 of 151 frames"):
        list(pipe_frames(path, count=COUNT + 1, size=(8, 8), name="large.mp4"))
    monkeypatch.setattr("pipelines.media.ffmpeg_reader.STALL_S", 0.0)
    with pytest.raises(MediaError, match="gave no frame") as caught:
        next(pipe_frames(path, count=1, size=(8, 8), name="large.mp4"))
    assert caught.value.reason == "timed_out"


def test_leaving_early_ends_the_decoder(path: Path) -> None:
    frames = pipe_frames(path, count=COUNT, size=(1024, 768), name="large.mp4")
    assert next(frames).shape == (768, 1024, 3)
    frames.close()
    assert not list(frames)
