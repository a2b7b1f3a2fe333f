"""The sound of a clip: cut, its level, and how much of it is speech."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Int16

from a2h_models.timebase import SAMPLE_RATE, SAMPLES_PER_FRAME, Span

LEVEL_PIECE = 2**20  # samples at a time: an hour of sound as 64-bit floats is 460 MB
PEAK = 32768.0  # of 16-bit sound
FLOOR_DB = -100.0  # digital silence
# of WebRTC's voice detector: the length of what it judges, and how sceptical it is, 0 to 3
VOICE_MS, VOICE_MODE = 20, 2


def cut_wave(wave: Int16[np.ndarray, " n"], span: Span, late: int = 0) -> Int16[np.ndarray, " t*640"]:
    """The sound of a span, taken `late` frames later; silence where the video has none: before its
    start and after its sound's end.
    """
    start, stop = (span.start + late) * SAMPLES_PER_FRAME, (span.stop + late) * SAMPLES_PER_FRAME
    piece = wave[max(start, 0) : max(stop, 0)]
    before = min(max(-start, 0), stop - start)
    return np.pad(piece, (before, stop - start - before - len(piece)))


def level_db(wave: Int16[np.ndarray, " n"]) -> float:
    """Mean level, full scale = 0."""
    pieces = (wave[start : start + LEVEL_PIECE] for start in range(0, len(wave), LEVEL_PIECE))
    rms = math.sqrt(
        sum(float(np.square(piece.astype(np.float64) / PEAK).sum()) for piece in pieces) / max(len(wave), 1)
    )
    return max(FLOOR_DB, 20 * float(np.log10(rms))) if rms > 0 else FLOOR_DB


def voice_share(wave: Int16[np.ndarray, " n"]) -> float:
    """Share of the stretches of 20 ms in which WebRTC's detector hears somebody speak, 0 to 1;
    music may be heard as speech.
    """
    import webrtcvad

    detector, length = webrtcvad.Vad(VOICE_MODE), SAMPLE_RATE * VOICE_MS // 1000
    stretches = [wave[start : start + length].tobytes() for start in range(0, len(wave) - length + 1, length)]
    return float(np.mean([detector.is_speech(stretch, SAMPLE_RATE) for stretch in stretches])) if stretches else 0.0
