"""Waveform → what the networks hear. The only audio features, for preparation, training and
generation alike (method.md §2).

41 numbers every 10 ms: 13 MFCC (the first replaced by the log energy), 26 log mel filterbank
energies, F0 in Hz, a voiced flag.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np
from jaxtyping import Float, Float16, Float32, Float64, Int16

from a2h_models.data_types import MEL_BANDS, SPEECH_DIM
from a2h_models.errors import ConfigError, InputError
from a2h_models.timebase import HOP_RATE, HOPS_PER_FRAME, SAMPLE_RATE, SAMPLES_PER_FRAME, SAMPLES_PER_HOP

F0_METHODS = ("harvest", "dio")  # harvest is what the released weights were trained with; dio is 20 times faster

FRAME = 400  # samples of an analysis window, 25 ms
FFT = 512
PRE_EMPHASIS = 0.97
FILTERS = 26
CEPSTRA = 13
LIFTER = 22
TINY = np.finfo(np.float64).eps  # stands in for an energy of exactly zero, as in the release

MEL_FRAME = 800  # samples, 50 ms: the window of the lip-sync networks' mel
MEL_FLOOR = 1e-5
ROWS_AT_ONCE = 2048  # spectra in memory at a time, so that an hour of speech needs no more of it than a minute
SAMPLES_AT_ONCE = 2**20  # likewise of the wave

INT16_PEAK = 32768.0

# Harvest filters a signal as a whole and took 5 GB for five minutes. Up to a minute (60 MB) it gets
# all at once, as in the release and in
# training; more comes in pieces. On a minute of real speech, pieces of ten seconds gave the same
# 6,000 numbers.
PITCH_WHOLE_ROWS = 60 * HOP_RATE
PITCH_ROWS = 10 * HOP_RATE
PITCH_CONTEXT = HOP_RATE  # rows seen on either side of a piece


def speech_features(
    wave: np.ndarray, *, frames: int | None = None, f0: str = "harvest"
) -> Float32[np.ndarray, "t 4 41"]:
    """The 41 features, four rows a frame.

    Args:
        wave: 16 kHz mono, int16 or float of any level: it is made zero-mean and divided by its
            peak.
        frames: zero-pad at the end, or cut, so that exactly so many frames come out. None: as many
            as the release makes of it.
        f0: one of F0_METHODS.

    Raises:
        InputError: for a wave that is not one channel of finite samples.
        ConfigError: for an unknown f0 method.
    """
    return np.concatenate(
        [np.zeros((0, HOPS_PER_FRAME, SPEECH_DIM), np.float32), *stream_features(wave, frames=frames, f0=f0)]
    )


def stream_features(
    wave: np.ndarray, *, frames: int | None = None, f0: str = "harvest"
) -> Iterator[Float32[np.ndarray, "n 4 41"]]:
    """The same numbers block by block: what is not asked for yet is not computed, and memory does
    not grow with the length.

    Only a span without a voice is held back until the pitch after it is known: it is bridged by a
    straight line. What is held is the pitch alone, 3 MB for a whole hour of silence.
    """
    level = _Levelled(wave, None if frames is None else frames * SAMPLES_PER_FRAME + FRAME - SAMPLES_PER_HOP)
    wanted = level.rows // HOPS_PER_FRAME * HOPS_PER_FRAME if frames is None else frames * HOPS_PER_FRAME
    rest, done = np.zeros((0, SPEECH_DIM), np.float32), 0
    for rows in _feature_rows(level, f0):
        ready = np.concatenate([rest, rows[: wanted - done].astype(np.float32)])
        done += min(len(rows), wanted - done)
        whole = len(ready) // HOPS_PER_FRAME
        rest = ready[whole * HOPS_PER_FRAME :]
        if whole:
            yield ready[: whole * HOPS_PER_FRAME].reshape(whole, HOPS_PER_FRAME, SPEECH_DIM)
        if done == wanted:
            return


def _feature_rows(level: _Levelled, f0: str) -> Iterator[Float64[np.ndarray, "n 41"]]:
    """The features of a levelled wave, one row a hop; as many rows as the shortest of the parts."""
    start = 0
    for pitch, voiced in _pitch(level, f0):
        stop = min(start + len(pitch), level.rows)
        energy, bands = _band_energies(level, start, stop)
        logs = np.log(bands)
        cepstra = _cepstra(logs)
        cepstra[:, 0] = np.log(energy)
        yield np.concatenate([cepstra, logs, pitch[: stop - start, None], voiced[: stop - start, None]], axis=1)
        start = stop


def log_mel(wave: np.ndarray, *, frames: int) -> Float16[np.ndarray, "{4*frames} 80"]:
    """A plain log-mel (natural log of magnitudes, floor 1e-5), row i centred on the start of hop i;
    full scale is 1.

    Raises:
        InputError: for a wave that is not one channel of finite samples.
    """
    samples = _checked(wave).astype(np.float64) / (INT16_PEAK if wave.dtype == np.int16 else 1.0)
    rows = frames * HOPS_PER_FRAME
    padded = np.pad(_fit(samples, frames * SAMPLES_PER_FRAME), MEL_FRAME // 2)
    window = np.hanning(MEL_FRAME + 1)[:-1]
    mels = [np.abs(np.fft.rfft(block * window)) @ _mel_filters().T for block in _blocks(padded, MEL_FRAME, rows)]
    mel: np.ndarray = np.log(np.maximum(np.concatenate([*mels, np.zeros((0, MEL_BANDS))]), MEL_FLOOR)).astype(
        np.float16
    )
    return mel


def log_bands(wave: np.ndarray, *, frames: int) -> Float64[np.ndarray, "{4*frames} 27"]:
    """The features' 26 log filterbank energies alone, and the log of the whole energy; no pitch, so
    20 to 400 times faster.

    Raises:
        InputError: for a wave that is not one channel of finite samples.
    """
    level = _Levelled(wave, frames * SAMPLES_PER_FRAME + FRAME - SAMPLES_PER_HOP)
    energy, bands = _band_energies(level, 0, frames * HOPS_PER_FRAME)
    return np.asarray(np.log(np.column_stack([bands, energy])))


def mfcc(wave: Int16[np.ndarray, " n"]) -> Float64[np.ndarray, "rows 13"]:
    """MFCC of the raw 16-bit samples, not levelled: what SyncNet hears (method.md §5).

    Raises:
        InputError: for a wave that is not one channel of finite samples.
    """
    samples = _Levelled(wave, raw=True)
    energy, bands = _band_energies(samples, 0, samples.rows)
    cepstra = _cepstra(np.log(bands))
    cepstra[:, 0] = np.log(energy)
    return cepstra


# ----------------------------------------------------------------------------------------- the wave
def _checked(wave: np.ndarray) -> np.ndarray:
    if wave.ndim != 1 or wave.size == 0:
        raise InputError(
            f"speech must be one channel of samples, not an array of shape {wave.shape}",
            hint="average the channels first",
        )
    if not all(np.isfinite(piece).all() for piece in _pieces(wave)):
        raise InputError("speech holds samples that are not finite numbers")
    return wave


class _Levelled:
    """A wave with zero mean and peak 1, cut or followed by zeros to a length; silence stays
    silence. Made piece by piece, on demand.

    `raw` leaves the samples as they are.
    """

    def __init__(self, wave: np.ndarray, length: int | None = None, *, raw: bool = False) -> None:
        self._wave = _checked(wave)
        self.length = len(wave) if length is None else length
        # analysis windows; the last ones see zeros past the end
        self.rows = 1 + max(0, -(-(self.length - FRAME) // SAMPLES_PER_HOP))
        self._mean, self._peak = (0.0, 1.0) if raw else self._measured()

    def _measured(self) -> tuple[float, float]:
        """Mean, and the largest distance from it (1 for silence).

        Sums of integers are exact in any pieces.
        """
        mean = sum(float(piece.sum(dtype=np.float64)) for piece in _pieces(self._wave)) / len(self._wave)
        peak = max(float(np.abs(piece.astype(np.float64) - mean).max()) for piece in _pieces(self._wave))
        return mean, peak or 1.0

    def read(self, start: int, stop: int) -> Float64[np.ndarray, " n"]:
        """Samples start … stop, as far as the length goes; zeros past the wave's own end."""
        stop = min(stop, self.length)
        samples = (self._wave[start:stop].astype(np.float64) - self._mean) / self._peak
        return _fit(samples, max(0, stop - start))


