"""Means over clips with their intervals, also by group of clips; and speeds."""

from __future__ import annotations

import importlib.util
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from math import isfinite
from typing import Any

import numpy as np

from a2h_models.metrics import DEFINITIONS, EXPERT, NEEDS, OF_SETS
from a2h_models.metrics.summary import Interval, bootstrap
from a2h_models.timebase import FPS
from pipelines.config import EvaluateConfig
from pipelines.evaluation.clips import ClipResult
from pipelines.evaluation.protocols import (
    FEATURES,
    GROUND_TRUTH,
    POSE,
    PREDICTED_POSE,
    PROTOCOLS,
    RENDER,
)
from pipelines.evaluation.result_cache import FeatureSamples
from pipelines.evaluation.systems import SYNC_EXPERT
from pipelines.pretrained.assets import list_assets

DIGITS = 6  # after the point, of what is written: more is noise of the processor
NO_MEDIAPIPE = "not measured, because mediapipe is not installed"
FACE_METRICS = "LMD, AKD, blinks, mouth-speech, landmark shape"
NO_EXPERT = "not measured, because no sync expert was trained (`a2h train stage=sync_expert`)"
NO_FACES = "not measured, because no clip shows a face as it needs it"
TOO_FEW = "not measured, because the set is too small: it needs two samples"
SMALL_FRAMES = "not measured, because the frames have fewer than 176 pixels a side, which its coarsest scale needs"
GROUP_METRICS = ("psnr", "ssim", "akd", "mouth_speech_correlation")
HEAD_TURN_LIMITS_DEG = (10.0, 20.0)  # limits between the groups of heads that turn little, some and far
CONFIDENCE_LIMITS = (0.6, 1.2)  # of mouth-speech confidence: below the first it is unclear, from the second on certain
TIMED = "speech features, head pose and frames; not loading, decoding, or writing a video"

Numbers = dict[str, float | int | None]


def summarise(results: Sequence[ClipResult], config: EvaluateConfig) -> dict[str, dict[str, Numbers]]:
    """Row → metric → mean with its 95 % interval, for what was measured on at least one clip."""
    rows: dict[str, dict[str, Numbers]] = {}
    for row in results[0].rows:
        columns = {metric: [result.rows[row].get(metric, np.nan) for result in results] for metric in DEFINITIONS}
        intervals = {metric: bootstrap(values, samples=config.bootstrap_samples) for metric, values in columns.items()}
        rows[row] = {metric: _plain(interval) for metric, interval in intervals.items() if interval.clips}
    return rows


def _plain(interval: Interval) -> Numbers:
    return {name: round(value, DIGITS) if isfinite(value) else None for name, value in interval._asdict().items()}


def break_down(results: Sequence[ClipResult], config: EvaluateConfig) -> dict[str, dict[str, Any]]:
    """Grouping → group → number of clips, and the rows' means of a few metrics."""
    return {name: dict(_groups(results, group, config)) for name, group in GROUPS.items()}


def _groups(
    results: Sequence[ClipResult], group: Callable[[ClipResult], str], config: EvaluateConfig
) -> Iterator[tuple[str, Any]]:
    members: defaultdict[str, list[ClipResult]] = defaultdict(list)
    for result in results:
        members[group(result)].append(result)
    for name, part in sorted(members.items()):
        means = summarise(part, config)
        few = {
            row: {metric: values[metric] for metric in GROUP_METRICS if metric in values}
            for row, values in means.items()
        }
        yield name, {"clips": len(part), "rows": few}


def _head_turn_group(result: ClipResult) -> str:
    little, far = HEAD_TURN_LIMITS_DEG
    return (
        f"< {little:g}°"
        if result.head_turn_deg < little
        else f"{little:g}–{far:g}°"
        if result.head_turn_deg < far
        else f"≥ {far:g}°"
    )


def _sync_group(result: ClipResult) -> str:
    confidence = result.rows[GROUND_TRUTH].get("mouth_speech_confidence")
    if confidence is None:
        return "not measured"
    low, high = CONFIDENCE_LIMITS
    return f"< {low:g}" if confidence < low else f"{low:g}–{high:g}" if confidence < high else f"≥ {high:g}"


