"""Sample head motion and blinks as smooth functions of time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

WAVES = 7  # sines for each degree of freedom
SLOWEST_HZ, FASTEST_HZ = 0.07, 0.7
# Spread and limit of pitch, yaw, roll (degrees) and of x, y, z (mm), for liveliness 1
SPREAD = np.array([4.0, 8.0, 3.5, 5.0, 3.5, 7.0])
LIMIT = np.array([16.0, 25.0, 13.0, 14.0, 10.0, 20.0])
BLINK_S = 0.16  # duration of a blink
BLINK_EVERY_S = (1.8, 4.5)  # range of the time between two blinks
DEGREES = np.array([np.pi / 180] * 3 + [1.0] * 3)  # degrees → rad; mm stay


@dataclass(frozen=True, kw_only=True)
class HeadMotion:
    """Head pose and blinks at any time."""

    rest: Float64[np.ndarray, 6]  # rad and mm
    rates: Float64[np.ndarray, "6 waves"]  # Hz
    phases: Float64[np.ndarray, "6 waves"]
    weights: Float64[np.ndarray, "6 waves"]  # degrees and mm
    blinks: Float64[np.ndarray, " n"]  # seconds

    def pose(self, times: Float64[np.ndarray, " t"]) -> Float64[np.ndarray, "t 6"]:
        """Return rotation vectors (rad) and translations (mm) at these times in seconds."""
        waves = np.sin(2 * np.pi * self.rates * times[:, None, None] + self.phases)
        swing = (self.weights * waves).sum(axis=-1)
        return np.asarray(self.rest + LIMIT * np.tanh(swing / LIMIT) * DEGREES)

    def blink(self, times: Float64[np.ndarray, " t"]) -> Float64[np.ndarray, " t"]:
        """Return how far the eyes are closed, 0 to 1, at these times in seconds."""
        distance = np.abs(times[:, None] - self.blinks[None]).min(axis=1, initial=np.inf)
        return np.asarray(np.cos(np.clip(distance / BLINK_S, 0, 0.5) * np.pi) ** 2)


def sample_motion(
    rng: np.random.Generator, rest: Float64[np.ndarray, 6], *, seconds: float, liveliness: float = 1.0
) -> HeadMotion:
    """Sample a motion around a resting pose; liveliness 0 is no motion."""
    rates = np.exp(rng.uniform(np.log(SLOWEST_HZ), np.log(FASTEST_HZ), (6, WAVES)))
    weights = rates**-0.5  # slow motions have large amplitudes, fast ones small
    weights *= (SPREAD * liveliness)[:, None] / np.sqrt((weights**2).sum(axis=1, keepdims=True) / 2)
    intervals = rng.uniform(*BLINK_EVERY_S, size=int(seconds / BLINK_EVERY_S[0]) + 2)
    return HeadMotion(
        rest=rest,
        rates=rates,
        phases=rng.uniform(0, 2 * np.pi, (6, WAVES)),
        weights=weights,
        blinks=np.cumsum(intervals),
    )
