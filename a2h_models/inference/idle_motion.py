"""What a head does while it says nothing: it is never quite still.

Slow sums of sines, faded in where the speech pauses.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float32, Float64

from a2h_models.data_types import POSE_DIM
from a2h_models.timebase import FPS

# Log energy of a levelled wave's rows (`speech.py`, column 0) below which a frame is silent: about
# 50 dB below the loudest moment.
SILENT_LOG_ENERGY = -6.0
ENERGY = 0  # its column
# Standard deviations of a listening head around its mean, within a pause: degrees → rad, and
# mm-like.
AMPLITUDE = np.array([*np.deg2rad([0.8, 0.8, 0.5]), 1.0, 0.7, 1.0])
SLOWEST_HZ, FASTEST_HZ = 0.08, 0.45  # of the sines: breathing and swaying, no shaking
SINES = 5  # of each of the six numbers
FADE_FRAMES = FPS  # the time constant of fading in and out


class IdleMotion:
    """The offsets of a pose, frame after frame. The same seed gives the same motion, in whatever
    pieces it is asked for.

    Args:
        scale: 1 is natural, 0 none.
        seed: of frequencies and phases.
    """

    def __init__(self, *, scale: float, seed: int) -> None:
        draw = np.random.default_rng(seed)
        self._scale = scale
        self._hertz = draw.uniform(SLOWEST_HZ, FASTEST_HZ, (SINES, POSE_DIM))
        self._phase = draw.uniform(0, 2 * np.pi, (SINES, POSE_DIM))
        self._frame = 0
        self._weight = 0.0  # 0 while somebody speaks, 1 in a long pause

    def after(self, speech: Float32[np.ndarray, "t 4 41"]) -> Float64[np.ndarray, "t 6"]:
        """Offsets for the next frames, of which this is the speech."""
        time = (self._frame + np.arange(len(speech)))[:, None, None] / FPS
        swaying = np.sin(2 * np.pi * self._hertz * time + self._phase).sum(1) * np.sqrt(2 / SINES)
        self._frame += len(speech)
        offsets: np.ndarray = self._scale * AMPLITUDE * swaying * self._fade(silent(speech))[:, None]
        return offsets

    def _fade(self, quiet: Bool[np.ndarray, " t"]) -> Float64[np.ndarray, " t"]:
        weights = np.empty(len(quiet))
        for index, wanted in enumerate(quiet):
            self._weight += (float(wanted) - self._weight) / FADE_FRAMES
            weights[index] = self._weight
        return weights


def silent(speech: Float32[np.ndarray, "t 4 41"]) -> Bool[np.ndarray, " t"]:
    """Which frames hold no sound to speak of."""
    quiet: np.ndarray = (speech[..., ENERGY] < SILENT_LOG_ENERGY).all(axis=1)
    return quiet
