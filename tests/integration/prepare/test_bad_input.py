"""Whatever is called a video: each ends as a row of the ledger with a reason, or as one clear
sentence; nobody else is hurt.
"""

from __future__ import annotations

import os
import resource
import socket
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from a2h_models.errors import FailedError, InputError
from pipelines.config import ClusterConfig
from pipelines.core.files import PART_SUFFIX
from pipelines.core.storage import Storage
from pipelines.maintenance.verify import verify
from pipelines.media.ffmpeg import ffmpeg_path
from pipelines.prepare import pipeline
from pipelines.prepare.output import ledger
from pipelines.prepare.sources.discover import find_inputs
from pipelines.prepare.steps.state import PrepareContext
from pipelines.synthetic import SceneConfig, make_speaker_videos

pytestmark = pytest.mark.slow

PICTURES = "testsrc=size=160x120:rate=25"
NOISE = "anoisesrc=amplitude=0.3:sample_rate=16000:seed=1"
H264 = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-c:a", "aac", "-threads", "1")
GIB = 2**30
NO_VIDEO = {"unreadable"}
UNHURT = ""  # accepted: the bytes that changed were of no matter
DAMAGED = {"unreadable", "truncated"}
ANY_END = {
    "unreadable",
    "truncated",
    "no_face",
    "too_short",
    "no_audio",
    "low_frame_rate",
    "silent",
    "duplicate",
    "decoder_crashed",
}
# not the plain loop: one of these files aborts the decoder, and the process with it
WORKERS = ClusterConfig(workers=2, max_retries=1)


def ff(*arguments: object) -> None:
    command = [ffmpeg_path(), "-hide_banner", "-loglevel", "error", "-nostdin", "-y", *map(str, arguments)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)


def film(
    path: Path, *, pictures: str | None = PICTURES, sound: str | None = NOISE, seconds: float = 3, options: tuple = H264
) -> None:
    """A film without a face."""
    inputs = [word for source in (pictures, sound) if source for word in ("-f", "lavfi", "-i", source)]
    ff(*inputs, "-t", seconds, *options, path)


def cut(share: float) -> Callable[[Path, Path], object]:
    def make(path: Path, good: Path) -> None:
        data = good.read_bytes()
        path.write_bytes(data[: int(len(data) * share)])

    return make


def fuzzed(start: float, stop: float, *, seed: int) -> Callable[[Path, Path], object]:
    """One byte of fifty replaced, in a part of the file."""

    def make(path: Path, good: Path) -> None:
        data = np.frombuffer(good.read_bytes(), np.uint8).copy()
        noise = np.random.default_rng(seed)
        places = noise.integers(
            int(len(data) * start), int(len(data) * stop), max(1, int(len(data) * (stop - start) / 50))
        )
        data[places] = noise.integers(0, 256, len(places), dtype=np.uint8)
        path.write_bytes(data.tobytes())

    return make


def patched(box: bytes, offset: int, value: bytes) -> Callable[[Path, Path], object]:
    """Some bytes of the first box of that name replaced, counted from behind its name."""

    def make(path: Path, good: Path) -> None:
        data = bytearray(good.read_bytes())
        place = data.index(box) + len(box) + offset
        data[place : place + len(value)] = value
        path.write_bytes(bytes(data))

    return make


def holding(data: bytes) -> Callable[[Path, Path], object]:
    return lambda path, good: path.write_bytes(data)


def filmed(**options: object) -> Callable[[Path, Path], object]:
    return lambda path, good: film(path, **options)


def picture(kind: str) -> Callable[[Path, Path], object]:
    return lambda path, good: ff("-f", "lavfi", "-i", PICTURES, "-frames:v", "1", "-f", "image2", "-c:v", kind, path)


def header_only(path: Path, good: Path) -> None:
    data = good.read_bytes()
    path.write_bytes(data[: data.index(b"mdat") + 4])


def without_index(path: Path, good: Path) -> None:
    path.write_bytes(good.read_bytes().replace(b"moov", b"junk", 1))


