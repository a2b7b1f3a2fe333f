"""A model on an evaluation set → numbers beside the ground truth, the copied portrait and the
champion, clip by clip.

Two protocols, always named: `true_pose` (the clip's own head motion drives) and `predicted_pose`
(the model's). Equal input gives equal numbers. What was measured on what stands in `metrics.json`,
with an id of the evaluation set: only numbers of one set compare.
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
from pipelines.evaluation.clips import NO_PICTURE, ClipResult, measure_clip
from pipelines.evaluation.page import draw_page
from pipelines.evaluation.report import FILES, PICTURE_FILE, SUMMARY_FILE, contact_sheet, draw_table, extremes, write
from pipelines.evaluation.result_cache import ResultCache
from pipelines.evaluation.sets import EvaluationClip, Selection, check_split, dataset_fingerprint, select
from pipelines.evaluation.summary import COUNTED, break_down, means_of, not_measured, of_sets, speeds, summarise
from pipelines.evaluation.systems import PROTOCOLS, VIDEOS, SystemsUnderTest, systems_under_test
from pipelines.execution import cluster
from pipelines.registry import SCHEME, ModelRegistry
from pipelines.tracking import git_state

FEW_CLIPS = 8  # fewer are done in this process: starting Ray takes longer


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What was found, and where it lies."""

    summary: dict[str, Any]  # what metrics.json holds
    rows: list[dict[str, Any]]  # one a clip and row of the table
    table: str
    metrics: Path
    pictures: Path
    run_id: str

    def __str__(self) -> str:
        return f"{self.table}\n{self.metrics}"


def evaluate(command: EvaluateCommand) -> Evaluation:
    """Measure a model; write metrics.json, metrics.parquet, report.html, … to `out`, and an MLflow
    run.

    Raises:
        ConfigError: for an unknown protocol or split, or where neither dataset nor set is given.
        InputError: if there is no such dataset, or the split has no clips, or none could be
            measured.
        DatasetError: if a frozen set's clips are not what they were.
        RegistryError: if there is no such model, or its files were changed.
    """
    _check(command.evaluate)
    selection = select(command)
    command = replace(command, evaluate=replace(command.evaluate, max_frames=selection.max_frames))
    cast = systems_under_test(command)
    diary = ResultCache(
        Storage(command.out),
        [cast.fingerprint, config_hash(command.evaluate), git_state().sha, _clips_id(selection)],
    )
    results, failed = measure_clips(selection.clips, cast, command, diary)
    if not results:
        raise InputError(f"none of the {len(selection.clips)} clips could be measured: {next(iter(failed.values()))}")
    evaluation = _report(command, selection, cast, diary, results, failed)
    diary.close()
    return evaluation


def _check(config: EvaluateConfig) -> None:
    check_split(config)
    if config.pictured_clips < 1:
        raise ConfigError(f"evaluate.pictured_clips={config.pictured_clips} must be 1 or more")
    unknown = sorted(set(config.protocols) - set(PROTOCOLS))
    if unknown or not config.protocols:
        raise ConfigError(f"evaluate.protocols={list(config.protocols)}", hint=f"one or both of {', '.join(PROTOCOLS)}")


def _clips_id(selection: Selection) -> str:
    frames = ",".join(f"{clip.key}:{clip.frames}" for clip in selection.clips)
    return f"{selection.set_id([clip.key for clip in selection.clips])} {selection.dataset} {frames}"


# ---------------------------------------------------------------------------------------- measuring
def measure_clips(
    clips: Sequence[EvaluationClip], cast: SystemsUnderTest, command: EvaluateCommand, diary: ResultCache
) -> tuple[list[ClipResult], dict[str, str]]:
    """All clips, by key, and for what could not be measured why."""
    results: list[ClipResult] = []
    failed = {}
    for key, outcome in _outcomes(clips, cast, command, diary):
        if isinstance(outcome, cluster.Failure):
            failed[key] = outcome.message
        elif outcome.error:
            failed[key] = outcome.error
        else:
            results = _without_middling_pictures([*results, outcome], command.evaluate)
    return sorted(results, key=lambda result: result.key), dict(sorted(failed.items()))


