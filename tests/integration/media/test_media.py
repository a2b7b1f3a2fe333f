"""Decoding and encoding, on videos whose every frame says its own time."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from a2h_models.errors import FailedError, InputError, MediaError
from a2h_models.timebase import FPS, SAMPLE_RATE, SAMPLES_PER_FRAME, Span
from pipelines import media
from pipelines.media.probing import channels
from pipelines.media.video import nearest_frames
from tests.paths import SHARED

CLIPS = SHARED / "clips"
BITS = 8  # of a frame's number, written across the picture as black and white bars
BAR = 16  # pixels a bar
HEIGHT = 96
CLICK = 40  # the frame at which the sound clicks


def numbered(numbers: range | list[int], height: int = HEIGHT) -> np.ndarray:
    """Frames that show their number in bars, with a black lower half, so that turning and mirroring
    would be seen.
    """
    bits = (np.asarray(numbers)[:, None] >> np.arange(BITS)) & 1
    frames = np.repeat(bits[:, None, :, None] * np.uint8(255), BAR, axis=2).astype(np.uint8)
    frames = np.repeat(np.repeat(frames, height, axis=1), 3, axis=3)
    frames[:, height // 2 :] = 0
    return frames


def read_numbers(chunks: object) -> list[int]:
    frames = np.concatenate(list(chunks))
    height, width = frames.shape[1:3]
    bars = frames[:, height // 4, width // BITS // 2 :: width // BITS, 0][:, :BITS] > 127
    assert frames[:, 3 * height // 4].mean() < 40, "the lower half is black: the picture is upright"
    return (bars << np.arange(BITS)).sum(axis=1).tolist()


def click_wave(seconds: float, frame: int = CLICK) -> np.ndarray:
    wave = np.zeros(round(seconds * SAMPLE_RATE), np.int16)
    wave[frame * SAMPLES_PER_FRAME :][:320] = (12_000 * np.sin(np.arange(320) * 0.7)).astype(np.int16)
    return wave


def click_at(wave: np.ndarray) -> float:
    """Time of the click in frames."""
    return float(np.flatnonzero(np.abs(wave.astype(int)) > 2000)[0]) / SAMPLES_PER_FRAME


def rewrite(source: Path, target: Path, *options: str, before: tuple[str, ...] = ()) -> Path:
    command = [media.ffmpeg_path(), "-y", "-loglevel", "error", *before, "-i", str(source), *options, str(target)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, timeout=60)
    return target


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """100 numbered frames at 25 fps, a click at frame 40."""
    path = tmp_path_factory.mktemp("media") / "plain.mp4"
    media.write_video(path, [numbered(range(50)), numbered(range(50, 100))], click_wave(4.0))
    return path


def test_a_plain_video_is_read_frame_by_frame(plain: Path) -> None:
    info = media.probe(plain)
    assert (info.frames, info.width, info.height, info.rotation) == (100, BITS * BAR, HEIGHT, 0)
    assert (info.fps, info.duration_s, info.oddities) == (25.0, 4.0, ())
    assert info.has_audio
    assert info.audio_rate == SAMPLE_RATE
    assert not info.variable_rate
    assert read_numbers(media.read_clip(plain)) == list(range(100))
    assert read_numbers(media.read_clip(plain, span=Span(30, 37))) == list(range(30, 37))


def test_chunks_are_bounded_and_can_be_thinned_and_shrunk(plain: Path) -> None:
    with media.open_video(plain) as video:
        assert (video.frames, video.height, video.width) == (100, HEIGHT, BITS * BAR)
        assert max(len(chunk) for chunk in video.read()) == 32
        assert read_numbers(video.read(every=5)) == list(range(0, 100, 5))
        assert next(video.read(max_height=48)).shape[1:] == (48, 64, 3)


def test_speech_starts_with_the_first_frame(plain: Path) -> None:
    wave = media.read_speech(plain)
    assert wave.dtype == np.int16
    assert len(wave) == pytest.approx(4 * SAMPLE_RATE, abs=SAMPLES_PER_FRAME)
    assert click_at(wave) == pytest.approx(CLICK, abs=0.25)


ODD = {
    "edit list": ("cut.mp4", ("-ss", "1.32"), ("-c", "copy")),
    "rotation": ("turned.mp4", ("-display_rotation", "180"), ("-c", "copy")),
    "interlaced": (
        "fields.mp4",
        (),
        ("-flags", "+ildct+ilme", "-x264opts", "tff=1", "-vf", "setfield=tff", "-c:a", "copy"),
    ),
    "pixel aspect": ("wide.mp4", (), ("-vf", "setsar=2/1", "-c:a", "copy")),
    "container": ("program.mpg", (), ("-c:v", "mpeg2video", "-b:v", "4M", "-c:a", "mp2")),
    "codec": ("nine.webm", (), ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-c:a", "libopus")),
}


@pytest.mark.parametrize("kind", ODD)
def test_an_odd_video_is_made_plain_first(kind: str, plain: Path, tmp_path: Path) -> None:
    name, before, options = ODD[kind]
    path = rewrite(plain, tmp_path / name, *options, before=before)
    info = media.probe(path)
    assert kind in info.oddities
    with media.open_video(path) as video:
        frames = np.concatenate(list(video.read()))
    assert frames.shape[1:3] == (info.height, info.width)
    if kind == "rotation":
        frames = frames[:, ::-1, ::-1]  # the test turned it upside down; upright shows it so
    if kind == "pixel aspect":
        assert info.width == 2 * BITS * BAR
    first = 100 - len(frames)
    assert abs(len(frames) - info.frames) <= (not info.stamped)
    assert read_numbers([frames]) == list(range(first, 100))
    assert click_at(media.read_speech(path)) == pytest.approx(CLICK - first, abs=0.5)


@pytest.mark.parametrize(("rate", "expected"), [(50, range(0, 100, 2)), (12.5, np.arange(400) // 2)])
def test_another_rate_is_mapped_by_time(rate: float, expected: np.ndarray, tmp_path: Path) -> None:
    count = 100 if rate > FPS else 200
    path = tmp_path / "rate.mp4"
    media.write_video(path, [numbered(range(count))], None, fps=rate)
    info = media.probe(path)
    numbers = read_numbers(media.read_clip(path))
    assert info.fps == pytest.approx(rate, rel=1e-3)
    assert len(numbers) == info.frames == count * FPS / rate
    assert np.abs(np.array(numbers) - np.asarray(expected)[: len(numbers)]).max() <= 1


def test_a_variable_rate_is_mapped_by_time(plain: Path, tmp_path: Path) -> None:
    """Frames 20–59 are missing but for each fourth: what is shown never differs from the true time
    by more than two frames.
    """
    keep = "select='lt(n,20)+gte(n,60)+not(mod(n,4))'"
    path = rewrite(plain, tmp_path / "vfr.mp4", "-vf", keep, "-fps_mode", "vfr", "-c:a", "copy")
    info = media.probe(path)
    numbers = np.array(read_numbers(media.read_clip(path)))
    assert info.variable_rate
    assert info.frames == 100
    assert (numbers[:20] == np.arange(20)).all()
    assert (numbers[60:] == np.arange(60, 100)).all()
    assert np.abs(numbers - np.arange(100)).max() <= 2


@pytest.mark.parametrize("delay", [-0.4, 0.4])
def test_start_offsets_of_both_streams_are_honoured(delay: float, plain: Path, tmp_path: Path) -> None:
    """A delayed sound stream is heard later, one that begins early loses its beginning."""
    path = tmp_path / "offset.mkv"
    late = ("-itsoffset", str(abs(delay)))
    inputs = (*late, "-i", str(plain), "-i", str(plain)) if delay > 0 else ("-i", str(plain), *late, "-i", str(plain))
    command = [
        media.ffmpeg_path(),
        "-y",
        "-loglevel",
        "error",
        *inputs,
        "-map",
        "1:v",
        "-map",
        "0:a",
        "-c",
        "copy",
        str(path),
    ]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, timeout=60)
    assert read_numbers(media.read_clip(path))[:3] == [0, 1, 2]
    assert click_at(media.read_speech(path)) == pytest.approx(CLICK + delay * FPS, abs=0.25)


def test_channels_are_averaged(tmp_path: Path) -> None:
    """Not summed, not scaled by the square root of a half: half of a one-sided tone is heard."""
    import soundfile

    tone = 0.5 * np.sin(np.arange(SAMPLE_RATE) * 0.1)
    soundfile.write(tmp_path / "left.wav", np.stack([tone, np.zeros_like(tone)], axis=1), SAMPLE_RATE)
    wave = media.read_speech(tmp_path / "left.wav")
    assert len(wave) == SAMPLE_RATE
    assert np.abs(wave).max() == pytest.approx(0.25 * 32768, rel=0.01)


@pytest.mark.parametrize(
    ("layout", "count"), [("mono", 1), ("stereo", 2), ("5.1(side)", 6), ("3 channels", 3), ("7.1.2", 10)]
)
def test_names_of_channel_layouts(layout: str, count: int) -> None:
    assert channels({"channel_layout_name": layout}) == count


@given(st.lists(st.floats(0.005, 0.2), min_size=1, max_size=50), st.integers(1, 100))
def test_the_nearest_frame_is_nearest_and_time_never_runs_back(steps: list[float], frames: int) -> None:
    times = np.cumsum(steps)
    picks = nearest_frames(times, frames)
    wanted = times[0] + np.arange(frames) / FPS
    assert np.allclose(np.abs(times[picks] - wanted), np.abs(times[None] - wanted[:, None]).min(axis=1))
    assert (np.diff(picks) >= 0).all()


def test_a_truncated_file_is_named_as_such(plain: Path, tmp_path: Path) -> None:
    path = tmp_path / "half.mp4"
    data = plain.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    with pytest.raises(MediaError, match=r"half\.mp4.*promises 4\.00 s") as caught:
        media.probe(path)
    assert caught.value.reason == "truncated"


BAD = {
    "empty.mp4": b"",
    "text.mp4": b"this is not a video\n" * 100,
    "noise.mp4": bytes(np.random.default_rng(0).integers(0, 256, 10_000, np.uint8)),
    "list.m3u8": b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n/etc/passwd\n#EXT-X-ENDLIST\n",
    "concat.txt": b"ffconcat version 1.0\nfile '/etc/passwd'\n",
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_video_is_unreadable(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(BAD[name])
    with pytest.raises(MediaError, match=name) as caught:
        media.probe(tmp_path / name)
    assert caught.value.reason == "unreadable"


def test_sound_without_a_picture_and_a_picture_without_sound(tmp_path: Path) -> None:
    import soundfile

    soundfile.write(tmp_path / "speech.wav", click_wave(3.0), SAMPLE_RATE)
    assert np.array_equal(media.read_speech(tmp_path / "speech.wav"), click_wave(3.0))
    with pytest.raises(MediaError, match="no picture"):
        media.probe(tmp_path / "speech.wav")
    media.write_video(tmp_path / "mute.mp4", [numbered(range(10))], None)
    assert not media.probe(tmp_path / "mute.mp4").has_audio
    with pytest.raises(MediaError) as caught:
        media.read_speech(tmp_path / "mute.mp4")
    assert caught.value.reason == "no_audio"


def test_a_missing_file_and_a_folder_are_wrong_use(tmp_path: Path) -> None:
    for path in (tmp_path / "nothing.mp4", tmp_path):
        with pytest.raises(InputError, match="is not a file"):
            media.probe(path)


@pytest.mark.parametrize(
    "name", ["-y.mp4", "a b'c\".mp4", "line\nbreak.mp4", "pipe:0.mp4", "100%d.mp4", os.fsdecode(b"caf\xe9.mp4")]
)
def test_odd_names(name: str, plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path(name)
    path.write_bytes(plain.read_bytes())
    assert media.probe(path).frames == 100
    assert read_numbers(media.read_clip(path, span=Span(7, 9))) == [7, 8]
    assert click_at(media.read_speech(path)) == pytest.approx(CLICK, abs=0.25)


def portrait_like(count: int) -> np.ndarray:
    """A smooth picture with some texture that moves: as hard to encode as a face."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:256, :256] / 256
    base = (
        128
        + 80 * np.stack([np.sin(5 * x + y), np.cos(3 * y), np.sin(4 * x * y)], axis=2)
        + rng.normal(0, 2, (256, 256, 3))
    )
    return np.stack([np.roll(base, 2 * i, axis=1) for i in range(count)]).clip(0, 255).astype(np.uint8)


