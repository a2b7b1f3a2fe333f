"""Frames of a video at exactly 25 fps, by time stamps.

A sound file is read by decord as it is. An odd one (see `VideoInfo.oddities`), or one for which decord's time stamps disagree with the
file's own, is first rewritten as plain H.264: upright, progressive, square pixels, no hidden packets, its time stamps kept. Then one rule
holds for both: frame n is the one whose time is nearest to n / 25 s after the first.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64, UInt8

from a2h_models.errors import MediaError
from a2h_models.timebase import FPS, Span
from pipelines.media import bundled, decoding
from pipelines.media.probing import PROBE_TIMEOUT_S, Stream, VideoInfo, describe, scan

CHUNK = 32  # frames in memory at a time …
CHUNK_BYTES = 256 * 2**20  # … and bytes: 32 frames of 4K would be 800 MB
PLAIN_CRF = 8  # of x264 at its fastest: about 50 dB, so that the rewrite costs no quality that could be seen
PLAIN_GOP = 25
NORMALISE_TIMEOUT_S = 1800.0


class Video:
    """An open video: `frames` pictures at 25 fps, of `height` × `width` pixels as shown."""

    def __init__(self, path: Path, reader: Any, picks: Int64[np.ndarray, " frames"]) -> None:
        self.path = path
        self.frames = len(picks)
        self._reader = reader
        self._picks = picks  # 25 fps frame → frame of the file
        self.height, self.width = decoding.pick(reader, picks[:1], name=str(path)).shape[1:3]

    def read(self, span: Span | None = None, *, every: int = 1, max_height: int | None = None) -> Iterator[UInt8[np.ndarray, "k h w 3"]]:
        """Chunks of at most 32 frames, RGB: those of `span`, each `every`-th, scaled down to `max_height` if they are higher.

        Raises:
            MediaError: `unreadable` if the decoder gives up.
        """
        wanted = self._picks if span is None else self._picks[span.start : span.stop]
        wanted = wanted[::every]
        size = max(1, min(CHUNK, CHUNK_BYTES // (self.height * self.width * 3)))
        for start in range(0, len(wanted), size):
            yield _shrink(decoding.pick(self._reader, wanted[start : start + size], name=str(self.path)), max_height)


@contextmanager
def open_video(
    path: Path,
    *,
    scratch: Path | None = None,
    timeout_s: float = NORMALISE_TIMEOUT_S,
) -> Iterator[Video]:
    """Open a video for reading at 25 fps; a rewritten copy, where one is needed, lives in `scratch` until the block ends.

    Raises:
        InputError, MediaError: as `probe`; and `unreadable` or `timed_out` from the rewriting.
    """
    scanned = scan(path, timeout_s=min(timeout_s, PROBE_TIMEOUT_S))
    info = describe(path, scanned)
    assert scanned.video is not None  # describe has refused it
    with tempfile.TemporaryDirectory(prefix="a2h-", dir=scratch) as folder:
        stream = scanned.video
        reader = None if info.oddities else _open_sound(_plain_name(path, Path(folder)), stream.times)
        if reader is None:
            plain = Path(folder) / "plain.mkv"
            stream = _normalise(path, plain, info, timeout_s=timeout_s)
            reader = _open_sound(plain, stream.times)
        if reader is None:
            raise MediaError(f"{path}: its frames do not match their time stamps, even rewritten")
        yield Video(path, reader, nearest_frames(stream.times, stream.frames))


def read_clip(
    path: Path,
    *,
    span: Span | None = None,
    max_height: int | None = None,
    scratch: Path | None = None,
) -> Iterator[UInt8[np.ndarray, "k h w 3"]]:
    """Chunks of at most 32 frames at exactly 25 fps; `open_video` for more than one pass."""
    with open_video(path, scratch=scratch) as video:
        yield from video.read(span, max_height=max_height)


def nearest_frames(times: Float64[np.ndarray, " n"], frames: int) -> Int64[np.ndarray, " frames"]:
    """For each 25 fps frame the file's frame that is nearest in time; the earlier one of two equally near.

    >>> nearest_frames(np.array([0, 1, 2, 3]) / 50, 2).tolist()
    [0, 2]
    """
    wanted = np.arange(frames) / FPS + times[0]
    after = np.searchsorted(times, wanted).clip(1, max(len(times) - 1, 1))
    before = after - 1
    after = after.clip(max=len(times) - 1)
    return np.where(wanted - times[before] <= times[after] - wanted, before, after)


def _open_sound(path: Path, times: Float64[np.ndarray, " n"]) -> Any:
    """The reader of decord, or None where its frames are not the file's frames (its silent errors all show in the time stamps)."""
    try:
        reader = decoding.open_reader(path, name=str(path))
    except MediaError:
        return None
    stamps = reader.get_frame_timestamp(range(len(reader)))[:, 0]
    if len(stamps) != len(times):
        return None
    half_a_step = float(np.median(np.diff(times))) / 2 if len(times) > 1 else np.inf
    agree = np.abs((stamps - stamps[0]) - (times - times[0])) < half_a_step
    return reader if agree.all() else None


def _plain_name(path: Path, folder: Path) -> Path:
    """The path, or a link to it where decord could not take the name: it wants UTF-8."""
    try:
        os.fspath(path).encode()
    except UnicodeEncodeError:
        link = folder / "video"
        link.symlink_to(path.absolute())
        return link
    return path.absolute()


def _normalise(path: Path, plain: Path, info: VideoInfo, *, timeout_s: float) -> Stream:
    """Rewrite a video as plain H.264 with its shown frames at their own times."""
    filters = ["bwdif=deint=interlaced"] if info.interlaced else []
    filters += [f"scale={info.width}:{info.height}", "setsar=1"]  # after ffmpeg's own rotation
    pixels = "yuv444p" if info.width % 2 or info.height % 2 else "yuv420p"  # 4:2:0 has no odd sides
    arguments = [
        *("-y", *bundled.source(path), "-map", "0:V:0", "-fps_mode", "passthrough", "-vf", ",".join(filters)),
        *("-c:v", "libx264", "-preset", "ultrafast", "-crf", str(PLAIN_CRF), "-g", str(PLAIN_GOP), "-bf", "0"),
        *("-pix_fmt", pixels, "-threads", "1", f"file:{plain}"),
    ]
    bundled.run(arguments, path=path, timeout_s=timeout_s)
    video = scan(plain).video
    if video is None or not len(video.times):
        raise MediaError(f"{path}: no frame of it can be decoded")
    return video


def _shrink(frames: UInt8[np.ndarray, "k h w 3"], max_height: int | None) -> UInt8[np.ndarray, "k h2 w2 3"]:
    import cv2

    height, width = frames.shape[1:3]
    if max_height is None or height <= max_height:
        return frames
    size = (max(1, round(width * max_height / height)), max_height)
    return np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in frames])
