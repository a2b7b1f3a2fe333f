"""Decode any recording to 16 kHz mono.

Its level does not matter: the speech features are zero-mean and divided by their peak.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Int16

from a2h_models.errors import InputError
from a2h_models.timebase import SAMPLE_RATE, SAMPLES_PER_FRAME
from pipelines import media
from pipelines.config import GenerateConfig

MIN_SPEECH_S = 0.04  # one frame
# of 32,768 (−60 dB). A recording that never gets louder is noise of a silent line, which the
# normalisation would turn into loud hiss.
SILENT_PEAK = 32
BLOCK_SAMPLES = 2**20


def load_speech(path: Path, config: GenerateConfig) -> Int16[np.ndarray, " n"]:
    """Decode the sound of an audio or video file to 16 kHz mono.

    Raises:
        InputError: if there is no such file, or it is too long or too short.
        MediaError: if there is no sound in it, or it cannot be decoded.
    """
    wave = media.read_speech(path)
    seconds = len(wave) / SAMPLE_RATE
    if not MIN_SPEECH_S <= seconds <= config.max_speech_s:
        raise InputError(
            f"{path}: {seconds:.2f} s of speech; it must be {MIN_SPEECH_S:g} to {config.max_speech_s:g} s",
            hint="cut it, or raise generate.max_speech_s",
        )
    return wave


def frame_count(wave: np.ndarray) -> int:
    """Count the frames that cover a recording; the last one may be only partly covered."""
    return -(-len(wave) // SAMPLES_PER_FRAME)


def gate_silence(wave: Int16[np.ndarray, " n"]) -> Int16[np.ndarray, " n"]:
    """Return the wave, or digital silence if it is nothing but line noise."""
    peak = max(
        int(np.abs(wave[start : start + BLOCK_SAMPLES].astype(np.int32)).max())
        for start in range(0, len(wave), BLOCK_SAMPLES)
    )
    return wave if peak > SILENT_PEAK else np.broadcast_to(np.int16(0), wave.shape)
