"""Sound as 16 kHz mono, in step with the frames: sample 0 is heard when frame 0 is shown."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Int16

from a2h_models.errors import MediaError
from a2h_models.timebase import SAMPLE_RATE
from pipelines.media import bundled
from pipelines.media.probing import PROBE_TIMEOUT_S, channels, scan

SPEECH_TIMEOUT_S = 600.0


def read_speech(path: Path, *, timeout_s: float = SPEECH_TIMEOUT_S) -> Int16[np.ndarray, " n"]:
    """The first sound stream of a video or sound file: 16 kHz, the mean of its channels.

    The start offsets of both streams are honoured: sound before the first shown frame is cut, a late start and gaps are silence.
    A file without pictures starts at its first sample.

    Raises:
        InputError: if there is no such file.
        MediaError: `no_audio`, `unreadable` or `timed_out`.
    """
    scanned = scan(path, timeout_s=min(timeout_s, PROBE_TIMEOUT_S))
    if scanned.audio is None or not len(scanned.audio.times):
        raise MediaError(f"{path}: there is no sound in it", reason="no_audio")
    leader = scanned.audio if scanned.video is None or not len(scanned.video.times) else scanned.video
    start = max(float(leader.times[0]), 0.0) if leader is scanned.audio else float(leader.times[0])  # before 0: the encoder's priming
    arguments = [
        *("-copyts", *bundled.source(path), "-map", "0:a:0", "-af", _filters(channels(scanned.audio.header), start)),
        *("-ar", str(SAMPLE_RATE), "-c:a", "pcm_s16le", "-bitexact", "-f", "s16le", "-"),
    ]
    stdout, _ = bundled.run(arguments, path=path, timeout_s=timeout_s)
    wave = np.frombuffer(stdout, "<i2")
    if not len(wave):
        raise MediaError(f"{path}: its sound cannot be decoded", reason="no_audio")
    return wave.astype(np.int16)


def _filters(count: int, start: float) -> str:
    """Mean of the channels (ffmpeg's own mix to mono is louder for some sample types), then a timeline that starts at `start`."""
    mean = "+".join(f"{1 / count:.9f}*c{channel}" for channel in range(count))
    timeline = f"asetpts=PTS-({start:.9f})/TB"
    return f"aformat=sample_fmts=fltp,pan=mono|c0={mean},{timeline},aresample={SAMPLE_RATE}:async=1:first_pts=0"
