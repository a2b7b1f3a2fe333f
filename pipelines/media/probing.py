"""What is in a file, judged by its own time stamps.

No ffprobe is bundled, so ffmpeg itself copies the packets into its checksum listing (`-f
framecrc`): no decoding, one line a packet with its time, and the flag of packets that an edit list
hides. Headers are believed only for what packets cannot say.
"""

from __future__ import annotations

import io
import re
from array import array
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from a2h_models.errors import InputError, MediaError
from a2h_models.timebase import FPS
from pipelines.media import ffmpeg

PROBE_TIMEOUT_S = 120.0
MAX_SIDE = 8192  # pixels; a larger picture is refused before memory is taken
NO_TIME = -(2**63)  # ffmpeg's "no time stamp"
HIDDEN = 4  # ffmpeg's flag of a packet that is decoded but not shown (outside the edit list)
MISSING_S = 0.25  # a container that promises this much more than it holds was cut off …
MISSING_SHARE = 0.02  # … and this share: some containers round their duration
RATE_TOLERANCE = 0.2  # a step between frames this far off the usual one makes the rate variable
SQUARE_TOLERANCE = 0.01  # pixel aspect: 635:634 comes from rounding, not from a wide pixel
# decord reads these codecs from these containers by frame number without a mistake; all else is
# made plain first
SOUND_CODECS = frozenset({"h264", "hevc", "mpeg4"})
SOUND_CONTAINERS = frozenset({"mov", "matroska"})
# A cut without encoding may begin between two frames. ffmpeg then shows the next frame at time
# zero, up to a frame too early against the
# sound. Told to only shift the times by the edit list's start, it keeps them, and what lies before
# zero is ours to hide.
SHIFTED = ("-advanced_editlist", "0")
# Lines of ffmpeg's description of its input
_INPUT = re.compile(r"^Input #0, ([\w]+)", re.MULTILINE)
_DURATION = re.compile(r"^  Duration: (\d+):(\d\d):(\d\d(?:\.\d+)?)", re.MULTILINE)
_ROTATION = re.compile(r"^\s+Display Matrix: rotation of (-?\d+(?:\.\d+)?) degrees", re.MULTILINE | re.IGNORECASE)
_INTERLACED = re.compile(r"^  Stream #0:\d+.*: Video: .*?\([^)]*\b(?:top|bottom) (?:coded )?first", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class VideoInfo:
    """A video file as a player would show it. Times in seconds, on the file's own clock."""

    duration_s: float  # of what is shown
    fps: float  # shown frames a second, on average
    frames: int  # how many come out at 25 fps; one more or less where time stamps are missing
    width: int  # pixels as shown: upright, square
    height: int
    rotation: int  # degrees by which the stored picture is turned to be upright: 0, 90, 180, 270
    container: str
    video_codec: str
    start_s: float  # time of the first shown frame; our time zero
    has_audio: bool
    audio_codec: str
    audio_rate: int  # Hz; 0 without audio
    audio_channels: int
    audio_start_s: float  # first sound minus first frame; negative: the sound begins earlier
    variable_rate: bool
    interlaced: bool
    square_pixels: bool
    edited: bool  # an edit list hides packets
    stamped: bool  # every packet has its time

    @property
    def oddities(self) -> tuple[str, ...]:
        """Why decord cannot be trusted with the file as it is; empty for a sound one."""
        found = {
            "codec": self.video_codec not in SOUND_CODECS,
            "container": self.container not in SOUND_CONTAINERS,
            "rotation": self.rotation != 0,
            "edit list": self.edited,
            "time stamps": not self.stamped,
            "interlaced": self.interlaced,
            "pixel aspect": not self.square_pixels,
        }
        return tuple(name for name, odd in found.items() if odd)

    @property
    def seekable(self) -> bool:
        """Whether a time leads to the same frames from everywhere: the container has an index, and
        the packets have times.
        """
        return self.container in SOUND_CONTAINERS and self.stamped


@dataclass(frozen=True)
class StreamInfo:
    """One stream of a scan: header values as written by framecrc, and its shown packets' times in
    order.
    """

    header: dict[str, str]
    times: Float64[np.ndarray, " n"]
    end: float
    hidden: int  # packets that are not shown
    stamped: bool  # false: some times are only the order of decoding
    begins_cut: bool  # all that is hidden lies before what is shown

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the pictures as stored."""
        width, height = (int(side) for side in self.header["dimensions"].split("x"))
        return width, height

    @property
    def frames(self) -> int:
        """How many frames come out at 25 fps."""
        return max(1, round((self.end - float(self.times[0])) * FPS))


@dataclass(frozen=True)
class ContainerInfo:
    video: StreamInfo | None
    audio: StreamInfo | None
    description: str  # ffmpeg's words on the input
    reading: tuple[str, ...] = ()  # options with which the times hold; every reader of the file must give them


def probe(path: Path, *, timeout_s: float = PROBE_TIMEOUT_S) -> VideoInfo:
    """Look into a video file.

    Raises:
        InputError: if there is no such file.
        MediaError: `unreadable` (not a video), `truncated` (the container promises more than it
            holds) or `timed_out`.
    """
    return describe(path, scan(path, timeout_s=timeout_s))


def scan(path: Path, *, timeout_s: float = PROBE_TIMEOUT_S) -> ContainerInfo:
    """List the packets of the first picture and sound streams; a cover picture is no video."""
    if not path.is_file():
        raise InputError(f"{path} is not a file")
    if not path.stat().st_size:
        raise MediaError(f"{path}: the file is empty")
    found = _scan(path, (), timeout_s)
    if found.video is None or not found.video.begins_cut:
        return found
    # what the container promises is of what is shown; shifted, it counts all that it holds
    return replace(_scan(path, SHIFTED, timeout_s), description=found.description)


def _scan(path: Path, reading: tuple[str, ...], timeout_s: float) -> ContainerInfo:
    listing = ("-map", "0:V:0?", "-map", "0:a:0?", "-c", "copy", "-copyts", "-f", "framecrc", "-")
    stdout, stderr = ffmpeg.run([*ffmpeg.source(path, reading), *listing], path=path, timeout_s=timeout_s)
    streams = {stream.header["media_type"]: stream for stream in _streams(stdout, shifted=bool(reading))}
    return ContainerInfo(streams.get("video"), streams.get("audio"), stderr.partition("\nOutput #0")[0], reading)


def shown_frames(
    path: Path, filters: Sequence[str] = (), reading: Sequence[str] = (), *, timeout_s: float
) -> StreamInfo:
    """The frames that a decoder shows, after `filters`, with their times: what packets cannot say
    of an odd file. One pass of decoding.

    Raises:
        MediaError: `unreadable` if there are none, or `timed_out`.
    """
    small = ",".join([*filters, "scale=16:16:flags=neighbor"])
    listing = (
        "-map",
        "0:V:0",
        "-vf",
        small,
        "-fps_mode",
        "passthrough",
        "-enc_time_base:v",
        "filter",
        "-copyts",
        "-f",
        "framecrc",
        "-",
    )
    arguments = ["-threads", "1", *ffmpeg.BLIND, *ffmpeg.source(path, reading), *listing]
    stdout, _ = ffmpeg.run(arguments, path=path, timeout_s=timeout_s)
    streams = _streams(stdout, shifted=bool(reading))
    if not streams or not len(streams[0].times):
        raise MediaError(f"{path}: no frame of it can be decoded")
    return streams[0]


def _streams(listing: bytes, *, shifted: bool) -> list[StreamInfo]:
    """Parse framecrc: `#key stream: value` lines, then `stream, dts, pts, duration, size, crc[,
    F=flags][, side data …]`.
    """
    headers: defaultdict[bytes, dict[str, str]] = defaultdict(dict)
    # four numbers each: an hour of video has 250,000
    packets: defaultdict[bytes, array[int]] = defaultdict(lambda: array("q"))
    for line in io.BytesIO(listing):
        if line.startswith(b"#"):
            key, _, value = line[1:].partition(b":")
            name, _, number = key.partition(b" ")
            headers[number.strip()][name.decode()] = value.strip().decode(errors="replace")
        else:
            number, decoded, shown, length, _, _, *more = line.split(b",")
            flags = next((int(field.strip()[2:], 0) for field in more if field.strip().startswith(b"F=")), 0)
            packets[number.strip()].extend((int(decoded), int(shown), int(length), flags))
    return [
        _stream(headers[number], rows, shifted=shifted)
        for number, rows in packets.items()
        if "media_type" in headers[number]
    ]


def _stream(header: dict[str, str], packets: array[int], *, shifted: bool) -> StreamInfo:
    """Times of the shown packets; the time of decoding stands in where a program stream gives no
    other.

    Where the times are `shifted`, what begins half a step or more before zero is hidden: the frame
    nearest to the cut is the first.
    """
    # in ticks of the stream, or NO_TIME
    decoded, shown, length, flags = np.frombuffer(packets, np.int64).reshape(-1, 4).T
    timed, hidden = shown != NO_TIME, (flags & HIDDEN) > 0
    first = shown[timed].min() if timed.any() else NO_TIME
    shown = np.where(timed, shown, np.maximum(decoded, first))
    known = shown != NO_TIME
    shown, length, hidden = shown[known], length[known], hidden[known]
    if shifted:
        hidden = shown < -np.median(np.diff(np.sort(shown))) / 2 if len(shown) > 1 else shown < 0
    times = np.sort(shown[~hidden])
    begins_cut = bool(hidden.any() and len(times) and shown[hidden].max() < times[0])
    tick = float(Fraction(header["tb"]))
    end = float((shown + length).max()) * tick if len(shown) else 0.0
    return StreamInfo(header, times.astype(np.float64) * tick, end, int(hidden.sum()), bool(timed.all()), begins_cut)


def describe(path: Path, scanned: ContainerInfo) -> VideoInfo:
    """Judge a scan. Raises MediaError as `probe` does."""
    video, audio = scanned.video, scanned.audio
    if video is None or not len(video.times):
        raise MediaError(f"{path}: there is no picture in it", hint="give a video file")
    _refuse_truncated(path, scanned)
    start, duration = float(video.times[0]), video.end - float(video.times[0])
    width, height, rotation, square = _shape(path, video, scanned.description)
    container = _INPUT.search(scanned.description)
    return VideoInfo(
        duration_s=duration,
        fps=len(video.times) / duration if duration > 0 else 0.0,
        frames=video.frames,
        width=width,
        height=height,
        rotation=rotation,
        container=container[1] if container else "",
        video_codec=video.header.get("codec_id", ""),
        start_s=start,
        has_audio=audio is not None,
        audio_codec=audio.header.get("codec_id", "") if audio else "",
        audio_rate=int(audio.header.get("sample_rate", 0)) if audio else 0,
        audio_channels=channels(audio.header) if audio else 0,
        audio_start_s=float(audio.times[0]) - start if audio is not None and len(audio.times) else 0.0,
        variable_rate=_variable(video.times),
        interlaced=bool(_INTERLACED.search(scanned.description)),
        square_pixels=square,
        edited=bool(video.hidden),
        stamped=video.stamped,
    )


def _refuse_truncated(path: Path, scanned: ContainerInfo) -> None:
    found = _DURATION.search(scanned.description)
    if not found:  # "N/A": the container does not know
        return
    promised = int(found[1]) * 3600 + int(found[2]) * 60 + float(found[3])
    held = max(
        stream.end - min(float(stream.times[0]), 0.0)
        for stream in (scanned.video, scanned.audio)
        if stream and len(stream.times)
    )
    if promised - held > max(MISSING_S, MISSING_SHARE * promised):
        message = f"{path}: the container promises {promised:.2f} s and holds {held:.2f} s"
        raise MediaError(message, hint="copy or download the file again", reason="truncated")


def _shape(path: Path, video: StreamInfo, description: str) -> tuple[int, int, int, bool]:
    """Width and height as shown, rotation in degrees, and whether pixels are square."""
    width, height = video.size
    if not min(width, height):
        raise MediaError(f"{path}: a picture of {width}×{height} pixels is none")
    if max(width, height) > MAX_SIDE:
        raise MediaError(
            f"{path}: pictures of {width}×{height} pixels; at most {MAX_SIDE} a side are read", reason="too_large"
        )
    across, _, up = video.header.get("sar", "0/1").partition("/")
    aspect = int(across) / int(up) if int(across) and int(up) else 1.0  # 0/1: not said
    square = abs(aspect - 1) < SQUARE_TOLERANCE
    if not square:
        width = max(2, round(width * aspect / 2) * 2)
    turned = _ROTATION.search(description)
    rotation = round(float(turned[1]) / 90) * 90 % 360 if turned else 0
    return (height, width, rotation, square) if rotation % 180 else (width, height, rotation, square)


def channels(header: dict[str, str]) -> int:
    """Number of channels of a sound stream from ffmpeg's name of the layout ("mono", "5.1(side)",
    "3 channels").
    """
    name = header.get("channel_layout_name", "mono")
    named = {"mono": 1, "stereo": 2, "downmix": 2, "quad": 4, "hexagonal": 6, "octagonal": 8}
    if base := next((count for word, count in named.items() if name.startswith(word)), 0):
        return base
    counted = re.match(r"(\d+)(?: channels)?(?:\.(\d))?(?:\.(\d))?", name)
    return sum(int(part) for part in counted.groups() if part) if counted else 1


def _variable(times: Float64[np.ndarray, " n"]) -> bool:
    steps = np.diff(times)
    if not len(steps):
        return False
    usual = float(np.median(steps))
    return bool((np.abs(steps - usual) > RATE_TOLERANCE * usual).any())