def test_a_crop_survives_the_encoder_and_gives_equal_bytes() -> None:
    frames = portrait_like(30)
    data = media.encode_crop(frames)
    decoded = media.decode_crop(data)
    error = np.mean((frames.astype(float) - decoded) ** 2)
    assert decoded.shape == frames.shape
    assert 10 * np.log10(255**2 / error) >= 40
    assert abs((decoded.astype(float) - frames).mean()) < 0.5
    assert media.encode_crop(frames) == data


def test_only_the_frames_asked_for_in_the_order_asked_for() -> None:
    data = media.encode_crop(numbered(range(40), height=BITS * BAR))
    assert read_numbers([media.decode_crop(data, [33, 5, 33, 0])]) == [33, 5, 33, 0]
    assert media.decode_crop(data, [3], size=64).shape == (1, 64, 64, 3)
    with pytest.raises(IndexError, match="40 frames"):
        media.decode_crop(data, [40])
    with pytest.raises(MediaError):
        media.decode_crop(data[: len(data) // 3])


def test_a_written_video_is_as_long_as_the_speech_and_appears_whole(tmp_path: Path) -> None:
    frames = (numbered(range(start, start + 10)) for start in range(0, 60, 10))
    path = tmp_path / "new folder" / "out.mp4"
    media.write_video(path, frames, click_wave(2.4), metadata={"comment": "two\nlines; and = signs"})
    info = media.probe(path)
    assert (info.frames, info.fps, info.video_codec, info.audio_codec) == (60, 25.0, "h264", "aac")
    assert list(path.parent.iterdir()) == [path]
    before = path.read_bytes()
    media.write_video(path, [numbered(range(60))], click_wave(2.4), metadata={"comment": "two\nlines; and = signs"})
    assert path.read_bytes() == before


def test_an_interrupted_video_leaves_nothing(tmp_path: Path) -> None:
    def frames() -> object:
        yield numbered(range(10))
        raise KeyError("the model broke")

    with pytest.raises(KeyError, match="the model broke"):
        media.write_video(tmp_path / "out.mp4", frames(), click_wave(2.0))
    with pytest.raises(MediaError, match="no frames"):
        media.write_video(tmp_path / "out.mp4", [], click_wave(2.0))
    assert not list(tmp_path.iterdir())


def test_an_unwritable_target_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(FailedError, match="cannot write"):
        media.write_video(tmp_path / "file" / "out.mp4", [numbered(range(3))], None)


def test_a_portrait_is_turned_upright_and_laid_on_white(tmp_path: Path) -> None:
    picture = Image.new("RGB", (40, 20), "red")
    exif = Image.Exif()
    exif[0x0112] = 6  # turned a quarter
    picture.save(tmp_path / "turned.jpg", exif=exif)
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    assert media.load_portrait(tmp_path / "turned.jpg").shape == (40, 20, 3)
    assert (media.load_portrait(tmp_path / "clear.png") == 255).all()
    (tmp_path / "no.png").write_bytes(b"no picture")
    for name in ("no.png", "nothing.png"):
        with pytest.raises(InputError, match=name):
            media.load_portrait(tmp_path / name)


@pytest.mark.skipif(not CLIPS.is_dir(), reason="the real clips are not beside the repository")
def test_every_real_clip_can_be_probed_or_is_refused_with_a_reason() -> None:
    refused = {}
    for path in sorted(path for path in CLIPS.iterdir() if path.suffix not in {".csv", ".md"}):
        try:
            info = media.probe(path)
        except MediaError as error:
            refused[path.name] = error.reason
            continue
        assert min(info.frames, info.fps) > 10, path
    assert refused == {"eamm_sad_truncated.mp4": "truncated"}


@pytest.mark.skipif(not CLIPS.is_dir(), reason="the real clips are not beside the repository")
@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("selfie_rotmeta_noface.mov", (126, 1280, 720)),
        ("gestsync_sample1_stage.mp4", (223, 270, 480)),
        ("lipnet_grid_bbaf2n.mpg", (75, 288, 360)),
        ("vexpress_aoc_2997.mp4", (114, 512, 512)),
    ],
)
def test_odd_real_clips_are_read_whole(name: str, shape: tuple[int, int, int]) -> None:
    with media.open_video(CLIPS / name) as video:
        assert (video.frames, video.height, video.width) == shape
        assert sum(len(chunk) for chunk in video.read(max_height=64)) == shape[0]
