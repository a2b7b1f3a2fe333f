"""Synthesise speech with phoneme times by the bundled espeak-ng, and derive the mouth opening.

espeak-ng keeps state in its library, so that earlier speech changes later speech. Each utterance
therefore loads a copy of the library.
"""

from __future__ import annotations

import ctypes
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64, Int16

from a2h_models.errors import FailedError
from a2h_models.timebase import SAMPLE_RATE

VOICES = (
    "en-us+m3",
    "en-us+f2",
    "en-gb-x-rp+m7",
    "en-us+f3",
    "en-029+m1",
    "en-gb-scotland+f1",
    "en-us+m2",
    "en-gb-x-rp+f4",
    "en-us+m4",
)
PHONEME_RATE = 200  # mouth openings a second
SMOOTHING_S = 0.03  # sigma: lips take about a tenth of a second from one shape to the next
# Lips open before the sound that they shape. With 0.11 s synthetic speakers have offset 0 by the
# measure that gives 33 real clips offset 0; with 0.03 s their lips were two frames late.
LIP_LEAD_S = 0.11
# How far the mouth opens, 0 to 1, by the first letter (IPA) of a phoneme; CONSONANT for all others
CONSONANT = 0.16
OPENNESS = {
    **dict.fromkeys("pbm", 0.0),
    **dict.fromkeys("fv", 0.08),
    **dict.fromkeys("wuʊ", 0.3),
    **dict.fromkeys("iɪɨ", 0.38),
    **dict.fromkeys("əɚɐ", 0.42),
    **dict.fromkeys("eɛɜ", 0.6),
    **dict.fromkeys("oɔɒ", 0.72),
    **dict.fromkeys("aæɑʌ", 1.0),
}
# espeak-ng's own numbers (speak_lib.h)
_SYNCHRONOUS, _PHONEME_EVENTS, _DONT_EXIT = 2, 0x3, 0x8000  # events with phonemes, as IPA
_PHONEME, _UTF8, _CHARACTERS = 7, 1, 1
_RATE, _PITCH, _RANGE = 1, 3, 4
_TEXT_BYTES = 8
_SEED = 1


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("text", ctypes.c_char * _TEXT_BYTES),
    )


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


@dataclass(frozen=True)
class Phoneme:
    """A phoneme and when it begins, in seconds; an empty name is a pause."""

    start_s: float
    name: str


@dataclass(frozen=True)
class SynthesizedSpeech:
    """Synthesised speech: 16 kHz mono, its phonemes in order, and its text."""

    wave: Int16[np.ndarray, " n"]
    phonemes: tuple[Phoneme, ...]
    text: str


def speak(text: str, *, voice: str = VOICES[0], pitch: int = 50, rate: int = 165) -> SynthesizedSpeech:
    """Synthesise a text.

    Args:
        text: English sentences.
        voice: espeak-ng's name of a voice, with its variant.
        pitch: 0 to 100.
        rate: words a minute.

    Raises:
        FailedError: if the library refuses the voice or the text.
    """
    with _fresh_library() as (library, rate_hz):
        if library.espeak_SetVoiceByName(voice.encode()):
            raise FailedError(f"espeak-ng has no voice {voice!r}")
        for parameter, value in ((_RATE, rate), (_PITCH, pitch), (_RANGE, 50)):
            library.espeak_SetParameter(parameter, value, 0)
        samples, phonemes = _synthesize(library, text, rate_hz)
    return SynthesizedSpeech(_to_16_khz(samples, rate_hz), tuple(phonemes), text)


def _synthesize(library: ctypes.CDLL, text: str, rate_hz: int) -> tuple[Int16[np.ndarray, " n"], list[Phoneme]]:
    blocks: list[np.ndarray] = []
    phonemes: list[Phoneme] = []

    def receive(wave: Any, count: int, events: Any) -> int:
        if wave and count:
            blocks.append(np.ctypeslib.as_array(wave, (count,)).astype(np.int16))
        index = 0
        while events[index].type:  # a zero ends the list
            if events[index].type == _PHONEME:
                phonemes.append(Phoneme(events[index].sample / rate_hz, events[index].text.decode(errors="replace")))
            index += 1
        return 0

    callback = _Callback(receive)
    library.espeak_SetSynthCallback(callback)
    data = text.encode()
    failed = library.espeak_Synth(data, ctypes.c_size_t(len(data) + 1), 0, _CHARACTERS, 0, _UTF8, None, None)
    library.espeak_Synchronize()
    if failed or not blocks:
        raise FailedError(f"espeak-ng said nothing for {text!r}")
    return np.concatenate(blocks), phonemes


@contextmanager
def _fresh_library() -> Iterator[tuple[ctypes.CDLL, int]]:
    """Load an unused copy of the library, started and seeded; yield it and its sample rate."""
    import espeakng_loader

    # loading the same file again would return the library that is loaded, with its state
    with tempfile.TemporaryDirectory(prefix="a2h-") as folder:
        library = ctypes.CDLL(shutil.copy(espeakng_loader.get_library_path(), folder))
    try:
        data = str(espeakng_loader.get_data_path()).encode()
        rate = int(library.espeak_Initialize(_SYNCHRONOUS, 0, data, _PHONEME_EVENTS | _DONT_EXIT))
        if rate <= 0:
            raise FailedError("espeak-ng did not start", hint="install the extra `demo`")
        library.espeak_ng_SetRandSeed(ctypes.c_long(_SEED))  # breath is noise, drawn by this seed
        yield library, rate
        library.espeak_Terminate()
    finally:
        ctypes.CDLL(None).dlclose(ctypes.c_void_p(library._handle))  # noqa: SLF001  ctypes has no other way to let go


def _to_16_khz(samples: Int16[np.ndarray, " n"], rate_hz: int) -> Int16[np.ndarray, " m"]:
    from scipy.signal import resample_poly

    resampled = resample_poly(samples.astype(np.float64), SAMPLE_RATE, rate_hz)
    return np.asarray(resampled.clip(-32768, 32767).round().astype(np.int16))


def openness(name: str) -> float:
    """Return how far the mouth opens for a phoneme: 0 closed, 1 as wide as for "ah"."""
    letter = name.lstrip("ˈˌ")[:1]
    return OPENNESS.get(letter, CONSONANT) if letter else 0.0


def mouth_curve(phonemes: tuple[Phoneme, ...], seconds: float) -> Float64[np.ndarray, " n"]:
    """Return the mouth opening, 0 to 1, at `PHONEME_RATE`.

    Each phoneme's opening lasts as long as its sound; the curve is then smoothed.
    """
    from scipy.ndimage import gaussian_filter1d

    curve = np.zeros(max(1, round(seconds * PHONEME_RATE)))
    edges = [
        max(0, round((start - LIP_LEAD_S) * PHONEME_RATE))
        for start in (*(phoneme.start_s for phoneme in phonemes), seconds + LIP_LEAD_S)
    ]
    for phoneme, start, end in zip(phonemes, edges, edges[1:], strict=False):
        curve[start:end] = openness(phoneme.name)
    return np.asarray(gaussian_filter1d(curve, SMOOTHING_S * PHONEME_RATE, mode="nearest"))