def zipped(path: Path, good: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(good, "video.mp4")


def sparse(path: Path, good: Path) -> None:
    with path.open("wb") as handle:
        handle.truncate(4 * GIB)


def huge_picture(path: Path, good: Path) -> None:
    codecs = ("-c:v", "mjpeg", "-pix_fmt", "yuvj420p", "-c:a", "pcm_s16le")
    film(path, pictures="color=black:size=10000x10000:rate=1", seconds=1, options=codecs)


def no_rate(path: Path, good: Path) -> None:
    film(path, options=("-c:v", "mjpeg", "-c:a", "pcm_s16le"))
    data = bytearray(path.read_bytes())
    data[data.index(b"avih") + 8 : data.index(b"avih") + 12] = bytes(4)  # microseconds a frame
    stream = data.index(b"vids") + 20
    data[stream : stream + 8] = bytes(8)  # scale and rate
    path.write_bytes(bytes(data))


def garbled_stream(path: Path, good: Path) -> None:
    film(path)
    data, noise = path.read_bytes(), np.random.default_rng(7)
    pieces = [data[start : start + 5000] + noise.bytes(97) for start in range(0, len(data), 5000)]
    path.write_bytes(b"".join(pieces))


def subtitles(path: Path, good: Path) -> None:
    text = path.with_suffix(".srt")
    text.write_text("1\n00:00:00,000 --> 00:00:03,000\nhello\n")
    ff("-i", text, "-c:s", "srt", path)


def cover_only(path: Path, good: Path) -> None:
    cover = path.with_suffix(".png")
    picture("png")(cover, good)
    inputs = ("-f", "lavfi", "-i", NOISE, "-i", cover)
    ff(
        *inputs,
        "-t",
        3,
        "-map",
        0,
        "-map",
        1,
        "-c:a",
        "aac",
        "-c:v",
        "png",
        "-disposition:v",
        "attached_pic",
        "-f",
        "mp4",
        path,
    )


def turned(path: Path, good: Path) -> None:
    film(path.with_suffix(".tmp.mp4"))
    ff("-display_rotation", "37.5", "-i", path.with_suffix(".tmp.mp4"), "-c", "copy", path)
    path.with_suffix(".tmp.mp4").unlink()


def silent_film(seed: int) -> Callable[[Path, Path], object]:
    """Goes the whole way to the decoder, and ends there quickly; no two have the same bytes."""
    return lambda path, good: film(
        path, sound="anullsrc=r=16000:cl=mono", options=(*H264, "-metadata", f"comment={seed}", "-f", "mp4")
    )


def playlist(path: Path, good: Path) -> None:
    path.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\nfile://{good}\n#EXT-X-ENDLIST\n")


def unix_socket(path: Path, good: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # a socket's path may only have some hundred letters
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path.name)
    os.chdir(here)


class Bad(NamedTuple):
    name: str  # of the file
    make: Callable[[Path, Path], object]
    ends: set[str]  # reasons that it may end with


CASES = (
    Bad("empty.mp4", lambda path, good: path.touch(), NO_VIDEO),
    Bad("one_byte.mp4", holding(b"\x00"), NO_VIDEO),
    Bad("text.mp4", holding(b"this is no video\n" * 100), NO_VIDEO),
    Bad("page.mp4", holding(b"<!DOCTYPE html><html><body>404 not found</body></html>"), NO_VIDEO),
    Bad("random.mkv", holding(np.random.default_rng(0).bytes(50_000)), NO_VIDEO),
    Bad("zeros.avi", holding(bytes(50_000)), NO_VIDEO),
    Bad("picture_png.mp4", picture("png"), NO_VIDEO),
    Bad("picture_gif.mp4", picture("gif"), NO_VIDEO),
    Bad("picture_jpeg.mp4", picture("mjpeg"), ANY_END),
    Bad("archive.mp4", zipped, NO_VIDEO),
    Bad("cut_at_10.mp4", cut(0.1), DAMAGED),
    Bad("cut_at_50.mp4", cut(0.5), DAMAGED),
    Bad("cut_at_90.mp4", cut(0.9), DAMAGED),
    Bad("header_only.mp4", header_only, DAMAGED),
    Bad("moov_missing.mp4", without_index, NO_VIDEO),
    Bad("fuzzed_header.mp4", fuzzed(0.0, 0.02, seed=1), ANY_END | {UNHURT}),
    Bad("fuzzed_header_2.mp4", fuzzed(0.0, 0.005, seed=2), ANY_END | {UNHURT}),
    Bad("fuzzed_middle.mp4", fuzzed(0.3, 0.9, seed=3), ANY_END | {UNHURT}),
    Bad("bomb_of_frames.mp4", patched(b"stts", 8, struct.pack(">I", 2**31 - 1)), {"decoder_crashed", "out_of_memory"}),
    Bad("bomb_of_sizes.mp4", patched(b"stsz", 8, struct.pack(">I", 2**31 - 1)), ANY_END | {"too_long"}),
    Bad("sparse_4_gb.mp4", sparse, NO_VIDEO),
    Bad("audio_only.mp4", filmed(pictures=None), NO_VIDEO),
    Bad("video_only.mp4", filmed(sound=None), {"no_audio"}),
    Bad("silent.mp4", silent_film(0), {"silent"}),
    Bad("one_frame.mp4", filmed(seconds=0.04), {"too_short"}),
    Bad("third_of_a_second.mp4", filmed(seconds=0.3), {"too_short"}),
    Bad("10000_px.avi", huge_picture, {"too_large"}),
    Bad(
        "one_pixel.mkv",
        filmed(pictures="testsrc=size=1x1:rate=25", options=("-c:v", "ffv1", "-c:a", "pcm_s16le")),
        ANY_END,
    ),
    Bad("two_pixels.mp4", filmed(pictures="testsrc=size=2x2:rate=25"), ANY_END),
    Bad(
        "odd_sides.mp4",
        filmed(pictures="testsrc=size=641x359:rate=25", options=(*H264, "-pix_fmt", "yuv444p")),
        {"no_face"},
    ),
    Bad("no_rate.avi", no_rate, ANY_END),
    Bad("1000_fps.mp4", filmed(pictures="testsrc=size=64x64:rate=1000"), {"no_face"}),
    Bad("5_fps.mp4", filmed(pictures="testsrc=size=64x64:rate=5"), {"low_frame_rate"}),
    Bad("black.mp4", filmed(pictures="color=black:size=160x120:rate=25"), {"no_face"}),
    Bad("nobody.mp4", filmed(), {"no_face"}),
    Bad("really_an_mp4.avi", silent_film(1), {"silent"}),
    Bad("garbled.ts", garbled_stream, ANY_END),
    Bad("subtitles.mkv", subtitles, NO_VIDEO),
    Bad("cover_only.mp4", cover_only, NO_VIDEO),
    Bad("turned_by_37.mp4", turned, {"no_face"}),
    Bad("playlist.mp4", playlist, NO_VIDEO),
    Bad("concatenation.mp4", lambda path, good: path.write_text(f"ffconcat version 1.0\nfile '{good}'\n"), NO_VIDEO),
    Bad("new\nline 'and' \"quotes\" $(touch pwned); %d.mp4", silent_film(2), {"silent"}),
    Bad("-dash.mp4", silent_film(3), {"silent"}),
    Bad("file:colon.mp4", silent_film(4), {"silent"}),
    Bad(os.fsdecode(b"latin-\xe9.mp4"), silent_film(5), {"silent"}),
    Bad("l" * 251 + ".mp4", silent_film(6), {"silent"}),
    Bad("[brackets]*?.mp4", silent_film(7), {"silent"}),
    Bad("pipe.mp4", lambda path, good: os.mkfifo(path), NO_VIDEO),
    Bad("socket.mp4", unix_socket, NO_VIDEO),
    Bad("loop.mp4", lambda path, good: path.symlink_to(path.name), NO_VIDEO),
    Bad("dangling.mp4", lambda path, good: path.symlink_to("gone.mp4"), NO_VIDEO),
    Bad("device.mp4", lambda path, good: path.symlink_to("/dev/zero"), NO_VIDEO),
    Bad("same_bytes.mp4", lambda path, good: path.write_bytes(good.read_bytes()), {"duplicate"}),
    Bad("forbidden.mp4", lambda path, good: path.touch(mode=0), NO_VIDEO),
)


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> Path:
    """A video that is accepted, with its index at the front, and named so that it comes before its
    copies.
    """
    folder = tmp_path_factory.mktemp("good")
    (video,) = make_speaker_videos(folder, count=1, seed=5, scene=SceneConfig(seconds=2.7, size=200))
    path = folder / "a_good_one.mp4"
    ff("-i", video, "-c", "copy", "-movflags", "+faststart", path)
    return path


@pytest.fixture(scope="module")
def ended(good, tmp_path_factory, make_command):
    """All bad files beside a good one, prepared in one run: the dataset, and the videos' rows by
    the printable file name.
    """
    folder = tmp_path_factory.mktemp("bad [files]")
    (folder / good.name).write_bytes(good.read_bytes())
    for case in CASES:
        case.make(folder / case.name, good)
    (folder / "folder.mp4").mkdir()
    (folder / "cellar").symlink_to(folder)  # a way round and round
    out = folder.parent / "bad-out"
    command = make_command(folder, out, cluster=WORKERS)
    command.prepare.features.f0 = "dio"
    summary = pipeline.prepare(command)
    rows = ledger.records(ledger.read(Storage(out)))
    return out, summary, {row["file"]: row for row in rows if row["kind"] == ledger.VIDEO}


@pytest.mark.parametrize("case", CASES, ids=lambda case: ascii(case.name[:30]))
def test_a_bad_file_ends_as_a_row_with_its_reason(ended, case):
    row = ended[2][ledger.printable(case.name)]
    assert row["reason"] in case.ends, row["error_message"]
    assert row["reason"] in {"no_face", UNHURT} or row["error_message"]


def test_the_good_one_beside_them_is_accepted_and_the_balance_closes(ended, good):
    out, summary, rows = ended
    assert rows[good.name]["status"] == "accepted"
    assert sum(summary.videos.values()) == len(CASES) + 1 == len(rows)
    report = verify(out)
    assert report.sound, str(report)


def test_there_are_forty_kinds_and_no_name_was_run():
    assert len({case.name for case in CASES}) >= 40
    assert not Path("pwned").exists()


# -------------------------------------------------------------------------- what changes on the way
def test_videos_that_change_or_vanish_after_the_plan_are_rows(tmp_path, make_command):
    videos = tmp_path / "videos"
    videos.mkdir()
    for seed, name in enumerate(("changed.mp4", "kept.mp4", "vanished.mp4")):
        silent_film(seed)(videos / name, videos)
    command = make_command(videos, tmp_path / "out")
    inputs, out = find_inputs(command), Storage(command.out)
    planned = pipeline.publish_plan(out, pipeline.make_plan(inputs, command))
    silent_film(99)(videos / "changed.mp4", videos)
    (videos / "vanished.mp4").unlink()
    context = PrepareContext(config=command.prepare, source=inputs.source, out=out)
    pipeline.build_units(planned, context, command.cluster)
    pipeline.finish(out, planned)
    rows = ledger.records(ledger.read(out))
    assert {row["file"]: row["reason"] for row in rows} == {
        "changed.mp4": "changed",
        "kept.mp4": "silent",
        "vanished.mp4": "unreadable",
    }


def test_a_row_of_a_manifest_that_names_no_file_is_a_row_of_the_ledger(tmp_path, make_command):
    silent_film(0)(tmp_path / "there.mp4", tmp_path)
    (tmp_path / "videos.csv").write_text("url\nthere.mp4\ngone.mp4\n")
    pipeline.prepare(make_command(tmp_path / "videos.csv", tmp_path / "out"))
    rows = ledger.records(ledger.read(Storage(tmp_path / "out")))
    assert {row["file"]: row["reason"] for row in rows} == {"there.mp4": "silent", "gone.mp4": "unreadable"}


# -------------------------------------------------------------------------------- where it is to go
def test_an_output_below_a_file_is_one_sentence(good, tmp_path, make_command):
    (tmp_path / "file").touch()
    with pytest.raises((FailedError, InputError), match="file/out"):
        pipeline.prepare(make_command(good, tmp_path / "file" / "out"))


@pytest.mark.parametrize(
    ("room", "sentence"),
    # bytes: less than the sound; more than that, less than the shard
    [(2_000, "no room for scratch files"), (300_000, "cannot write")],
)
def test_a_full_disk_is_one_sentence_and_leaves_nothing_half(good, tmp_path, room, sentence):
    """The limit of a file's size stands in for the end of the disk: both come as an error of
    `write`.
    """
    words = ["prepare", f"videos={good}", f"out={tmp_path / 'out'}", "cluster.workers=0", "prepare.features.f0=dio"]
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.cli.main", *words],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (room, room)),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "out").rglob(f"*{PART_SUFFIX}"))
    # no video is blamed: with more room the same command goes on
    assert not list((tmp_path / "out").glob("a2h-*.json"))
