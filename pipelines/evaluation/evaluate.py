"""`a2h evaluate`: a model on an evaluation set → its numbers, clip by clip.

Beside it stand the ground truth, the copied portrait and the champion. Two protocols, always named:
`true_pose` (the clip's own head motion drives) and `predicted_pose` (the model's). Equal input
gives equal numbers. `metrics.json` says what was measured on what, with an id of the evaluation
set: only numbers of one set compare.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from a2h_models.errors import ConfigError, InputError
from pipelines.config import EvaluateCommand, EvaluateConfig, config_hash
from pipelines.core.storage import Storage
from pipelines.dataset.provenance import read_origin
from pipelines.evaluation.clips import NO_STRIP, ClipResult, measure_clip
from pipelines.evaluation.page import render_page
from pipelines.evaluation.protocols import PROTOCOLS
from pipelines.evaluation.report import FILES, PICTURE_FILE, SUMMARY_FILE, Report, contact_sheet, draw_results, extremes
from pipelines.evaluation.result_cache import ResultCache
from pipelines.evaluation.sets import (
    ClipSelection,
    EvaluationClip,
    recorded_fingerprint,
    select_clips,
    validate_split,
)
from pipelines.evaluation.summary import (
    TIMED,
    break_down,
    flatten_means,
    reasons_not_measured,
    set_metrics,
    speed_metrics,
    summarise,
)
from pipelines.evaluation.systems import VIDEOS, SystemsUnderTest, locate_systems
from pipelines.execution import pool
from pipelines.execution.sandbox import Failure
from pipelines.execution.task import Task
from pipelines.registry import SCHEME, ModelRegistry
from pipelines.tracking import git_state

FEW_CLIPS = 8  # fewer are measured in this process: starting Ray takes longer


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The numbers of an evaluation, and where they were written."""

    summary: dict[str, Any]  # what metrics.json holds
    rows: list[dict[str, Any]]  # one for each clip and row of the table
    table: str
    metrics: Path
    pictures: Path
    run_id: str

    def __str__(self) -> str:
        return f"{self.table}\n{self.metrics}"


def evaluate(command: EvaluateCommand) -> Evaluation:
    """Measure a model; write metrics.json, metrics.parquet, report.html, … and an MLflow run.

    Raises:
        ConfigError: for an unknown protocol or split, or where neither dataset nor set is given.
        InputError: if there is no such dataset, or the split has no clips, or none could be
            measured.
        DatasetError: if a frozen set's clips have changed.
        RegistryError: if there is no such model, or its files were changed.
    """
    _validate(command.evaluate)
    selection = select_clips(command)
    command = replace(command, evaluate=replace(command.evaluate, max_frames=selection.max_frames))
    registry = ModelRegistry.from_config(command.logger)
    systems = locate_systems(command, registry)
    cache = ResultCache(Storage(command.out), _dependencies(command, selection, systems))

    results, failed = measure_clips(selection.clips, systems, command, cache)
    if not results:
        raise InputError(f"none of the {len(selection.clips)} clips could be measured: {next(iter(failed.values()))}")
    numbers = _numbers(results, cache, systems, command.evaluate)
    origin = _origin(command, selection, systems, results)
    summary = {**origin, **numbers, "model": registry.pin(command.model), "failed": failed}

    report = _report(summary, results, command)
    run_id = _open_run(registry, command, selection.dataset, summary, speed_metrics(results))
    out = Path(command.out)
    report.write(out)
    for name in FILES:
        registry.tracker.log_artifacts(run_id, out / name)
    registry.tracker.close_run(run_id)
    if command.model.startswith(SCHEME):
        registry.record_evaluation(command.model, set_id=summary["set_id"], run_id=run_id)
    cache.clear()
    return Evaluation(
        summary=summary,
        rows=report.rows,
        table=report.table,
        metrics=out / SUMMARY_FILE,
        pictures=out / PICTURE_FILE,
        run_id=run_id,
    )


def _validate(config: EvaluateConfig) -> None:
    validate_split(config)
    if config.pictured_clips < 1:
        raise ConfigError(f"evaluate.pictured_clips={config.pictured_clips} must be 1 or more")
    unknown = sorted(set(config.protocols) - set(PROTOCOLS))
    if unknown or not config.protocols:
        raise ConfigError(f"evaluate.protocols={list(config.protocols)}", hint=f"one or both of {', '.join(PROTOCOLS)}")


def _dependencies(command: EvaluateCommand, selection: ClipSelection, systems: SystemsUnderTest) -> list[str]:
    """What the results of clips depend on: stored results count only for equal ones."""
    frames = ",".join(f"{clip.key}:{clip.frames}" for clip in selection.clips)
    clips = f"{selection.set_id([clip.key for clip in selection.clips])} {selection.dataset} {frames}"
    return [systems.fingerprint, config_hash(command.evaluate), git_state().sha, clips]


