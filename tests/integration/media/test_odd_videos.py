"""What decord gets wrong without a word, and headers that lie: each is made plain, or refused
before it takes memory.
"""

from __future__ import annotations

import os
import struct
import subprocess
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest

from a2h_models.errors import MediaError
from a2h_models.timebase import SAMPLE_RATE, SAMPLES_PER_FRAME
from pipelines import media

WIDTH, HEIGHT, COUNT = 128, 96, 100
FLASH = 40  # the one white frame; the sound clicks with it
TEN_MS = 0.25  # in frames


def ffmpeg(*words: str | Path) -> None:
    subprocess.run(
        [media.ffmpeg_path(), "-y", "-loglevel", "error", *map(str, words)],
        check=True,
        stdin=subprocess.DEVNULL,
        timeout=60,
    )


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """100 frames at 25 fps: grey, lighter to the right and to the top, one white; a click begins
    with the white one.
    """
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    frames = (
        np.repeat((40 + x // 2 + (HEIGHT - y) // 2)[None, :, :, None], COUNT, axis=0).repeat(3, axis=3).astype(np.uint8)
    )
    frames[FLASH] = 255
    wave = np.zeros(COUNT * SAMPLES_PER_FRAME, np.int16)
    wave[FLASH * SAMPLES_PER_FRAME :][:320] = (12_000 * np.cos(np.arange(320) * 0.7)).astype(np.int16)
    path = tmp_path_factory.mktemp("odd") / "plain.mp4"
    media.write_video(path, [frames], wave)
    return path


def lag(path: Path) -> float:
    """Frames by which the click comes after the flash."""
    with media.open_video(path) as video:
        bright = [float(frame.mean()) for frame in video.stream()]
        wave = video.speech()
    loud = np.flatnonzero(np.abs(wave.astype(int)) > 3000)
    return float(loud[0]) / SAMPLES_PER_FRAME - int(np.argmax(bright))


B_FRAMES = ("-c:v", "libx264", "-bf", "3", "-x264opts", "open-gop=1:keyint=30:scenecut=0:b-adapt=0")
ODD = {
    "b-frames at the start": ("bframes.mkv", B_FRAMES, ("-ss", "1.3")),
    "edit list": ("edit.mp4", ("-c:v", "libx264", "-g", "30"), ("-ss", "1.28")),
    "edit list in a frame": ("edit.mp4", ("-c:v", "libx264", "-g", "30"), ("-ss", "1.30")),
    "edit list late in a frame": ("edit.mp4", B_FRAMES, ("-ss", "1.235")),
    "transport stream": ("program.ts", B_FRAMES, ()),
    "av1": ("one.mp4", ("-c:v", "libsvtav1", "-preset", "12", "-svtav1-params", "lp=1"), ()),
    "vp9": ("nine.webm", ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-c:a", "libopus"), ()),
    "variable rate": ("variable.mp4", ("-vf", "select='not(mod(n,3))+between(n,36,44)'", "-fps_mode", "vfr"), ()),
    "interlaced": ("fields.mp4", ("-flags", "+ildct+ilme", "-x264opts", "tff=1", "-vf", "setfield=tff"), ()),
}


@pytest.mark.parametrize("kind", ODD)
def test_sound_and_picture_stay_together_within_10_ms(kind: str, plain: Path, tmp_path: Path) -> None:
    """Encoded as the kind says, then cut without encoding where it has a cut: the flash is seen
    when the click is heard.
    """
    name, encoder, cut = ODD[kind]
    whole = tmp_path / name
    ffmpeg("-i", plain, *encoder, whole)
    if cut:
        ffmpeg(*cut, "-i", whole, "-c", "copy", tmp_path / f"cut-{name}")
        whole = tmp_path / f"cut-{name}"
    assert abs(lag(whole)) <= TEN_MS


@pytest.mark.parametrize("container", ["mkv", "mp4"])
@pytest.mark.parametrize("delay", [-0.3, 0.3])
def test_a_sound_that_starts_early_or_late_is_as_early_or_late(
    delay: float, container: str, plain: Path, tmp_path: Path
) -> None:
    path, late = tmp_path / f"offset.{container}", ("-itsoffset", str(abs(delay)))
    inputs = (*late, "-i", plain, "-i", plain) if delay > 0 else ("-i", plain, *late, "-i", plain)
    ffmpeg(*inputs, "-map", "1:v", "-map", "0:a", "-c", "copy", path)
    assert lag(path) == pytest.approx(delay * 25, abs=TEN_MS)


@pytest.mark.parametrize(("degrees", "lighter"), [(90, "left"), (180, "left"), (270, "right")])
def test_a_turned_video_is_upright(degrees: int, lighter: str, plain: Path, tmp_path: Path) -> None:
    """The header asks to turn the picture counter-clockwise: what was at the top is then on the
    left, below, or on the right.
    """
    ffmpeg("-display_rotation", str(degrees), "-i", plain, "-c", "copy", tmp_path / "turned.mp4")
    with media.open_video(tmp_path / "turned.mp4") as video:
        first = next(video.stream())[..., 0].astype(float)
    assert first.shape == ((WIDTH, HEIGHT) if degrees % 180 else (HEIGHT, WIDTH))
    halves = np.split(first, 2, axis=1)
    assert (halves[0].mean() > halves[1].mean()) == (lighter == "left")
    assert (first[0].mean() > first[-1].mean()) == (degrees == 90)


# ------------------------------------------------------------------------------------------ headers
def patched(plain: Path, box: bytes, offset: int, value: bytes, target: Path) -> Path:
    """A copy with bytes written into the first box of a kind, counted from behind its name."""
    data = bytearray(plain.read_bytes())
    at = data.index(box) + len(box) + offset
    data[at : at + len(value)] = value
    target.write_bytes(data)
    return target


def test_an_enormous_picture_is_refused_unseen(tmp_path: Path) -> None:
    ffmpeg("-f", "lavfi", "-i", "color=s=10000x10000:r=25", "-frames:v", "1", "-c:v", "mjpeg", tmp_path / "vast.mkv")
    with pytest.raises(MediaError, match="10000×10000 pixels") as caught, media.open_video(tmp_path / "vast.mkv"):
        pass
    assert caught.value.reason == "too_large"


def test_time_without_end_is_refused(plain: Path, tmp_path: Path) -> None:
    """A first frame that lasts for weeks in a file of a few kilobytes."""
    path = patched(plain, b"stts", 8, struct.pack(">II", 1, 2**31 - 1), tmp_path / "weeks.mp4")
    with pytest.raises(MediaError) as caught, media.open_video(path):
        pass
    assert caught.value.reason in {"too_long", "truncated", "unreadable"}


def test_no_time_at_all_is_refused_or_a_moment(plain: Path, tmp_path: Path) -> None:
    """0 frames a second: all frames at once."""
    path = patched(plain, b"stts", 12, struct.pack(">I", 0), tmp_path / "still.mp4")
    with suppress(MediaError):
        assert media.probe(path).frames < COUNT


def test_a_sparse_file_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "sparse.mp4"
    path.touch()
    os.truncate(path, 4 * 2**30)
    with pytest.raises(MediaError, match=r"sparse\.mp4"):
        media.probe(path)


def test_a_sound_that_leaps_ahead_is_not_filled_with_silence_for_days(plain: Path, tmp_path: Path) -> None:
    ffmpeg(
        "-i",
        plain,
        "-itsoffset",
        "200000",
        "-i",
        plain,
        "-map",
        "0:v",
        "-map",
        "1:a",
        "-c",
        "copy",
        tmp_path / "leap.mkv",
    )
    with media.open_video(tmp_path / "leap.mkv") as video, suppress(MediaError):
        assert len(video.speech()) <= (COUNT + 1) * SAMPLE_RATE // 25


def test_a_time_limit_is_kept(plain: Path) -> None:
    with pytest.raises(MediaError, match=r"longer than 0\.001 s") as caught:
        media.probe(plain, timeout_s=0.001)
    assert caught.value.reason == "timed_out"


def test_a_sound_that_is_given_back_comes_back(tmp_path: Path) -> None:
    wave = np.arange(SAMPLE_RATE * 1200, dtype=np.int16)  # 38 MB
    wave.tofile(tmp_path / "sound.s16")
    process = psutil.Process()
    held = np.asarray(np.memmap(tmp_path / "sound.s16", "<i2", "c"))
    assert int(held.sum(dtype=np.int64)) == int(wave.sum(dtype=np.int64))
    before = process.memory_info().rss
    media.give_back(held[5:])
    assert before - process.memory_info().rss > wave.nbytes / 2
    assert np.array_equal(held, wave)
    media.give_back(wave)  # one that lies in no file stays
