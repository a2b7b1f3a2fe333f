"""Do mouth and speech belong together? Our own measure, where no SyncNet is at hand; it is not LSE
and does not carry its name.

A linear map that was learned from real talking faces says which mouth a speech lets expect; the
shift at which the seen mouth goes best with the expected one is the offset. Preparation judges with
it, evaluation reports it.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64

from a2h_models.features.speech import log_bands
from a2h_models.timebase import FPS, HOPS_PER_FRAME, SAMPLE_RATE, SAMPLES_PER_HOP

WEIGHTS = Path(__file__).parent / "mouth_from_speech.npz"  # made by scripts/fit_mouth_from_speech.py
MAX_SHIFT = 15  # frames either way, as SyncNet's protocol looks
MIN_OVERLAP = 10  # frames; fewer correlate by chance
TREND_FRAMES, NOISE_FRAMES = 5.0, 1.0  # sigmas: slower and faster changes of mouth and speech are not matched
RANGE_NATS, LOUDEST = 7.0, 95  # what is 30 dB below this percentile of a band's energies counts as silence
HOP_SIGMA = 2.0  # hops; energies are smoothed over 20 ms, half a frame
CONTEXT = range(-3, 4)  # frames of speech around a frame of the mouth: lips are ahead of their sound
BEAT_PAUSE_HOPS = 10  # 0.1 s: nobody speaks more than ten syllables a second
# of the face mesh
INNER_LIPS = ((13, 14), (82, 87), (312, 317))  # upper, lower
NOSE, FOREHEAD, CHIN = 1, 10, 152
MOUTH_CORNERS, EYE_CORNERS = (61, 291), (33, 263)
FLAT = 1e-9  # a spread that is no more than rounding


class Match(NamedTuple):
    """How a mouth goes with a speech."""

    offset: int  # frames by which the speech comes after the mouth; positive: the sound is late
    # correlation at that offset, times the root of the seconds: chance makes high correlations in
    # short clips
    confidence: float
    correlation: float  # at offset 0; -1 … 1


# ---------------------------------------------------------------------------------------- the mouth
def mouth_opening(landmarks: Float[np.ndarray, "t n d"]) -> Float64[np.ndarray, " t"]:
    """Distance of the inner lips / height of the face: free of the head's distance, and nearly of
    its turning.
    """
    lips = np.mean([_distance(landmarks, upper, lower) for upper, lower in INNER_LIPS], axis=0)
    return np.asarray(lips / np.maximum(_distance(landmarks, FOREHEAD, CHIN), 1.0))


def mouth_shape(landmarks: Float[np.ndarray, "t n d"]) -> Float64[np.ndarray, "t 3"]:
    """Opening of the lips, drop of the jaw and width of the mouth, each as a share of a part of the
    face that does not move.
    """
    jaw = _distance(landmarks, NOSE, CHIN) / np.maximum(_distance(landmarks, NOSE, FOREHEAD), 1.0)
    width = _distance(landmarks, *MOUTH_CORNERS) / np.maximum(_distance(landmarks, *EYE_CORNERS), 1.0)
    return np.stack([mouth_opening(landmarks), jaw, width], axis=1)


def _distance(landmarks: Float[np.ndarray, "t n d"], a: int, b: int) -> Float64[np.ndarray, " t"]:
    return np.asarray(np.linalg.norm(landmarks[:, a].astype(np.float64) - landmarks[:, b], axis=1))


# --------------------------------------------------------------------------------------- the speech
def expected_mouth(wave: np.ndarray, frames: int) -> Float64[np.ndarray, "t 3"]:
    """The mouth that a speech lets expect, in standard deviations of nothing in particular: only
    its course counts.

    Args:
        wave: 16 kHz mono, int16 or float of any level; padded with zeros or cut to `frames`.
        frames: how many.
    """
    return np.asarray(speech_context(wave, frames) @ _weights())


def speech_context(wave: np.ndarray, frames: int) -> Float64[np.ndarray, "t k"]:
    """What is heard around each frame: 27 log energies, levelled over the clip, at each frame of
    CONTEXT.
    """
    from scipy.ndimage import gaussian_filter1d

    bands = log_bands(wave, frames=frames)
    bands = standardised(np.maximum(bands, np.percentile(bands, LOUDEST, axis=0) - RANGE_NATS))
    smooth = gaussian_filter1d(bands, HOP_SIGMA, axis=0, mode="nearest")[HOPS_PER_FRAME // 2 :: HOPS_PER_FRAME]
    around = (np.arange(frames)[:, None] + np.array(CONTEXT)).clip(0, frames - 1)
    return np.asarray(smooth[around].reshape(frames, -1))


@functools.cache
def _weights() -> Float64[np.ndarray, "k 3"]:
    with np.load(WEIGHTS, allow_pickle=False) as file:
        return np.asarray(file["weights"], np.float64)


# ----------------------------------------------------------------------------------------- together
def match(mouth: Float[np.ndarray, "t k"], expected: Float[np.ndarray, "t k"], *, max_shift: int = MAX_SHIFT) -> Match:
    """The shift within ± max_shift frames at which a mouth goes best with the expected one, and how
    well.

    Correlations are means over the columns. The truth's own value is best, not the highest. A mouth
    or a speech that never changes has confidence 0 and offset 0.

    Args:
        mouth: `mouth_shape`; frames without a face are interpolated by the caller, or NaN and left
            out.
        expected: `expected_mouth` of the same frames.
        max_shift: frames either way to look.

    Raises:
        ValueError: if the two differ in shape.
    """
    if mouth.shape != expected.shape:
        raise ValueError(f"{len(mouth)} frames of mouth and {len(expected)} of speech")
    reach = min(max_shift, len(mouth) - MIN_OVERLAP)
    if reach < 0:
        return Match(0, 0.0, 0.0)
    seen, heard = middle_band(mouth), middle_band(expected)
    shifts = sorted(range(-reach, reach + 1), key=abs)  # the nearest wins a tie
    likeness = [_likeness(*_shifted(seen, heard, shift)) for shift in shifts]
    best = int(np.argmax(likeness))
    return Match(shifts[best], likeness[best] * (len(mouth) / FPS) ** 0.5, likeness[0])


def middle_band(signals: Float[np.ndarray, "t k"]) -> Float64[np.ndarray, "t k"]:
    """What is left without slow and without fast changes; gaps (NaN) stay gaps."""
    fast = signals - _smoothed(signals, TREND_FRAMES)
    return np.asarray(np.where(np.isfinite(signals), _smoothed(fast, NOISE_FRAMES), np.nan))


def _smoothed(signals: Float[np.ndarray, "t k"], sigma: float) -> Float64[np.ndarray, "t k"]:
    """A Gaussian over time that looks past gaps."""
    from scipy.ndimage import gaussian_filter1d

    seen = np.isfinite(signals)
    weights = gaussian_filter1d(seen.astype(np.float64), sigma, axis=0, mode="nearest")
    total = gaussian_filter1d(np.where(seen, signals, 0.0).astype(np.float64), sigma, axis=0, mode="nearest")
    return np.asarray(total / np.maximum(weights, np.finfo(np.float64).tiny))


def _shifted(mouth: np.ndarray, speech: np.ndarray, shift: int) -> tuple[np.ndarray, np.ndarray]:
    """What overlaps when the speech comes `shift` frames after the mouth."""
    if shift >= 0:
        return mouth[: len(mouth) - shift], speech[shift:]
    return mouth[-shift:], speech[:shift]


def _likeness(mouth: np.ndarray, speech: np.ndarray) -> float:
    """Pearson's correlation, mean over the columns; 0 where there is too little to compare."""
    seen = np.isfinite(mouth).all(axis=1) & np.isfinite(speech).all(axis=1)
    if seen.sum() < MIN_OVERLAP:
        return 0.0
    return float((standardised(mouth[seen]) * standardised(speech[seen])).mean())


def standardised(signals: Float[np.ndarray, "t k"]) -> Float64[np.ndarray, "t k"]:
    """Mean 0, standard deviation 1; what is flat becomes zeros."""
    spread = signals.std(axis=0)
    return np.asarray((signals - signals.mean(axis=0)) / np.where(spread > FLAT, spread, np.inf))


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
