"""Do mouth and speech belong together? Our own stand-ins where no SyncNet is at hand; they are not LSE and do not carry its name."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from a2h_models.timebase import SAMPLE_RATE, SAMPLES_PER_FRAME

MAX_OFFSET = 15  # frames either way, as SyncNet's protocol looks
MIN_OVERLAP = 10  # frames; fewer correlate by chance
FLOOR = 1e-4  # of full scale: -80 dB; below is silence


class MouthSpeech(NamedTuple):
    """How a mouth follows a speech."""

    correlation: float  # at offset 0; -1 … 1
    offset: int  # frames by which the speech comes after the mouth; positive: the sound is late
    best: float  # correlation at that offset


def speech_level(wave: np.ndarray, frames: int) -> Float[np.ndarray, " t"]:
    """Loudness a frame in dB of full scale (root mean square, floored at -80 dB).

    Args:
        wave: 16 kHz mono, int16 or float in [-1, 1]; padded with zeros or cut to `frames`.
        frames: how many.
    """
    scale = np.iinfo(wave.dtype).max if np.issubdtype(wave.dtype, np.integer) else 1.0
    samples = np.zeros(frames * SAMPLES_PER_FRAME)
    cut = wave[: len(samples)]
    samples[: len(cut)] = cut / scale
    rms = np.sqrt((samples.reshape(frames, SAMPLES_PER_FRAME) ** 2).mean(axis=1))
    return np.asarray(20 * np.log10(np.maximum(rms, FLOOR)))


def mouth_speech(opening: Float[np.ndarray, " t"], level: Float[np.ndarray, " t"], *, max_offset: int = MAX_OFFSET) -> MouthSpeech:
    """Pearson correlation of mouth opening and speech level at offset 0, and the offset at which it is best.

    The truth's own value is best, not the highest. A mouth or a speech that never changes has correlation 0 and offset 0.

    Args:
        opening: of the mouth, any unit; NaN where no face was found.
        level: of the speech, for the same frames.
        max_offset: frames either way to look.

    Raises:
        ValueError: if the two differ in length.
    """
    if len(opening) != len(level):
        raise ValueError(f"{len(opening)} frames of mouth and {len(level)} of speech")
    reach = min(max_offset, len(level) - MIN_OVERLAP)
    if reach < 0:
        return MouthSpeech(0.0, 0, 0.0)
    offsets = sorted(range(-reach, reach + 1), key=abs)  # the nearest wins a tie
    scores = [_correlation(*_shifted(opening, level, offset)) for offset in offsets]
    best = int(np.argmax(scores))
    return MouthSpeech(scores[0], offsets[best], scores[best])


def _shifted(opening: np.ndarray, level: np.ndarray, offset: int) -> tuple[np.ndarray, np.ndarray]:
    """What overlaps when the speech is moved `offset` frames forward in time."""
    if offset >= 0:
        return opening[: len(opening) - offset], level[offset:]
    return opening[-offset:], level[:offset]


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    seen = np.isfinite(a) & np.isfinite(b)
    if seen.sum() < MIN_OVERLAP:
        return 0.0
    a, b = a[seen] - a[seen].mean(), b[seen] - b[seen].mean()
    size = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b / size) if size > np.finfo(np.float32).tiny else 0.0


def speech_beats(wave: np.ndarray) -> Float[np.ndarray, " k"]:
    """Times in seconds at which the speech sets in (librosa's onsets).

    Args:
        wave: 16 kHz mono, int16 or float.
    """
    from librosa.onset import onset_detect

    scale = np.iinfo(wave.dtype).max if np.issubdtype(wave.dtype, np.integer) else 1.0
    samples = (wave / scale).astype(np.float32)
    if not samples.any():
        return np.zeros(0)
    return np.asarray(onset_detect(y=samples, sr=SAMPLE_RATE, units="time"), dtype=np.float64)
