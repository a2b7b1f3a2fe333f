"""Means over clips with their intervals, the same broken down, and how fast it went."""

from __future__ import annotations

import importlib.util
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import isfinite
from typing import Any

import numpy as np

from a2h_models.metrics import DEFINITIONS, NOT_MEASURED
from a2h_models.metrics.summary import Interval, bootstrap
from a2h_models.timebase import FPS
from pipelines.config import EvaluateConfig
from pipelines.evaluation.clips import GROUND_TRUTH, ClipResult
from pipelines.evaluation.systems import FEATURES, POSE, PREDICTED_POSE, PROTOCOLS, RENDER

DIGITS = 6  # after the point, of what is written: more is noise of the processor
NO_MEDIAPIPE = "not measured, because mediapipe is not installed"
FACE_METRICS = "LMD, AKD, blinks, mouth-speech, landmark shape"
NO_SYNCNET = "not measured, because the weights of the public SyncNet are not here (`a2h assets fetch syncnet`)"
SMALL_FRAMES = "not measured, because the frames have fewer than 176 pixels a side, which its coarsest scale needs"
BROKEN_DOWN = ("psnr", "ssim", "akd", "mouth_speech_correlation")
TURNED_DEG = (10.0, 20.0)  # limits between the groups of heads that turn little, some and far
SURE = (0.6, 1.2)  # of mouth-speech confidence: below the first nobody can say, from the second on it is believed
COUNTED = "speech features, head pose and frames; not loading, decoding, or writing a video"

Numbers = dict[str, float | int | None]


def summarise(results: Sequence[ClipResult], config: EvaluateConfig) -> dict[str, dict[str, Numbers]]:
    """Row → metric → mean over clips with its 95 % interval, for what was measured on at least one clip."""
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


def _groups(results: Sequence[ClipResult], group: Callable[[ClipResult], str], config: EvaluateConfig) -> Iterator[tuple[str, Any]]:
    members: defaultdict[str, list[ClipResult]] = defaultdict(list)
    for result in results:
        members[group(result)].append(result)
    for name, part in sorted(members.items()):
        means = summarise(part, config)
        few = {row: {metric: values[metric] for metric in BROKEN_DOWN if metric in values} for row, values in means.items()}
        yield name, {"clips": len(part), "rows": few}


def _by_turning(result: ClipResult) -> str:
    little, far = TURNED_DEG
    return f"< {little:g}°" if result.turned_deg < little else f"{little:g}–{far:g}°" if result.turned_deg < far else f"≥ {far:g}°"


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


def not_measured(rows: Mapping[str, Mapping[str, Numbers]], *, syncnet: bool) -> dict[str, str]:
    """Metric → why it has no number."""
    small = {} if any("ms_ssim" in values for values in rows.values()) else {"MS-SSIM": SMALL_FRAMES}
    faces = {} if importlib.util.find_spec("mediapipe") else {FACE_METRICS: NO_MEDIAPIPE}
    return {**NOT_MEASURED, **small, **({} if syncnet else {"LSE-D, LSE-C": NO_SYNCNET}), **faces}


def speeds(results: Sequence[ClipResult]) -> dict[str, float]:
    """Seconds of each part for a second of video; and of a model, how fast it generates (`COUNTED`), its own poses where it makes them."""
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
