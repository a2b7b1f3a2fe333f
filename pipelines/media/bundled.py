"""The bundled ffmpeg, and the one way to call it: no shell, a time limit, and its own words in the error."""

from __future__ import annotations

import functools
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from a2h_models.errors import MediaError

# Containers that we read. Playlists, concatenations and image patterns stay out: they would open other files.
FORMATS = "mov,matroska,avi,mpeg,mpegts,mpegvideo,flv,asf,ogg,wav,flac,mp3,aac,m4v"
QUIET = ("-hide_banner", "-nostdin", "-nostats")
ERROR_LINES = 3  # of ffmpeg's stderr that an error message repeats


@functools.cache
def ffmpeg() -> str:
    """Path of the ffmpeg binary that imageio-ffmpeg carries."""
    import imageio_ffmpeg

    return str(imageio_ffmpeg.get_ffmpeg_exe())


def source(path: Path) -> tuple[str, ...]:
    """Arguments that open a file as input, whatever its name holds (dashes, colons, newlines, bytes that are not UTF-8)."""
    return ("-protocol_whitelist", "file,pipe", "-format_whitelist", FORMATS, "-i", f"file:{path.absolute()}")


def run(arguments: Sequence[str], *, path: Path, timeout_s: float, into: IO[bytes] | None = None) -> tuple[bytes, str]:
    """Run ffmpeg to its end; returns stdout, unless it goes into a file, and stderr.

    Raises:
        MediaError: `unreadable` with ffmpeg's last words when it fails, `timed_out` when it takes too long; both name `path`.
    """
    try:
        done = subprocess.run(  # noqa: S603  an argument list, never a shell
            [ffmpeg(), *QUIET, *arguments],
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
        raise MediaError(f"{path}: cannot be read ({last_words(stderr)})", hint="is it a video, and is it whole?")
    return done.stdout or b"", stderr


def last_words(stderr: str) -> str:
    """The end of ffmpeg's stderr, on one line."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    return "; ".join(lines[-ERROR_LINES:])
