"""Frames of a video at exactly 25 fps, by time stamps.

A sound file is read as it is: by decord, once and whole, where its frames fit into memory, else
through ffmpeg's pipe, pass by pass. An odd one (see `VideoInfo.oddities`), or one for which
decord's time stamps disagree with the file's own, goes through the pipe, which makes it upright,
progressive and of square pixels; which frames it shows, and when, one pass of decoding has told
before. Where seeking cannot be trusted, it is first rewritten as plain H.264. Then one rule holds
for all: frame n is the one whose time is nearest to n / 25 s after the first.
"""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64, Int16, Int64, UInt8

from a2h_models.errors import MediaError
from a2h_models.timebase import FPS, Span
from pipelines.media import decord_reader, ffmpeg
from pipelines.media.ffmpeg_reader import CropRegion, pipe_frames
from pipelines.media.probing import PROBE_TIMEOUT_S, ContainerInfo, StreamInfo, VideoInfo, describe, scan, shown_frames
from pipelines.media.speech import SPEECH_TIMEOUT_S, decode_speech

CHUNK = 32  # frames at a time …
CHUNK_BYTES = 32 * 2**20  # … and bytes
COLOURS = 3
# a video whose frames fit into so much is decoded once, by decord: 35 s at 224×224, 2 s at 720p
KEPT_BYTES = 128 * 2**20
MAX_FRAMES = 24 * 3600 * FPS  # a day: time stamps that leap ahead would ask for frames without end
PLAIN_CRF = 8  # of x264 at its fastest: about 50 dB, so that the rewrite costs no quality that could be seen
PLAIN_GOP = 25
SHAPES = frozenset({"rotation", "pixel aspect"})  # oddities that change the pictures, not when they are shown
NORMALISE_TIMEOUT_S = 1800.0


class Source(NamedTuple):
    """What a video's frames are decoded from, and how."""

    path: Path  # the file itself, or a copy that was made plain
    stream: StreamInfo  # with the times of its frames
    size: tuple[int, int]  # width and height as shown
    filters: tuple[str, ...] = ()  # of ffmpeg, that make the pictures plain
    reading: tuple[str, ...] = ()  # options of its reader
    reader: Any = None  # decord's, where it can be trusted

    def before(self, frame: int) -> float | None:
        """A time between a frame and the one before it; None where there is none before."""
        times = self.stream.times
        if frame:
            return float(times[frame - 1 : frame + 1].mean())
        return float(times[0] - np.diff(times[:2]).sum() / 2) if self.stream.hidden else None


