"""Sound as 16 kHz mono, in step with the frames: sample 0 is heard when frame 0 is shown."""

from __future__ import annotations

import mmap
import os
import tempfile
from pathlib import Path

import numpy as np
from jaxtyping import Int16

from a2h_models.errors import MediaError
from a2h_models.timebase import FPS, SAMPLE_RATE
from pipelines.media import ffmpeg
from pipelines.media.probing import PROBE_TIMEOUT_S, ContainerInfo, channels, scan

SPEECH_TIMEOUT_S = 600.0


def read_speech(path: Path, *, timeout_s: float = SPEECH_TIMEOUT_S) -> Int16[np.ndarray, " n"]:
    """The first sound stream of a video or sound file: 16 kHz, the mean of its channels.

    The start offsets of both streams are honoured: sound before the first shown frame is cut, a
    late start and gaps are silence. A file without pictures starts at its first sample.

    Raises:
        InputError: if there is no such file.
        MediaError: `no_audio`, `unreadable` or `timed_out`.
    """
    return decode_speech(path, scan(path, timeout_s=min(timeout_s, PROBE_TIMEOUT_S)), timeout_s=timeout_s)


def decode_speech(
    path: Path, scanned: ContainerInfo, *, timeout_s: float = SPEECH_TIMEOUT_S
) -> Int16[np.ndarray, " n"]:
    """The sound of a file that was scanned already.

    An hour of it is 115 MB, in pages that the system can take back.
    """
    if scanned.audio is None or not len(scanned.audio.times):
        raise MediaError(f"{path}: there is no sound in it", reason="no_audio")
    leader = scanned.audio if scanned.video is None or not len(scanned.video.times) else scanned.video
    # before 0: the encoder's priming
    start = max(float(leader.times[0]), 0.0) if leader is scanned.audio else float(leader.times[0])
    # a time stamp that leaps ahead would be filled with silence: no more than goes with the picture
    until = () if leader is scanned.audio else ("-t", f"{leader.end - start + 1 / FPS:.6f}")
    arguments = [
        *(
            "-copyts",
            *ffmpeg.source(path, scanned.reading),
            "-map",
            "0:a:0",
            "-af",
            _filters(channels(scanned.audio.header), start),
        ),
        *("-ar", str(SAMPLE_RATE), "-c:a", "pcm_s16le", "-bitexact", *until, "-f", "s16le", "-"),
    ]
    with tempfile.TemporaryFile(prefix="a2h-") as sound:
        ffmpeg.run(arguments, path=path, timeout_s=timeout_s, into=sound)
        if not os.fstat(sound.fileno()).st_size:
            raise MediaError(f"{path}: its sound cannot be decoded", reason="no_audio")
        return np.asarray(np.memmap(sound, "<i2", "c"))  # the pages outlive the file's name


def give_back(wave: np.ndarray) -> None:
    """Take the pages of a decoded sound out of memory; what is read again comes back from its file.

    For sounds that nobody wrote into.
    """
    owner: object = wave
    while isinstance(owner, np.ndarray):
        owner = owner.base
    if isinstance(owner, mmap.mmap):
        owner.madvise(mmap.MADV_DONTNEED)


def _filters(count: int, start: float) -> str:
    """Mean of the channels (ffmpeg's own mix to mono is louder for some sample types), then a
    timeline that starts at `start`.
    """
    mean = "+".join(f"{1 / count:.9f}*c{channel}" for channel in range(count))
    timeline = f"asetpts=PTS-({start:.9f})/TB"
    return f"aformat=sample_fmts=fltp,pan=mono|c0={mean},{timeline},aresample={SAMPLE_RATE}:async=1:first_pts=0"