# ---------------------------------------------------------------------------------------- measure
def measure_clips(
    clips: Sequence[EvaluationClip], systems: SystemsUnderTest, command: EvaluateCommand, cache: ResultCache
) -> tuple[list[ClipResult], dict[str, str]]:
    """Measure all clips; return the results by key, and key → why it could not be measured."""
    results: list[ClipResult] = []
    failed = {}
    for key, outcome in _outcomes(clips, systems, command, cache):
        if isinstance(outcome, Failure):
            failed[key] = outcome.message
        elif outcome.error:
            failed[key] = outcome.error
        else:
            results = _drop_middle_strips([*results, outcome], command.evaluate)
    return sorted(results, key=lambda result: result.key), dict(sorted(failed.items()))


def _outcomes(
    clips: Sequence[EvaluationClip], systems: SystemsUnderTest, command: EvaluateCommand, cache: ResultCache
) -> Iterator[tuple[str, ClipResult | Failure]]:
    """The stored results of an interrupted evaluation, then the rest as they are measured."""
    remaining = []
    for clip in clips:
        stored = cache.get(clip.key)
        if stored is None:
            remaining.append(clip)
        else:
            yield clip.key, stored
    config = command.cluster if len(remaining) >= FEW_CLIPS else replace(command.cluster, workers=0)
    measure = functools.partial(measure_clip, systems=systems, config=command.evaluate)
    task = Task(function=measure, describe="evaluating", key=lambda clip: clip.key)
    for clip, outcome in pool.run(task, remaining, config):
        if isinstance(outcome, ClipResult):
            cache.put(outcome)
            yield clip.key, replace(outcome, features={})  # they are in the cache
        else:
            yield clip.key, outcome


def _drop_middle_strips(results: list[ClipResult], config: EvaluateConfig) -> list[ClipResult]:
    """Drop the frames of clips that are neither among the worst nor the best.

    So memory does not grow with the number of clips.
    """
    worst, best = extremes([result for result in results if result.strip.size], config)
    shown = {result.key for result in worst + best}
    return [
        result if result.key in shown or not result.strip.size else replace(result, strip=NO_STRIP)
        for result in results
    ]


# ----------------------------------------------------------------------------------------- report
def _numbers(
    results: Sequence[ClipResult], cache: ResultCache, systems: SystemsUnderTest, config: EvaluateConfig
) -> dict[str, Any]:
    """The part of the summary that was measured."""
    rows = summarise(results, config)
    distances = set_metrics((cache.get_features(result.key) for result in results), rows)
    rows = {row: metrics | distances[row] for row, metrics in rows.items()}
    return {
        "rows": rows,
        "breakdown": break_down(results, config),
        "not_measured": reasons_not_measured(rows, systems.weights),
    }


def _origin(
    command: EvaluateCommand, selection: ClipSelection, systems: SystemsUnderTest, results: Sequence[ClipResult]
) -> dict[str, Any]:
    """The part of the summary that says what was measured on what."""
    fingerprint = recorded_fingerprint(Storage(selection.dataset))
    keys = [result.key for result in results]
    origin = read_origin(selection.dataset, fingerprint, keys=keys)
    return {
        "champion": systems.champion_uri,
        "sync_expert": systems.sync_expert_uri,
        "dataset": origin.path,
        "dataset_fingerprint": fingerprint,
        "split": selection.split,
        "set_id": selection.set_id(keys),
        "frozen": bool(command.set),
        "max_frames": selection.max_frames,
        "clips": len(results),
        "frames": sum(result.frames for result in results),
        "identities": sorted({result.identity for result in results}),
        "sources": origin.sources["sha256"].to_pylist(),
        "features": origin.features,
        "keypoints": "" if command.model.startswith(VIDEOS) else command.evaluate.keypoints,
        "config_hash": config_hash(command.evaluate),
    }


def _report(summary: Mapping[str, Any], results: Sequence[ClipResult], command: EvaluateCommand) -> Report:
    config = command.evaluate
    speeds = speed_metrics(results)
    timings = {"counted": TIMED, "device": _device(), "workers": command.cluster.workers, **speeds}
    return Report(
        summary=summary,
        rows=[row for result in results for row in _parquet_rows(result)],
        table=draw_results(summary),
        sheet=contact_sheet(results, config),
        page=render_page(summary, timings, results, config),
        timings=timings,
    )


def _device() -> str:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"


def _parquet_rows(result: ClipResult) -> Iterator[dict[str, Any]]:
    for row, values in result.rows.items():
        yield {"key": result.key, "identity": result.identity, "frames": result.frames, "row": row, **values}


def _open_run(
    registry: ModelRegistry,
    command: EvaluateCommand,
    dataset: str,
    summary: Mapping[str, Any],
    speeds: Mapping[str, float],
) -> str:
    """Open the run of an evaluation; log its numbers as `protocol/metric`, and its speeds."""
    tracker = registry.tracker
    tags = {
        "evaluated_model": summary["model"],
        "evaluation_set": summary["set_id"],
        "config_hash": summary["config_hash"],
    }
    run_id = tracker.open_run(f"evaluate {summary['model']}", tags=tags, params=asdict(command.evaluate))
    tracker.log_dataset(run_id, dataset, summary["dataset_fingerprint"], context="evaluation")
    model_id = registry.find(command.model).tags.get("model_id") if command.model.startswith(SCHEME) else None
    tracker.log_metrics(run_id, {**flatten_means(summary["rows"]), **speeds}, model_id=model_id)
    return run_id