class VideoReader:
    """An open video: `frames` pictures at 25 fps, of `height` × `width` pixels as shown."""

    def __init__(self, path: Path, scanned: ContainerInfo, source: Source) -> None:
        self.path = path
        self.width, self.height = source.size
        self._scanned = scanned
        self._source, stream = source, source.stream
        self._picks = nearest_frames(stream.times, stream.frames)  # 25 fps frame → frame of the file
        self.frames = len(self._picks)
        self._kept: list[UInt8[np.ndarray, "h w 3"]] = []  # for each pick, once they were decoded

    def stream(
        self,
        span: Span | None = None,
        *,
        every: int = 1,
        max_height: int | None = None,
        part: CropRegion | None = None,
        rough: bool = False,
    ) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
        """Frames, RGB, one by one: those of `span`, each `every`-th.

        Args:
            span: all by default.
            every: 2 takes the first, the third, …
            max_height: to which they are scaled down if they are higher.
            part: what is cut out of them before that.
            rough: to look at, not to keep: a large video is decoded without its loop filter.

        Raises:
            MediaError: `unreadable` or `timed_out` if the decoder gives up.
        """
        span = Span(0, self.frames) if span is None else span
        if self.frames * self.height * self.width * COLOURS <= KEPT_BYTES:
            frames = self._all()[span.start : span.stop]
            size = self._size(max_height, part)
            yield from (shrink(frame if part is None else _cut(frame, part), size) for frame in frames[::every])
        else:
            yield from itertools.islice(self._piped(span, max_height, part, rough=rough), 0, None, every)

    def read(
        self, span: Span | None = None, *, every: int = 1, max_height: int | None = None
    ) -> Iterator[UInt8[np.ndarray, "k h w 3"]]:
        """What `stream` gives, in chunks of at most 32 frames and 32 MB."""
        width, height = self._size(max_height, None)
        frames = self.stream(span, every=every, max_height=max_height)
        while chunk := list(itertools.islice(frames, max(1, min(CHUNK, CHUNK_BYTES // (height * width * COLOURS))))):
            yield np.stack(chunk)

    def speech(self, *, timeout_s: float = SPEECH_TIMEOUT_S) -> Int16[np.ndarray, " n"]:
        """The sound, as `read_speech` gives it, without looking for the streams anew."""
        return decode_speech(self.path, self._scanned, timeout_s=timeout_s)

    def _size(self, max_height: int | None, part: CropRegion | None) -> tuple[int, int]:
        """Width and height of what `stream` gives."""
        width, height = (self.width, self.height) if part is None else (part.side, part.side)
        if max_height is None or height <= max_height:
            return width, height
        return max(1, round(width * max_height / height)), max_height

    def _all(self) -> list[UInt8[np.ndarray, "h w 3"]]:
        """A small video is decoded once for all passes."""
        if not self._kept:
            everything = Span(0, self.frames)
            reader, name = self._source.reader, str(self.path)
            frames = (
                self._piped(everything, None, None)
                if reader is None
                else decord_reader.stream(reader, self._picks, name=name)
            )
            self._kept = [frame.copy() for frame in frames]
            if wrong := {frame.shape for frame in self._kept} - {(self.height, self.width, COLOURS)}:
                raise MediaError(f"{self.path}: pictures of {sorted(wrong)} beside {self.width}×{self.height}")
        return self._kept

    def _piped(
        self, span: Span, max_height: int | None, part: CropRegion | None, *, rough: bool = False
    ) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
        picks = self._picks[span.start : span.stop]
        if not len(picks):
            return
        first, count = int(picks[0]), int(picks[-1] - picks[0]) + 1
        source, size = self._source, self._size(max_height, part)
        wanted = partial(pipe_frames, source.path, count=count, since=source.before(first), part=part, size=size)
        frames = wanted(reading=source.reading, first=source.filters, rough=rough, name=str(self.path))
        here, frame = -1, None
        with closing(frames):
            for pick in picks - first:
                while here < pick:
                    here, frame = here + 1, next(frames)
                assert frame is not None  # picks start at 0
                yield frame


@contextmanager
def open_video(
    path: Path,
    *,
    scratch: Path | None = None,
    timeout_s: float = NORMALISE_TIMEOUT_S,
) -> Iterator[VideoReader]:
    """Open a video for reading at 25 fps; a rewritten copy, where one is needed, lives in `scratch`
    until the block ends.

    Raises:
        InputError, MediaError: as `probe`; and `unreadable` or `timed_out` from decoding an odd
            one.
    """
    scanned = scan(path, timeout_s=min(timeout_s, PROBE_TIMEOUT_S))
    info = describe(path, scanned)
    with tempfile.TemporaryDirectory(prefix="a2h-", dir=scratch) as folder:
        if info.frames > MAX_FRAMES:
            raise MediaError(
                f"{path}: its time stamps reach {info.duration_s:.0f} s; at most {MAX_FRAMES // FPS} are read",
                reason="too_long",
            )
        source = _source(_plain_name(path, Path(folder)), scanned, info, Path(folder), timeout_s)
        yield VideoReader(path, scanned, source)


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
    """For each 25 fps frame the file's frame that is nearest in time; the earlier one of two
    equally near.

    >>> nearest_frames(np.array([0, 1, 2, 3]) / 50, 2).tolist()
    [0, 2]
    """
    wanted = np.arange(frames) / FPS + times[0]
    after = np.searchsorted(times, wanted).clip(1, max(len(times) - 1, 1))
    before = after - 1
    after = after.clip(max=len(times) - 1)
    return np.where(wanted - times[before] <= times[after] - wanted, before, after)


def _open_sound(path: Path, times: Float64[np.ndarray, " n"]) -> Any:
    """The reader of decord, or None where its frames are not the file's frames (its silent errors
    all show in the time stamps).
    """
    try:
        reader = decord_reader.open_reader(path, name=str(path))
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


def _source(path: Path, scanned: ContainerInfo, info: VideoInfo, folder: Path, timeout_s: float) -> Source:
    """How to decode a video: as it is, made plain in the pipe, or made plain in a copy in `folder`."""
    stream, reading = scanned.video, scanned.reading
    assert stream is not None  # describe has refused it
    reader = None if set(info.oddities) - SHAPES else _open_sound(path, stream.times)
    if reader is not None and not info.oddities:
        return Source(path, stream, stream.size, reader=reader)
    filters: tuple[str, ...] = ("bwdif=deint=interlaced",) if info.interlaced else ()
    filters += (f"scale={info.width}:{info.height}", "setsar=1")  # after ffmpeg's own rotation
    if info.seekable:
        shown = stream if reader is not None else shown_frames(path, filters, reading, timeout_s=timeout_s)
        return Source(path, shown, (info.width, info.height), filters, reading)
    plain = folder / "plain.mkv"
    stream = _normalise(path, plain, filters, info, timeout_s=timeout_s)
    if (reader := _open_sound(plain, stream.times)) is None:
        raise MediaError(f"{path}: its frames do not match their time stamps, even rewritten")
    return Source(plain, stream, stream.size, reader=reader)


def _normalise(path: Path, plain: Path, filters: Sequence[str], info: VideoInfo, *, timeout_s: float) -> StreamInfo:
    """Rewrite a video as plain H.264 with its shown frames at their own times."""
    pixels = "yuv444p" if info.width % 2 or info.height % 2 else "yuv420p"  # 4:2:0 has no odd sides
    arguments = [
        *("-y", *ffmpeg.source(path), "-map", "0:V:0", "-fps_mode", "passthrough", "-vf", ",".join(filters)),
        *("-c:v", "libx264", "-preset", "ultrafast", "-crf", str(PLAIN_CRF), "-g", str(PLAIN_GOP), "-bf", "0"),
        *("-pix_fmt", pixels, "-threads", "1", f"file:{plain}"),
    ]
    ffmpeg.run(arguments, path=path, timeout_s=timeout_s)
    video = scan(plain).video
    if video is None or not len(video.times):
        raise MediaError(f"{path}: no frame of it can be decoded")
    return video


def _cut(frame: UInt8[np.ndarray, "h w 3"], part: CropRegion) -> UInt8[np.ndarray, "side side 3"]:
    return frame[part.y : part.y + part.side, part.x : part.x + part.side]


def shrink(frame: UInt8[np.ndarray, "h w 3"], size: tuple[int, int]) -> UInt8[np.ndarray, "h2 w2 3"]:
    """A picture scaled down to a width and height, each output pixel an average over what it stands
    for.

    In two steps, to the nearest multiple and then by a whole number: OpenCV is so two to three
    times as fast as in one.
    """
    import cv2

    if frame.shape[1::-1] == size:
        return frame
    times = max(2, round(len(frame) / size[1]))
    return np.asarray(
        cv2.resize(cv2.resize(frame, (size[0] * times, size[1] * times)), size, interpolation=cv2.INTER_AREA)
    )
