"""Is a version worse than another by more than chance? Pure functions of their evaluations.

Both were measured on the same clips, so they are compared clip by clip, and the mean loss gets a
bootstrap interval over clips. It is much narrower than the intervals of the two means: what makes a
clip hard is hard for both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import isfinite, nan
from typing import NamedTuple

from a2h_models.metrics import DEFINITIONS
from a2h_models.metrics.summary import bootstrap
from pipelines.registry import EvaluationResults

BOOTSTRAP_SAMPLES = 2000  # the seed is fixed, so the verdict is a function of the numbers
TRUTH = "ground_truth"  # row of the table: metrics without a better direction are best where they are closest to it

Cost = Callable[[str, float], float]  # clip's key (empty: the mean), value → how bad it is


class MetricLoss(NamedTuple):
    """By how much a candidate is worse than the champion, in the metric's unit; negative: better."""

    mean: float
    low: float  # of the 95 % interval; NaN where there is none
    high: float
    clips: int  # that both were measured on
    missing: int  # clips on which only the champion was measured

    def exceeds(self, margin: float) -> bool:
        """Whether the whole interval is above a margin; the mean where there is no interval."""
        return (self.low if isfinite(self.low) else self.mean) > margin

    def __str__(self) -> str:
        interval = f" [{self.low:.4g}, {self.high:.4g}]" if isfinite(self.low) else ""
        return f"{self.mean:.4g}{interval}"


def metric_loss(metric: str, candidate: EvaluationResults, champion: EvaluationResults) -> MetricLoss | None:
    """Compare two evaluations in a metric ("row/metric").

    By clip where both recorded their clips, else by the candidate's own interval.

    Returns:
        None where the metric was not measured for both, or has no direction.
    """
    cost = _cost(metric, candidate)
    if cost is None:
        return None
    of_candidate, of_champion = candidate.by_clip.get(metric), champion.by_clip.get(metric)
    if of_candidate and of_champion:
        return _paired_loss(of_candidate, of_champion, cost)
    return _unpaired_loss(metric, candidate, champion, cost)


def _cost(metric: str, evaluation: EvaluationResults) -> Cost | None:
    """How bad a value of a metric is, by its direction."""
    row, _, name = metric.rpartition("/")
    definition = DEFINITIONS.get(name)
    if definition is None or not row:
        return None
    if definition.best == "truth":
        truth = {**evaluation.by_clip.get(f"{TRUTH}/{name}", {}), "": evaluation.means.get(f"{TRUTH}/{name}", nan)}
        return lambda key, value: abs(value - truth.get(key, nan))
    return (lambda _, value: -value) if definition.best == "higher" else (lambda _, value: value)


def _paired_loss(candidate: Mapping[str, float], champion: Mapping[str, float], cost: Cost) -> MetricLoss | None:
    """The mean difference over clips; clips on which the champion was not measured do not count."""
    baseline = {key: cost(key, value) for key, value in champion.items() if isfinite(cost(key, value))}
    losses = [cost(key, candidate.get(key, nan)) - value for key, value in sorted(baseline.items())]
    interval = bootstrap(losses, samples=BOOTSTRAP_SAMPLES)
    if not interval.clips:
        return None
    missing = len(baseline) - interval.clips
    return MetricLoss(interval.mean, interval.low, interval.high, interval.clips, missing=missing)


def _unpaired_loss(
    metric: str, candidate: EvaluationResults, champion: EvaluationResults, cost: Cost
) -> MetricLoss | None:
    """The interval of the candidate's mean against the champion's mean."""
    baseline = cost("", champion.means.get(metric, nan))
    mean = cost("", candidate.means.get(metric, nan)) - baseline
    if not isfinite(mean):
        return None
    ends = sorted(cost("", end) - baseline for end in candidate.intervals.get(metric, (nan, nan)))
    return MetricLoss(mean, low=ends[0], high=ends[1], clips=candidate.clips, missing=0)
