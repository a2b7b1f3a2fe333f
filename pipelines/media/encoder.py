"""A stream of frames and speech → mp4 (H.264 + AAC), webm (VP9 + Opus) or gif, through a pipe,
published whole or not at all.
"""

from __future__ import annotations

import itertools
import os
import select
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
from jaxtyping import Int16, UInt8

from a2h_models.errors import MediaError
from a2h_models.timebase import FPS, SAMPLE_RATE
from pipelines.core.files import PART_SUFFIX, replace_file
from pipelines.media import ffmpeg
from pipelines.media.crops import SCALING
from pipelines.media.metadata import add_comment

STALL_S = 120.0  # an encoder that takes nothing for so long is stuck
DEFAULT_CRF = 18  # of x264: visually lossless
EVEN = "pad=ceil(iw/2)*2:ceil(ih/2)*2"  # 4:2:0 has no odd sides
# one for each frame, so that none is waited for
PALETTES = "split[a][b];[a]palettegen=stats_mode=single[p];[b][p]paletteuse=new=1"
BITEXACT = ("-fflags", "+bitexact", "-flags:v", "+bitexact", "-flags:a", "+bitexact")
VP9_CRF = 13  # VP9's scale ends at 63, x264's at 51: what is added for about the same quality
VIDEO_FORMATS = ("mp4", "webm", "gif")  # by the file's suffix; anything else is written as mp4


def write_video(
    path: Path,
    frames: Iterable[UInt8[np.ndarray, "k h w 3"]],
    wave: Int16[np.ndarray, " n"] | None,
    *,
    fps: float = FPS,
    crf: int = DEFAULT_CRF,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write frames (RGB, chunk by chunk) with 16 kHz mono speech, or none, in the format of the
    path's suffix.

    Equal input gives equal bytes. A gif is silent, and of the metadata holds the `comment`.

    Raises:
        MediaError: if there are no frames, or the encoder fails.
        FailedError: if the folder cannot be written.
    """
    chunks = iter(frames)
    first = next(chunks, None)
    if first is None or not len(first):
        raise MediaError(f"{path}: there are no frames to write")
    with _aside(path) as (part, folder):
        sound = _sound(folder, wave)
        command = _command(first, sound, part, fps=fps, crf=crf, metadata=metadata or {})
        with tempfile.TemporaryFile() as words, _encoder(path, command, words) as pipe:
            for chunk in itertools.chain([first], chunks):
                _send(path, pipe, chunk)
        if path.suffix == ".gif":
            add_comment(part, (metadata or {}).get("comment", ""))


def _command(
    first: UInt8[np.ndarray, "k h w 3"],
    sound: list[str],
    part: Path,
    *,
    fps: float,
    crf: int,
    metadata: Mapping[str, str],
) -> list[str]:
    height, width = first.shape[1:3]
    return [
        *(ffmpeg.ffmpeg_path(), "-y", "-hide_banner", "-loglevel", "error"),
        *("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", f"{fps:.6f}", "-i", "pipe:0", *sound),
        *_format(part, crf),
        *(word for key, value in metadata.items() for word in ("-metadata", f"{key}={value}")),
        f"file:{part}",
    ]


def _format(part: Path, crf: int) -> list[str]:
    """How the format is encoded that stands in a name such as `x.webm.1234.part`."""
    plain = ["-vf", f"{EVEN},{SCALING}", "-pix_fmt", "yuv420p"]
    match Path(part.stem).stem.rpartition(".")[2] if part.suffix == PART_SUFFIX else part.suffix[1:]:
        case "gif":
            return ["-an", "-filter_complex", PALETTES, "-loop", "0", *BITEXACT, "-f", "gif"]
        case "webm":
            picture = [
                "-c:v",
                "libvpx-vp9",
                "-b:v",
                "0",
                "-crf",
                str(crf + VP9_CRF),
                "-deadline",
                "realtime",
                "-cpu-used",
                "6",
            ]
            return [*plain, *picture, "-threads", "1", "-c:a", "libopus", "-b:a", "96k", *BITEXACT, "-f", "webm"]
        case _:
            picture = ["-c:v", "libx264", "-preset", "medium", "-crf", str(crf), "-threads", "1"]
            return [
                *plain,
                *picture,
                "-c:a",
                "aac",
                "-b:a",
                "128k",
                *BITEXACT,
                "-movflags",
                "+faststart+use_metadata_tags",
                "-f",
                "mp4",
            ]


def _sound(folder: Path, wave: Int16[np.ndarray, " n"] | None) -> list[str]:
    """The speech as a raw file beside the pipe: ffmpeg reads its two inputs in turns, two pipes
    could block each other.
    """
    if wave is None:
        return []
    file = folder / "speech.s16"
    np.ascontiguousarray(wave, "<i2").tofile(file)
    return ["-f", "s16le", "-ar", str(SAMPLE_RATE), "-ac", "1", "-i", f"file:{file}"]


@contextmanager
def _aside(path: Path) -> Iterator[tuple[Path, Path]]:
    """A name beside the target that becomes the target when the block ends well, and a folder for
    what ffmpeg needs meanwhile.
    """
    with replace_file(path) as part, tempfile.TemporaryDirectory(prefix="a2h-") as folder:
        yield part.absolute(), Path(folder)


@contextmanager
def _encoder(path: Path, command: list[str], words: IO[bytes]) -> Iterator[IO[bytes]]:
    """A running ffmpeg; `words` takes its stderr, a file because nobody would empty a pipe
    meanwhile.
    """
    encoder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=words)  # noqa: S603  no shell
    assert encoder.stdin is not None  # asked for above
    os.set_blocking(encoder.stdin.fileno(), False)
    try:
        yield encoder.stdin
        encoder.stdin.close()
        code = encoder.wait(STALL_S)
    except BrokenPipeError:
        code = encoder.wait(STALL_S) or 1
    except subprocess.TimeoutExpired:
        raise MediaError(f"{path}: the encoder did not end within {STALL_S:g} s", reason="timed_out") from None
    finally:
        encoder.kill()
        encoder.communicate()
    if code:
        words.seek(0)
        raise MediaError(f"{path}: could not be encoded ({ffmpeg.last_words(words.read().decode(errors='replace'))})")


def _send(path: Path, pipe: IO[bytes], frames: UInt8[np.ndarray, "k h w 3"]) -> None:
    """Write all of a chunk into the pipe; unlike a blocking write it notices an encoder that hangs."""
    rest = np.ascontiguousarray(frames).data.cast("B")
    while rest:
        _, ready, _ = select.select([], [pipe], [], STALL_S)
        if not ready:
            raise MediaError(f"{path}: the encoder took no frame for {STALL_S:g} s", reason="timed_out")
        rest = rest[os.write(pipe.fileno(), rest) :]
