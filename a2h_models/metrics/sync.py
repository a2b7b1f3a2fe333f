"""Do mouth and speech belong together? Our own stand-ins where no SyncNet is at hand; they are not LSE and do not carry its name."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from a2h_models.timebase import SAMPLE_RATE, SAMPLES_PER_FRAME, SAMPLES_PER_HOP

MAX_OFFSET = 15  # frames either way, as SyncNet's protocol looks
MIN_OVERLAP = 10  # frames; fewer correlate by chance
FLOOR = 1e-5  # of full scale: -100 dB, digital silence
RANGE_DB, LOUDEST = 40.0, 95  # what is so far below this percentile of the levels counts as silence
TREND_FRAMES = 25  # slower changes of mouth and speech say nothing about their being in step
BEAT_PAUSE_HOPS = 10  # 0.1 s: nobody speaks more than ten syllables a second
UPPER_LIP, LOWER_LIP, FOREHEAD, CHIN = 13, 14, 10, 152  # of the face mesh; the lips' inner edges


class MouthSpeech(NamedTuple):
    """How a mouth follows a speech."""

    correlation: float  # at offset 0; -1 … 1
    offset: int  # frames by which the speech comes after the mouth; positive: the sound is late
    best: float  # correlation at that offset


def mouth_opening(landmarks: Float[np.ndarray, "t n d"]) -> Float[np.ndarray, " t"]:
    """Distance of the inner lips over the height of the face: free of the head's distance, and nearly of its turning."""
    opening = np.linalg.norm(landmarks[:, LOWER_LIP, :2].astype(np.float64) - landmarks[:, UPPER_LIP, :2], axis=1)
    height = np.linalg.norm(landmarks[:, CHIN, :2].astype(np.float64) - landmarks[:, FOREHEAD, :2], axis=1)
    return np.asarray(opening / np.maximum(height, 1.0))


def speech_level(wave: np.ndarray, frames: int) -> Float[np.ndarray, " t"]:
    """Loudness a frame in dB of full scale; what is 40 dB below the loud frames counts as silence.

    Args:
        wave: 16 kHz mono, int16 or float in [-1, 1]; padded with zeros or cut to `frames`.
        frames: how many.
    """
    scale = np.iinfo(wave.dtype).max if np.issubdtype(wave.dtype, np.integer) else 1.0
    samples = np.zeros(frames * SAMPLES_PER_FRAME)
    cut = wave[: len(samples)]
    samples[: len(cut)] = cut / scale
    rms = np.sqrt((samples.reshape(frames, SAMPLES_PER_FRAME) ** 2).mean(axis=1))
    level = 20 * np.log10(np.maximum(rms, FLOOR))
    return np.asarray(np.maximum(level, np.percentile(level, LOUDEST) - RANGE_DB) if frames else level)


def mouth_speech(opening: Float[np.ndarray, " t"], level: Float[np.ndarray, " t"], *, max_offset: int = MAX_OFFSET) -> MouthSpeech:
    """Pearson correlation of mouth opening and speech level at offset 0, and the offset at which it is best; slow trends are taken away.

    The truth's own value is best, not the highest. A mouth or a speech that never changes has correlation 0 and offset 0.

    Args:
        opening: of the mouth, any unit; frames without a face are interpolated by the caller, or NaN and left out.
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
    mouth, speech = _without_trend(opening), _without_trend(level)
    offsets = sorted(range(-reach, reach + 1), key=abs)  # the nearest wins a tie
    scores = [_correlation(*_shifted(mouth, speech, offset)) for offset in offsets]
    best = int(np.argmax(scores))
    return MouthSpeech(scores[0], offsets[best], scores[best])


def _without_trend(signal: np.ndarray) -> np.ndarray:
    """What is left of a signal when its slow part is taken away; gaps stay gaps."""
    from scipy.ndimage import gaussian_filter1d

    seen = np.isfinite(signal)
    weights = gaussian_filter1d(seen.astype(np.float64), TREND_FRAMES, mode="nearest")
    slow = gaussian_filter1d(np.where(seen, signal, 0.0), TREND_FRAMES, mode="nearest") / np.maximum(weights, np.finfo(np.float64).tiny)
    return np.asarray(signal - slow)


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
    onsets = onset_detect(y=samples, sr=SAMPLE_RATE, hop_length=SAMPLES_PER_HOP, wait=BEAT_PAUSE_HOPS, units="time")
    return np.asarray(onsets, dtype=np.float64)