def _pieces(wave: np.ndarray) -> Iterator[np.ndarray]:
    return (wave[start : start + SAMPLES_AT_ONCE] for start in range(0, len(wave), SAMPLES_AT_ONCE))


def _fit(samples: np.ndarray, count: int) -> np.ndarray:
    return np.pad(samples[:count], (0, max(0, count - len(samples))))


def _blocks(samples: np.ndarray, length: int, rows: int) -> Iterator[Float64[np.ndarray, "r length"]]:
    """The windows at every hop, some thousand rows at a time."""
    windows = np.lib.stride_tricks.sliding_window_view(samples, length)[::SAMPLES_PER_HOP]
    for start in range(0, rows, ROWS_AT_ONCE):
        yield windows[start : min(start + ROWS_AT_ONCE, rows)]


# -------------------------------------------------------------------------------- energies, cepstra
def _band_energies(
    level: _Levelled, start: int, stop: int
) -> tuple[Float64[np.ndarray, " n"], Float64[np.ndarray, "n 26"]]:
    """Total and per-filter energy of the windows start … stop; the last windows see zeros past the
    end. Never exactly zero.
    """
    energy, bands = np.empty(stop - start), np.empty((stop - start, FILTERS))
    for first in range(start, stop, ROWS_AT_ONCE):
        last = min(first + ROWS_AT_ONCE, stop)
        windows = next(
            _blocks(
                _emphasised(level, first * SAMPLES_PER_HOP, (last - 1) * SAMPLES_PER_HOP + FRAME), FRAME, last - first
            )
        )
        power = np.square(np.abs(np.fft.rfft(windows, FFT))) / FFT
        energy[first - start : last - start] = power.sum(1)
        bands[first - start : last - start] = power @ _htk_filters().T
    return np.where(energy == 0, TINY, energy), np.where(bands == 0, TINY, bands)