def _outcomes(
    clips: Sequence[EvaluationClip], cast: SystemsUnderTest, command: EvaluateCommand, diary: ResultCache
) -> Iterator[tuple[str, ClipResult | cluster.Failure]]:
    """What an interrupted evaluation found already, then the rest as it ends."""
    fresh = []
    for clip in clips:
        known = diary.find(clip.key)
        if known is None:
            fresh.append(clip)
        else:
            yield clip.key, known
    engine = command.cluster if len(fresh) >= FEW_CLIPS else replace(command.cluster, workers=0)
    work = functools.partial(measure_clip, cast=cast, config=command.evaluate)
    for clip, outcome in cluster.run(work, fresh, engine, describe="evaluating", key=lambda clip: clip.key):
        if isinstance(outcome, ClipResult):
            diary.keep(outcome)
            yield clip.key, replace(outcome, features={})  # the diary has them
        else:
            yield clip.key, outcome


def _without_middling_pictures(results: list[ClipResult], config: EvaluateConfig) -> list[ClipResult]:
    """Drop the pictures that can no longer be among the worst or the best, so that memory does not
    grow with the clips.
    """
    worst, best = extremes([result for result in results if result.strip.size], config)
    kept = {result.key for result in worst + best}
    return [
        result if result.key in kept or not result.strip.size else replace(result, strip=NO_PICTURE)
        for result in results
    ]


# ---------------------------------------------------------------------------------------- reporting
def _report(
    command: EvaluateCommand,
    selection: Selection,
    cast: SystemsUnderTest,
    diary: ResultCache,
    results: list[ClipResult],
    failed: dict[str, str],
) -> Evaluation:
    config, out = command.evaluate, Path(command.out)
    rows = summarise(results, config)
    whole = of_sets((diary.features(result.key) for result in results), rows)
    rows = {row: metrics | whole[row] for row, metrics in rows.items()}
    summary = {
        **_origin(command, selection, cast, results),
        "rows": rows,
        "breakdown": break_down(results, config),
        "failed": failed,
        "not_measured": not_measured(rows, cast.weights),
    }
    timings = {"counted": COUNTED, "device": _device(), "workers": command.cluster.workers, **speeds(results)}
    evaluation = Evaluation(
        summary=summary,
        rows=[flat for result in results for flat in _flat(result)],
        table=draw_table(summary),
        metrics=out / SUMMARY_FILE,
        pictures=out / PICTURE_FILE,
        run_id=_log_run(command, selection, summary, speeds(results)),
    )
    page = draw_page(summary, timings, results, config)
    write(summary, evaluation.rows, evaluation.table, contact_sheet(results, config), page, timings, out)
    registry = ModelRegistry.from_config(command.logger)
    for name in FILES:
        registry.tracker.log_artifacts(evaluation.run_id, out / name)
    registry.tracker.close_run(evaluation.run_id)
    if command.model.startswith(SCHEME):
        registry.record_evaluation(command.model, set_id=summary["set_id"], run_id=evaluation.run_id)
    return evaluation


def _device() -> str:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"


def _origin(
    command: EvaluateCommand, selection: Selection, cast: SystemsUnderTest, results: Sequence[ClipResult]
) -> dict[str, Any]:
    """What was measured on what."""
    fingerprint = dataset_fingerprint(Storage(selection.dataset))
    keys = [result.key for result in results]
    origin = read_origin(selection.dataset, fingerprint, keys=keys)
    return {
        "model": ModelRegistry.from_config(command.logger).pin(command.model),
        "champion": cast.champion_uri,
        "sync_expert": cast.sync_expert_uri,
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


def _flat(result: ClipResult) -> Iterator[dict[str, Any]]:
    """A clip's rows as metrics.parquet has them."""
    for row, values in result.rows.items():
        yield {"key": result.key, "identity": result.identity, "frames": result.frames, "row": row, **values}


def _log_run(
    command: EvaluateCommand, selection: Selection, summary: Mapping[str, Any], speed: Mapping[str, float]
) -> str:
    """Open the run of this evaluation, with its numbers as `protocol/metric`, and how fast it went."""
    registry = ModelRegistry.from_config(command.logger)
    tracker = registry.tracker
    tags = {
        "evaluated_model": summary["model"],
        "evaluation_set": summary["set_id"],
        "config_hash": summary["config_hash"],
    }
    run_id = tracker.open_run(f"evaluate {summary['model']}", tags=tags, params=asdict(command.evaluate))
    tracker.log_dataset(run_id, selection.dataset, summary["dataset_fingerprint"], context="evaluation")
    version = registry.find(command.model) if command.model.startswith(SCHEME) else None
    model_id = version.tags.get("model_id") if version else None
    tracker.log_metrics(run_id, {**means_of(summary["rows"]), **speed}, model_id=model_id)
    return run_id
