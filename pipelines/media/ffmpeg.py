"""The bundled ffmpeg, and the one way to call it: no shell, a time limit, and its own words in the
error.
"""

from __future__ import annotations

import errno
import functools
import os
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from a2h_models.errors import FailedError, MediaError

# Containers that we read. Playlists, concatenations and image patterns stay out: they would open
# other files.
FORMATS = "mov,matroska,avi,mpeg,mpegts,mpegvideo,flv,asf,ogg,wav,flac,mp3,aac,m4v"
QUIET = ("-hide_banner", "-nostdin", "-nostats")
ROUGH = ("-skip_loop_filter", "all")  # of a decoder: a third quicker, and the borders of its blocks may show
BLIND = (*ROUGH, "-skip_idct", "all")  # a quarter quicker still, and the pictures show little of what they should
ERROR_LINES = 3  # of ffmpeg's stderr that an error message repeats
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # errors of a disk without room: no video is to blame for them


@functools.cache
def ffmpeg_path() -> str:
    """Path of the ffmpeg binary that imageio-ffmpeg carries."""
    import imageio_ffmpeg

    return str(imageio_ffmpeg.get_ffmpeg_exe())


def source(path: Path, reading: Sequence[str] = ()) -> tuple[str, ...]:
    """Arguments that open a file as input, whatever its name holds (dashes, colons, newlines, bytes
    that are not UTF-8).

    `reading` are options of the container's reader, as `Scan.reading` has them.
    """
    return (*reading, "-protocol_whitelist", "file,pipe", "-format_whitelist", FORMATS, "-i", f"file:{path.absolute()}")


def run(arguments: Sequence[str], *, path: Path, timeout_s: float, into: IO[bytes] | None = None) -> tuple[bytes, str]:
    """Run ffmpeg to its end; returns stdout, unless it goes into a file, and stderr.

    Raises:
        MediaError: `unreadable` with ffmpeg's last words when it fails, `timed_out` when it takes
            too long; both name `path`.
        FailedError: if the disk has no room for what it writes.
    """
    try:
        done = subprocess.run(  # noqa: S603  an argument list, never a shell
            [ffmpeg_path(), *QUIET, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if into is None else into,
            stderr=subprocess.PIPE,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise MediaError(f"{path}: ffmpeg took longer than {timeout_s:g} s", reason="timed_out") from None
    stderr = done.stderr.decode(errors="replace")
    if done.returncode:
        raise_if_no_room(done.returncode, stderr)
        raise MediaError(f"{path}: cannot be read ({last_words(stderr)})", hint="is it a video, and is it whole?")
    return done.stdout or b"", stderr


def raise_if_full(error: Exception) -> None:
    """Tell a disk without room from a video that cannot be read: the run stops, because every video
    after this one would fail as well.

    Raises:
        FailedError: if the error says that a file cannot grow.
    """
    if getattr(error, "errno", None) in FULL:
        raise _no_room(str(error)) from error


def raise_if_no_room(returncode: int, stderr: str) -> None:
    """The same for an ffmpeg that failed.

    Raises:
        FailedError: if it says, or its end shows, that a file could not grow.
    """
    if returncode == -signal.SIGXFSZ or any(os.strerror(code) in stderr for code in FULL):
        raise _no_room(last_words(stderr))


def _no_room(why: str) -> FailedError:
    return FailedError(
        f"no room for scratch files in {tempfile.gettempdir()}: {why}",
        hint="free some space, or say TMPDIR=… before a2h",
    )


def last_words(stderr: str) -> str:
    """The end of ffmpeg's stderr, on one line."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    return "; ".join(lines[-ERROR_LINES:])
