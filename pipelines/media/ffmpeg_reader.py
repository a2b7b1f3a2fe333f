"""Frames through a pipe from the bundled ffmpeg: cut, scaled and made RGB there, and never more
than one of them in memory here.

decord decodes ahead of its reader without a bound: 10 s of 1080×1920 took 1.2 GB where a face
detector read them. A pipe makes the decoder wait. It is also faster where only a part of the
picture or a smaller one is wanted, because only that becomes RGB.
"""

from __future__ import annotations

import fcntl
import os
import select
import subprocess
import tempfile
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from jaxtyping import UInt8

from a2h_models.errors import MediaError
from pipelines.media import ffmpeg

STALL_S = 120.0  # a decoder that gives nothing for so long is stuck
PIPE_BYTES = 2**20  # of the kernel's buffer: the most that a user may ask for
# so much before the first frame wanted: seeking may land on a key frame that is decoded early and
# shown late
SEEK_S = 1.0
LAST_WORDS = 4096  # bytes of stderr that an error may need
# scaled first and made RGB then: ffmpeg is slower at both in one
EXACT = "format=yuv420p|yuv422p|yuv444p,scale,format=rgb24"
# half the bytes, which OpenCV makes RGB in a third of the time, by one matrix for all
ROUGH = "scale=out_range=tv,format=yuv420p"


class CropRegion(NamedTuple):
    """A square of a picture: corner and side in pixels."""

    x: int
    y: int
    side: int


def pipe_frames(
    path: Path,
    *,
    count: int,
    since: float | None = None,
    reading: Sequence[str] = (),
    first: Sequence[str] = (),
    part: CropRegion | None = None,
    size: tuple[int, int],
    rough: bool = False,
    name: str,
) -> Generator[UInt8[np.ndarray, "h w 3"]]:
    """Frames of a file in a row, RGB, as `shown_frames` counts them.

    Args:
        path: of the file.
        count: how many.
        since: a time on the file's clock shortly before the first one; None for the file's first.
        reading: options of the container's reader.
        first: filters that make the pictures plain: all that follows means what they give.
        part: what is cut out, if not all.
        size: width and height to which that is scaled.
        rough: whether the borders of blocks may show and colours be a little off, for less than two
            thirds of the time.
        name: of the file, for errors.

    Raises:
        MediaError: `unreadable` if there are fewer frames, `timed_out` if the decoder gets stuck.
    """
    import cv2

    width, height = size
    planes = rough and width % 2 == height % 2 == 0  # 4:2:0 has no odd sides
    seek = () if since is None else ("-noaccurate_seek", "-seek_timestamp", "1", "-ss", f"{since - SEEK_S:.6f}")
    command = [
        *(ffmpeg.ffmpeg_path(), *ffmpeg.QUIET, "-loglevel", "error", "-threads", "1", *(ffmpeg.ROUGH if rough else ())),
        *("-copyts", *seek, *ffmpeg.source(path, reading)),
        *(
            "-map",
            "0:V:0",
            "-filter_threads",
            "1",
            "-vf",
            _filters(first, since, part, size, ROUGH if planes else EXACT),
        ),
        *("-fps_mode", "passthrough", "-frames:v", str(count), "-f", "rawvideo", "pipe:1"),
    ]
    with _decoder(command) as (pipe, words):
        for number in range(count):
            frame = np.empty((height * 3 // 2, width) if planes else (height, width, 3), np.uint8)
            if not _fill(pipe, frame.data.cast("B"), name):
                words.seek(0)
                said = ffmpeg.last_words(words.read(LAST_WORDS).decode(errors="replace"))
                raise MediaError(f"{name}: the decoder gave {number} of {count} frames ({said})")
            yield cv2.cvtColor(frame, cv2.COLOR_YUV2RGB_I420) if planes else frame


def _filters(
    first: Sequence[str], since: float | None, part: CropRegion | None, size: tuple[int, int], last: str
) -> str:
    width, height = size
    steps = [*first, *([] if since is None else [f"trim=start={since:.6f}"])]
    steps += [] if part is None else [f"crop={part.side}:{part.side}:{part.x}:{part.y}:exact=1"]
    return ",".join([*steps, f"scale={width}:{height}:flags=area", last])


@contextmanager
def _decoder(command: Sequence[str]) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    """A running ffmpeg: its pictures, and a file with its words."""
    with (
        tempfile.TemporaryFile(prefix="a2h-") as words,
        subprocess.Popen(command, bufsize=0, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=words) as decoder,  # noqa: S603  no shell
    ):
        assert decoder.stdout is not None  # asked for above
        fcntl.fcntl(decoder.stdout, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        try:
            yield decoder.stdout, words
        finally:
            decoder.kill()


def _fill(pipe: IO[bytes], rest: memoryview, name: str) -> bool:
    """Read until there is nothing left to fill; False if the pipe ends before."""
    while rest:
        ready, _, _ = select.select([pipe], [], [], STALL_S)
        if not ready:
            raise MediaError(f"{name}: the decoder gave no frame for {STALL_S:g} s", reason="timed_out")
        got = os.readv(pipe.fileno(), [rest])
        if not got:
            return False
        rest = rest[got:]
    return True
