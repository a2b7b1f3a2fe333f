"""Two versions on one evaluation set: is one worse than the other by more than chance? Pure
functions of what was measured.

Both were measured on the same clips, so clips are compared one by one, and the mean loss gets a
bootstrap interval over clips. That is much narrower than the two means' own intervals: what makes a
clip hard is hard for both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import isfinite, nan
from typing import NamedTuple

from a2h_models.metrics import DEFINITIONS
from a2h_models.metrics.summary import bootstrap
from pipelines.registry import EvaluationResults

SAMPLES = 2000  # of the bootstrap; the seed is fixed, so the verdict is a function of the numbers
TRUTH = "ground_truth"  # the row of the table that metrics without a good direction are held against


class Loss(NamedTuple):
    """By how much a candidate is worse than the champion; negative: better.

    In the metric's unit.
    """

    mean: float
    low: float  # of the 95 % interval; NaN where there is none
    high: float
    clips: int  # that both were measured on
    missing: int  # clips on which only the champion was measured

    def exceeds(self, margin: float) -> bool:
        """Whether the loss is more than the margin for sure; where chance cannot be told (a single
        clip), whether it is more at all.
        """
        return (self.low if isfinite(self.low) else self.mean) > margin

    def __str__(self) -> str:
        interval = f" [{self.low:.4g}, {self.high:.4g}]" if isfinite(self.low) else ""
        return f"{self.mean:.4g}{interval}"


def loss(metric: str, ours: EvaluationResults, theirs: EvaluationResults) -> Loss | None:
    """The loss in a metric ("row/metric"), by clip where both recorded their clips, else from the
    candidate's own interval.

    None where the metric was not measured for both, or has no direction.
    """
    worse = _worse(metric, ours)
    if worse is None:
        return None
    a, b = ours.by_clip.get(metric), theirs.by_clip.get(metric)
    return _paired(a, b, worse) if a and b else _unpaired(metric, ours, theirs, worse)


Worse = Callable[[str, float], float]  # clip's key (empty: the mean), value → how bad


def _worse(metric: str, measured: EvaluationResults) -> Worse | None:
    row, _, name = metric.rpartition("/")
    definition = DEFINITIONS.get(name)
    if definition is None or not row:
        return None
    if definition.best == "truth":
        truth = {**measured.by_clip.get(f"{TRUTH}/{name}", {}), "": measured.means.get(f"{TRUTH}/{name}", nan)}
        return lambda key, value: abs(value - truth.get(key, nan))
    return (lambda _, value: -value) if definition.best == "higher" else (lambda _, value: value)


def _paired(ours: Mapping[str, float], theirs: Mapping[str, float], worse: Worse) -> Loss | None:
    bad = {key: worse(key, value) for key, value in theirs.items() if isfinite(worse(key, value))}
    losses = [worse(key, ours.get(key, nan)) - value for key, value in sorted(bad.items())]
    interval = bootstrap(losses, samples=SAMPLES)
    if not interval.clips:
        return None
    return Loss(interval.mean, interval.low, interval.high, interval.clips, missing=len(bad) - interval.clips)


def _unpaired(metric: str, ours: EvaluationResults, theirs: EvaluationResults, worse: Worse) -> Loss | None:
    """Without the clips' own numbers: the champion's mean against the interval of the candidate's."""
    theirs_bad = worse("", theirs.means.get(metric, nan))
    mean = worse("", ours.means.get(metric, nan)) - theirs_bad
    if not isfinite(mean):
        return None
    ends = sorted(worse("", end) - theirs_bad for end in ours.intervals.get(metric, (nan, nan)))
    return Loss(mean, low=ends[0], high=ends[1], clips=ours.clips, missing=0)
