"""Means over clips, and how far chance alone could move them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

COVERAGE = 95.0  # percent of the bootstrap's means that lie in the interval
ENOUGH_CLIPS = 2  # for an interval
SEED = 0  # of the resampling: the same clips give the same interval


class Interval(NamedTuple):
    """A mean over clips with its bootstrap interval; NaN where nothing was measured, and around a
    single clip, which tells no spread.
    """

    mean: float
    low: float
    high: float
    clips: int  # that had a value


def bootstrap(values: Iterable[float], *, samples: int) -> Interval:
    """Mean over clips with its 95 % percentile interval, clips being drawn with replacement (Efron
    1979).

    Args:
        values: one a clip; NaN means not measured and is left out.
        samples: how often the clips are drawn.
    """
    measured = np.array([value for value in values if np.isfinite(value)], dtype=np.float64)
    if len(measured) < ENOUGH_CLIPS:
        return Interval(float(measured.mean()) if len(measured) else np.nan, np.nan, np.nan, len(measured))
    drawn = np.random.default_rng(SEED).integers(len(measured), size=(samples, len(measured)))
    tail = (100.0 - COVERAGE) / 2
    low, high = np.percentile(measured[drawn].mean(axis=1), [tail, 100.0 - tail])
    return Interval(float(measured.mean()), float(low), float(high), len(measured))
