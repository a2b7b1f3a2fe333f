"""Evaluations as they are recorded with versions: means, intervals, and the numbers of each clip."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import nan
from pathlib import Path
from typing import Any

from a2h_models.errors import RegistryError
from pipelines.core.hashing import sha256_of_json
from pipelines.registry.versions import ModelVersion

METRICS_FILE = "metrics.json"  # the evaluation's summary, as an artifact of its run
CLIPS_FILE = "metrics.parquet"  # one row for each clip and row of the table
SPEED = "real_time_factor"  # metric of the evaluation's run; not in METRICS_FILE, which does not depend on the machine
EVALUATION_TAG = "evaluation"  # of a version: the set it was last evaluated on
LABELS = frozenset({"key", "identity", "frames", "row"})  # columns of CLIPS_FILE that are no metrics

Values = Mapping[str, float]  # clip's key → value


@dataclass(frozen=True, kw_only=True)
class EvaluationResults:
    """The numbers of an evaluation, and the set they were measured on.

    Metrics are named "row/metric".
    """

    set_id: str  # hash of the dataset's fingerprint, the split, the clips and the frames that were used of them
    dataset: str  # for people: the dataset and the split
    dataset_path: str
    dataset_fingerprint: str
    clips: int
    identities: tuple[str, ...]
    sources: tuple[str, ...]  # SHA-256 of the source videos; empty where they are not recorded
    features: Mapping[str, Any]  # how the set's features were computed; empty where that is not recorded
    means: Values  # metric → mean over clips
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)  # metric → 95 % interval of the mean
    by_clip: Mapping[str, Values] = field(default_factory=dict)  # metric → clip → value
    real_time_factor: float | None = None  # seconds of computing for a second of video; None where it was not measured


def evaluation_set_id(*, fingerprint: str, split: str, clips: list[str], max_frames: int) -> str:
    """Sixteen hex digits that are equal only for evaluations whose numbers may be compared."""
    values = {"fingerprint": fingerprint, "split": split, "clips": sorted(clips), "max_frames": max_frames}
    return sha256_of_json(values, digits=16)


def evaluation_tags(set_id: str, run_id: str) -> dict[str, str]:
    """The tags of a version that say which run holds its numbers on an evaluation set."""
    return {f"{EVALUATION_TAG}.{set_id}": run_id, EVALUATION_TAG: set_id}


def evaluation_runs(version: ModelVersion) -> dict[str, str]:
    """The runs that hold a version's numbers, by evaluation set."""
    prefix = f"{EVALUATION_TAG}."
    return {key.removeprefix(prefix): run_id for key, run_id in sorted(version.tags.items()) if key.startswith(prefix)}


def parse_evaluation(run_id: str, files: Mapping[str, bytes], metrics: Values) -> EvaluationResults:
    """The results that the run of an evaluation holds.

    Args:
        run_id: of the run, for the message.
        files: its `metrics.json` and, where there is one, its `metrics.parquet`.
        metrics: of the run itself.

    Raises:
        RegistryError: if a file is gone or damaged.
    """
    try:
        summary = json.loads(files[METRICS_FILE])
        by_clip = _by_clip(files[CLIPS_FILE]) if CLIPS_FILE in files else {}
        return _results(summary, by_clip, metrics.get(SPEED))
    except (ValueError, KeyError, TypeError, AttributeError) as error:  # pyarrow's errors are ValueErrors
        raise RegistryError(f"{METRICS_FILE} of run {run_id} is damaged ({error!r})", hint="evaluate again") from error


def _results(summary: Mapping[str, Any], by_clip: Mapping[str, Values], speed: float | None) -> EvaluationResults:
    rows = {f"{row}/{metric}": values for row, metrics in summary["rows"].items() for metric, values in metrics.items()}
    return EvaluationResults(
        set_id=str(summary["set_id"]),
        dataset=f"{Path(summary['dataset']).name}, {summary['split']}, {summary['clips']} clips",
        dataset_path=str(summary["dataset"]),
        dataset_fingerprint=str(summary["dataset_fingerprint"]),
        clips=int(summary["clips"]),
        identities=tuple(summary["identities"]),
        sources=tuple(summary.get("sources", ())),
        features=dict(summary.get("features", {})),
        means={name: _number(values["mean"]) for name, values in rows.items()},
        intervals={name: (_number(values.get("low")), _number(values.get("high"))) for name, values in rows.items()},
        by_clip=by_clip,
        real_time_factor=speed,
    )


def _number(value: float | None) -> float:
    return nan if value is None else float(value)


def _by_clip(data: bytes) -> dict[str, Values]:
    """Metric → clip → value, from the bytes of `metrics.parquet`."""
    import pandas as pd

    table = pd.read_parquet(io.BytesIO(data))
    metrics: Sequence[str] = [
        name for name in table.columns if name not in LABELS and pd.api.types.is_numeric_dtype(table[name])
    ]
    return {
        f"{row}/{metric}": dict(zip(part["key"], part[metric].astype(float), strict=True))
        for row, part in table.groupby("row")
        for metric in metrics
        if part[metric].notna().any()
    }
