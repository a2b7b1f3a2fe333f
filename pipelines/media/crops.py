"""The crop of a sample, to bytes and back: H.264 with a short GOP, so that any frame is a few
decodes away.

The bytes are a pure function of the frames: one encoder thread, fixed settings, no date and no
version in the container.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from a2h_models.errors import MediaError
from a2h_models.timebase import FPS
from pipelines.media import decord_reader, ffmpeg

# Most of the time of x264's default preset goes for little. Over 6 real clips at the same CRF
# `veryfast` needs 1.4 ms a frame instead of
# 3.8 and makes files 3 % larger; tuned for the error itself instead of for the eye, it keeps the
# PSNR (at worst 40.9 dB; before, 40.8).
EFFORT = ("-preset", "veryfast", "-tune", "psnr")
GOP = 12  # frames from one key frame to the next
CRF = 11  # 40 dB or more against the uncompressed crop, on all the real clips that we measured
WHITE = 255
ENCODE_TIMEOUT_S = 300.0
# RGB → YUV without a shift of colour: exact rounding, full chroma resolution on the way
SCALING = "scale=out_color_matrix=bt601:out_range=tv:flags=accurate_rnd+full_chroma_int+full_chroma_inp+bicubic"


def encode_crop(frames: UInt8[np.ndarray, "t h w 3"]) -> bytes:
    """An mp4 of the frames (RGB, even sides) at 25 fps; equal frames give equal bytes."""
    height, width = frames.shape[1:3]
    arguments = [
        *(
            "-y",
            "-hide_banner",
            "-loglevel",
            "error",
            "-f",
            "rawvideo",
            "-pix_fmt",
            "rgb24",
            "-s",
            f"{width}x{height}",
            "-r",
            str(FPS),
        ),
        *(
            "-filter_threads",
            "1",
            "-i",
            "pipe:0",
            "-vf",
            SCALING,
            "-pix_fmt",
            "yuv420p",
            "-c:v",
            "libx264",
            *EFFORT,
            "-crf",
            str(CRF),
        ),
        *(
            "-g",
            str(GOP),
            "-bf",
            "0",
            "-threads",
            "1",
            "-fflags",
            "+bitexact",
            "-flags:v",
            "+bitexact",
            "-map_metadata",
            "-1",
        ),
        *("-movflags", "+faststart"),
    ]
    with tempfile.TemporaryDirectory(prefix="a2h-") as folder:
        target = Path(folder) / "crop.mp4"  # an mp4 needs to seek: a pipe would not do
        _feed([ffmpeg.ffmpeg_path(), *arguments, str(target)], np.ascontiguousarray(frames))
        return target.read_bytes()


def _feed(command: list[str], frames: UInt8[np.ndarray, "t h w 3"]) -> None:
    try:
        done = subprocess.run(  # noqa: S603  an argument list, never a shell
            command, input=frames.data, capture_output=True, timeout=ENCODE_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise MediaError(
            f"encoding {len(frames)} frames took longer than {ENCODE_TIMEOUT_S:g} s", reason="timed_out"
        ) from None
    if done.returncode:
        stderr = done.stderr.decode(errors="replace")
        ffmpeg.raise_if_no_room(done.returncode, stderr)
        raise MediaError(f"{len(frames)} frames could not be encoded ({ffmpeg.last_words(stderr)})")


def count_frames(data: bytes) -> int:
    """How many frames an encoded crop has.

    Raises:
        MediaError: `unreadable`.
    """
    return len(decord_reader.open_reader(data, name=f"a crop of {len(data)} bytes"))


def decode_crop(
    data: bytes, indices: Sequence[int] | None = None, size: int | None = None
) -> UInt8[np.ndarray, "n s s 3"]:
    """Frames of an encoded crop, RGB: those asked for, in the order asked for; `size` scales the
    picture to a square.

    Raises:
        MediaError: `unreadable` for damaged bytes.
        IndexError: for a frame that the crop does not have.
    """
    name = f"a crop of {len(data)} bytes"
    reader = decord_reader.open_reader(data, name=name, size=None if size is None else (size, size))
    wanted = np.arange(len(reader)) if indices is None else np.asarray(indices, np.int64)
    if len(wanted) and not 0 <= wanted.min() <= wanted.max() < len(reader):
        raise IndexError(f"frames {wanted.min()}–{wanted.max()} of a crop of {len(reader)} frames")
    frames = decord_reader.pick(reader, wanted, name=name)
    # decord rounds down from YUV to RGB: 1.0–1.4 levels too dark on average, which would cost 2 of
    # the 40 dB. One level up, white stays.
    frames += frames < WHITE
    return frames
