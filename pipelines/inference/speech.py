"""Any sound as 16 kHz mono.

Its level does not matter: the features are made zero-mean and divided by their peak.
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
# of 32,768, −60 dB: what never gets louder is the noise of a silent line, which levelling would
# make a loud hiss
SILENT_PEAK = 32
SAMPLES_AT_ONCE = 2**20


def load_speech(path: Path, config: GenerateConfig) -> Int16[np.ndarray, " n"]:
    """The sound of any file as 16 kHz mono.

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


def frames_of(wave: np.ndarray) -> int:
    """Frames that cover a speech, the last one perhaps not to its end."""
    return -(-len(wave) // SAMPLES_PER_FRAME)


def gate_silence(wave: Int16[np.ndarray, " n"]) -> Int16[np.ndarray, " n"]:
    """What the networks hear: the wave, or true silence where it is only the noise of a line."""
    loudest = max(
        int(np.abs(wave[at : at + SAMPLES_AT_ONCE].astype(np.int32)).max())
        for at in range(0, len(wave), SAMPLES_AT_ONCE)
    )
    return wave if loudest > SILENT_PEAK else np.broadcast_to(np.int16(0), wave.shape)