GROUPS: dict[str, Callable[[ClipResult], str]] = {
    "identity": lambda result: result.identity,
    "head turns": _head_turn_group,
    "sync confidence of the truth": _sync_group,
}


def set_metrics(features: Iterable[FeatureSamples], rows: Iterable[str]) -> dict[str, dict[str, Numbers]]:
    """Row → FID, FVD → the distance of all videos to the true ones.

    It is one number for the whole set, so without an interval.

    Args:
        features: of each clip; read one at a time, always in one order, so that sums are
            reproducible.
        rows: of the table.
    """
    from a2h_models.metrics.frechet import ENOUGH, Moments, frechet_distance

    moments: dict[tuple[str, str], Moments] = {}
    for clip in features:
        for row, metrics in clip.items():
            for metric, samples in metrics.items():
                moments.setdefault((row, metric), Moments(samples.shape[1])).add(samples)
    distances: dict[str, dict[str, Numbers]] = {row: {} for row in rows}
    for (row, metric), sample in moments.items():
        truth = moments[GROUND_TRUTH, metric]
        if min(sample.count, truth.count) >= ENOUGH:
            distance = round(frechet_distance(sample, truth), DIGITS)
            distances[row][metric] = {
                "mean": distance,
                "low": None,
                "high": None,
                "clips": None,
                "samples": sample.count,
            }
    return distances


def reasons_not_measured(rows: Mapping[str, Mapping[str, Numbers]], networks: Collection[str]) -> dict[str, str]:
    """Metrics by their labels in tables → why they have no number.

    Args:
        rows: of the table.
        networks: that measured.
    """
    measured = {metric for values in rows.values() for metric in values}
    reasons = {} if "ms_ssim" in measured else {DEFINITIONS["ms_ssim"].label: SMALL_FRAMES}
    for asset, metrics in NEEDS.items():
        if asset not in networks:
            reasons[_labels(metrics)] = _missing(asset)
        elif not measured & set(metrics):
            reasons[_labels(metrics)] = TOO_FEW if metrics[0] in OF_SETS else NO_FACES
    if not measured & set(EXPERT):
        reasons[_labels(EXPERT)] = NO_FACES if SYNC_EXPERT in networks else NO_EXPERT
    return reasons if importlib.util.find_spec("mediapipe") else reasons | {FACE_METRICS: NO_MEDIAPIPE}


def _labels(metrics: Iterable[str]) -> str:
    return "; ".join(DEFINITIONS[metric].label for metric in metrics)


def _missing(name: str) -> str:
    spec = list_assets("")[name].spec
    return f"not measured, because the weights {spec.file} are not here (`a2h assets fetch {name}`)"


def speed_metrics(results: Sequence[ClipResult]) -> dict[str, float]:
    """Seconds of each part for a second of video; and how fast a model generates (`TIMED`).

    With the poses that it predicts, if it was measured so.
    """
    video_s = sum(result.frames for result in results) / FPS
    total: defaultdict[str, float] = defaultdict(float)
    for result in results:
        for part, part_s in result.seconds.items():
            total[part] += part_s
    seconds = {f"seconds_per_second/{part}": part_s / video_s for part, part_s in sorted(total.items())}
    protocol = next((name for name in (PREDICTED_POSE, *PROTOCOLS) if f"{name}/{RENDER}" in total), None)
    if protocol is None:
        return seconds
    factor = (total[FEATURES] + total[f"{protocol}/{POSE}"] + total[f"{protocol}/{RENDER}"]) / video_s
    return {"real_time_factor": factor, "fps": FPS / factor, **seconds}


def flatten_means(rows: Mapping[str, Mapping[str, Numbers]]) -> dict[str, float]:
    """`row/metric` → mean, as they are logged to a run."""
    means = {f"{row}/{name}": values["mean"] for row, metrics in rows.items() for name, values in metrics.items()}
    return {name: float(mean) for name, mean in means.items() if mean is not None}
