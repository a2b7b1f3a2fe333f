"""Means over clips with their intervals, the same broken down, and how fast it went."""

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
from pipelines.evaluation.clips import GROUND_TRUTH, ClipResult
from pipelines.evaluation.result_cache import FeatureSamples
from pipelines.evaluation.systems import FEATURES, POSE, PREDICTED_POSE, PROTOCOLS, RENDER, SYNC_EXPERT
from pipelines.pretrained.assets import list_assets

DIGITS = 6  # after the point, of what is written: more is noise of the processor
NO_MEDIAPIPE = "not measured, because mediapipe is not installed"
FACE_METRICS = "LMD, AKD, blinks, mouth-speech, landmark shape"
NO_EXPERT = "not measured, because no sync expert was trained (`a2h train stage=sync_expert`)"
NO_FACES = "not measured, because no clip shows a face as it needs it"
TOO_FEW = "not measured, because the set is too small: it needs two samples"
SMALL_FRAMES = "not measured, because the frames have fewer than 176 pixels a side, which its coarsest scale needs"
BROKEN_DOWN = ("psnr", "ssim", "akd", "mouth_speech_correlation")
TURNED_DEG = (10.0, 20.0)  # limits between the groups of heads that turn little, some and far
SURE = (0.6, 1.2)  # of mouth-speech confidence: below the first nobody can say, from the second on it is believed
COUNTED = "speech features, head pose and frames; not loading, decoding, or writing a video"

Numbers = dict[str, float | int | None]


def summarise(results: Sequence[ClipResult], config: EvaluateConfig) -> dict[str, dict[str, Numbers]]:
    """Row → metric → mean over clips with its 95 % interval, for what was measured on at least one
    clip.
    """
    rows: dict[str, dict[str, Numbers]] = {}
    for row in results[0].rows:
        columns = {metric: [result.rows[row].get(metric, np.nan) for result in results] for metric in DEFINITIONS}
        intervals = {metric: bootstrap(values, samples=config.bootstrap_samples) for metric, values in columns.items()}
        rows[row] = {metric: _plain(interval) for metric, interval in intervals.items() if interval.clips}
    return rows


def _plain(interval: Interval) -> Numbers:
    return {name: round(value, DIGITS) if isfinite(value) else None for name, value in interval._asdict().items()}


def break_down(results: Sequence[ClipResult], config: EvaluateConfig) -> dict[str, dict[str, Any]]:
    """By what → group → clips and the rows' means of a few metrics."""
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
            row: {metric: values[metric] for metric in BROKEN_DOWN if metric in values} for row, values in means.items()
        }
        yield name, {"clips": len(part), "rows": few}


def _by_turning(result: ClipResult) -> str:
    little, far = TURNED_DEG
    return (
        f"< {little:g}°"
        if result.turned_deg < little
        else f"{little:g}–{far:g}°"
        if result.turned_deg < far
        else f"≥ {far:g}°"
    )


def _by_sync(result: ClipResult) -> str:
    confidence = result.rows[GROUND_TRUTH].get("mouth_speech_confidence")
    if confidence is None:
        return "not measured"
    low, high = SURE
    return f"< {low:g}" if confidence < low else f"{low:g}–{high:g}" if confidence < high else f"≥ {high:g}"


GROUPS: dict[str, Callable[[ClipResult], str]] = {
    "identity": lambda result: result.identity,
    "head turns": _by_turning,
    "sync confidence of the truth": _by_sync,
}


def of_sets(features: Iterable[FeatureSamples], rows: Iterable[str]) -> dict[str, dict[str, Numbers]]:
    """Row → FID, FVD → the whole set's distance to the truth. One number a set, so without an
    interval.

    Args:
        features: of each clip; read one at a time, and always in the same order, so that the sums
            are the same.
        rows: of the table.
    """
    from a2h_models.metrics.frechet import ENOUGH, Moments, frechet_distance

    moments: dict[tuple[str, str], Moments] = {}
    for clip in features:
        for row, metrics in clip.items():
            for metric, samples in metrics.items():
                moments.setdefault((row, metric), Moments(samples.shape[1])).add(samples)
    found: dict[str, dict[str, Numbers]] = {row: {} for row in rows}
    for (row, metric), sample in moments.items():
        truth = moments[GROUND_TRUTH, metric]
        if min(sample.count, truth.count) >= ENOUGH:
            distance = round(frechet_distance(sample, truth), DIGITS)
            found[row][metric] = {"mean": distance, "low": None, "high": None, "clips": None, "samples": sample.count}
    return found


def not_measured(rows: Mapping[str, Mapping[str, Numbers]], have: Collection[str]) -> dict[str, str]:
    """Metrics, as they are called in tables → why they have no number.

    Args:
        rows: of the table.
        have: the networks that measured.
    """
    measured = {metric for values in rows.values() for metric in values}
    reasons = {} if "ms_ssim" in measured else {DEFINITIONS["ms_ssim"].label: SMALL_FRAMES}
    for asset, metrics in NEEDS.items():
        if asset not in have:
            reasons[_labels(metrics)] = _missing(asset)
        elif not measured & set(metrics):
            reasons[_labels(metrics)] = TOO_FEW if metrics[0] in OF_SETS else NO_FACES
    if not measured & set(EXPERT):
        reasons[_labels(EXPERT)] = NO_FACES if SYNC_EXPERT in have else NO_EXPERT
    return reasons if importlib.util.find_spec("mediapipe") else reasons | {FACE_METRICS: NO_MEDIAPIPE}


def _labels(metrics: Iterable[str]) -> str:
    return "; ".join(DEFINITIONS[metric].label for metric in metrics)


def _missing(name: str) -> str:
    spec = list_assets("")[name].spec
    return f"not measured, because the weights {spec.file} are not here (`a2h assets fetch {name}`)"


def speeds(results: Sequence[ClipResult]) -> dict[str, float]:
    """Seconds of each part for a second of video; and of a model, how fast it generates
    (`COUNTED`), its own poses where it makes them.
    """
    video_s = sum(result.frames for result in results) / FPS
    total: defaultdict[str, float] = defaultdict(float)
    for result in results:
        for part, seconds in result.seconds.items():
            total[part] += seconds
    found = {f"seconds_per_second/{part}": seconds / video_s for part, seconds in sorted(total.items())}
    protocol = next((name for name in (PREDICTED_POSE, *PROTOCOLS) if f"{name}/{RENDER}" in total), None)
    if protocol is None:
        return found
    factor = (total[FEATURES] + total[f"{protocol}/{POSE}"] + total[f"{protocol}/{RENDER}"]) / video_s
    return {"real_time_factor": factor, "fps": FPS / factor, **found}


def means_of(rows: Mapping[str, Mapping[str, Numbers]]) -> dict[str, float]:
    """`row/metric` → mean, as a run logs them."""
    found = {f"{row}/{name}": values["mean"] for row, metrics in rows.items() for name, values in metrics.items()}
    return {name: float(mean) for name, mean in found.items() if mean is not None}