def _emphasised(level: _Levelled, start: int, stop: int) -> Float64[np.ndarray, " stop-start"]:
    """Samples with high frequencies raised, and zeros past the end; nothing comes before the first
    sample.
    """
    if start == 0:
        samples = level.read(0, stop)
        found = np.append(samples[:1], samples[1:] - PRE_EMPHASIS * samples[:-1])
    else:
        samples = level.read(start - 1, stop)
        found = samples[1:] - PRE_EMPHASIS * samples[:-1]
    return _fit(found, stop - start)


@cache
def _htk_filters() -> Float64[np.ndarray, "26 257"]:
    """Triangles on the HTK mel scale, their edges floored to FFT bins."""
    top = 2595 * np.log10(1 + SAMPLE_RATE / 2 / 700)
    hertz = 700 * (10 ** (np.linspace(0, top, FILTERS + 2) / 2595) - 1)
    edges = np.floor((FFT + 1) * hertz / SAMPLE_RATE)[:, None]
    bins = np.arange(FFT // 2 + 1)[None]
    left, peak, right = edges[:-2], edges[1:-1], edges[2:]
    rising = np.where((bins >= left) & (bins < peak), (bins - left) / (peak - left), 0)
    falling = np.where((bins >= peak) & (bins < right), (right - bins) / (right - peak), 0)
    filters: np.ndarray = rising + falling
    return filters


def _cepstra(logs: Float64[np.ndarray, "rows 26"]) -> Float64[np.ndarray, "rows 13"]:
    from scipy.fft import dct

    lift = 1 + LIFTER / 2 * np.sin(np.pi * np.arange(CEPSTRA) / LIFTER)
    cepstra: np.ndarray = dct(logs, type=2, axis=1, norm="ortho")[:, :CEPSTRA] * lift
    return cepstra


@cache
def _mel_filters() -> Float[np.ndarray, "80 401"]:
    from librosa.filters import mel

    filters: np.ndarray = mel(sr=SAMPLE_RATE, n_fft=MEL_FRAME, n_mels=MEL_BANDS, dtype=np.float64)
    return filters


# -------------------------------------------------------------------------------------------- pitch
def _pitch(level: _Levelled, method: str) -> Iterator[tuple[Float64[np.ndarray, " n"], Float64[np.ndarray, " n"]]]:
    """F0 in Hz with unvoiced spans filled, and whether each row was voiced; as far as the voice
    heard so far says it.
    """
    if method not in F0_METHODS:
        raise ConfigError(f"f0={method!r} is not a way to find the pitch", hint=f"one of: {', '.join(F0_METHODS)}")
    held, known = np.zeros(0), 0  # rows that wait for the next voice, after the last voiced row itself if there was one
    for piece in _tracks(level, method):
        held = np.concatenate([held, piece])
        voiced = np.flatnonzero(held[known:])
        if len(voiced):
            last = known + int(voiced[-1])
            yield from _filled(held[: last + 1], known)
            held, known = held[last:], 1
    yield from _filled(held, known)


def _filled(
    track: Float64[np.ndarray, " m"], known: int
) -> Iterator[tuple[Float64[np.ndarray, " n"], Float64[np.ndarray, " n"]]]:
    """A track bridged, without its first rows, which were given before; not too much at a time."""
    filled, voiced = fill_unvoiced(track), (track > 0).astype(np.float64)
    for start in range(known, len(track), ROWS_AT_ONCE):
        yield filled[start : start + ROWS_AT_ONCE], voiced[start : start + ROWS_AT_ONCE]


def _tracks(level: _Levelled, method: str) -> Iterator[Float64[np.ndarray, " n"]]:
    """F0 of all rows, 0 where there is no voice."""
    rows = level.length // SAMPLES_PER_HOP + 1
    step = rows if rows <= PITCH_WHOLE_ROWS else PITCH_ROWS
    return (_pitch_piece(level, method, start, min(start + step, rows)) for start in range(0, rows, step))


def _pitch_piece(level: _Levelled, method: str, start: int, stop: int) -> Float64[np.ndarray, " rows"]:
    """F0 of the rows start … stop, found with some context before and after them."""
    import pyworld

    first = max(0, start - PITCH_CONTEXT)
    piece = level.read(first * SAMPLES_PER_HOP, (stop + PITCH_CONTEXT) * SAMPLES_PER_HOP)
    period_ms = 1000 / HOP_RATE
    if method == "harvest":
        track, _ = pyworld.harvest(piece, SAMPLE_RATE, frame_period=period_ms)
    else:
        coarse, times = pyworld.dio(piece, SAMPLE_RATE, frame_period=period_ms)
        track = pyworld.stonemask(piece, coarse, times, SAMPLE_RATE)
    rows: np.ndarray = track[start - first : stop - first]
    return rows


def fill_unvoiced(track: Float64[np.ndarray, " rows"]) -> Float64[np.ndarray, " rows"]:
    """Straight lines through unvoiced spans (F0 = 0), the nearest voiced value at the ends; all
    zeros without any voice.
    """
    voiced = np.flatnonzero(track)
    return np.interp(np.arange(len(track)), voiced, track[voiced]) if len(voiced) else track
