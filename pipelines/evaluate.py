"""A model on a split of a dataset → numbers beside the ground truth and the copied portrait, clip by clip.

Two protocols, always named: `true_pose` (the clip's own head motion drives) and `predicted_pose` (the model's). Equal input gives
equal numbers. What was measured on what stands in `metrics.json`, with an id of the evaluation set: only numbers of one set compare.
"""

from __future__ import annotations

import functools
import importlib.util
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, UInt8

from a2h_models.errors import ConfigError, InputError
from a2h_models.metrics import DEFINITIONS, NOT_MEASURED
from a2h_models.metrics.clip import Face, Film, measure
from a2h_models.metrics.summary import Interval, bootstrap
from a2h_models.sample import SIZE
from a2h_models.timebase import SAMPLES_PER_FRAME
from pipelines import cluster, registry
from pipelines.config import EvaluateCommand, EvaluateConfig, config_hash
from pipelines.dataset import shards
from pipelines.dataset.sources import read_origin
from pipelines.evaluation_report import FILES, PICTURE_FILE, SUMMARY_FILE, ClipResult, contact_sheet, draw_table, extremes, write
from pipelines.storage import Storage

if TYPE_CHECKING:
    from a2h_models.animator import Animator

GROUND_TRUTH, COPY_PORTRAIT = "ground_truth", "copy_portrait"
TRUE_POSE, PREDICTED_POSE = "true_pose", "predicted_pose"
PROTOCOLS = (TRUE_POSE, PREDICTED_POSE)
SPLITS = ("test", "val", "train")  # in the order in which any_split looks
MEMBERS = ("flac", "mp4", "pose.npy", "speech.npy")  # of a sample; the rest is not looked at
FEW_CLIPS = 8  # fewer are done in this process: starting Ray takes longer
DIGITS = 6  # after the point, of what is written: more is noise of the processor
STRIP_FRAMES = 6  # of a clip that is drawn, evenly spaced
NO_PICTURE = np.zeros((0, 0, 3), np.uint8)
NO_MEDIAPIPE = "not measured, because mediapipe is not installed"
FACE_METRICS = "LMD, AKD, mouth-speech, landmark shape"


@dataclass(frozen=True, kw_only=True)
class Clip:
    """Where a clip is."""

    dataset: str
    sidecar: shards.Sidecar
    key: str
    frames: int

    @property
    def identity(self) -> str:
        return self.sidecar.identities[self.key]


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
    """Measure a model; write metrics.json, metrics.parquet, table.txt and clips.png to `out`, and an MLflow run.

    Raises:
        ConfigError: for an unknown protocol or split.
        InputError: if there is no such dataset, or the split has no clips.
        RegistryError: if there is no such model, or its files were changed.
    """
    config = command.evaluate
    _check(config)
    split, clips = choose(Storage(command.dataset), config)
    folder = registry.fetch(command.model, command.logger)
    results, failed = measure_clips(clips, folder, command)
    if not results:
        raise InputError(f"none of the {len(clips)} clips of {command.dataset} could be measured: {next(iter(failed.values()))}")
    summary = {**_origin(command, split, results), "rows": summarise(results, config), "failed": failed, "not_measured": not_measured()}
    out = Path(command.out)
    evaluation = Evaluation(
        summary=summary,
        rows=[flat for result in results for flat in _flat(result)],
        table=draw_table(summary),
        metrics=out / SUMMARY_FILE,
        pictures=out / PICTURE_FILE,
        run_id=_log_run(command, summary),
    )
    write(summary, evaluation.rows, evaluation.table, contact_sheet(results, config), out)
    for name in FILES:
        registry.log_artifacts(evaluation.run_id, out / name, logger=command.logger)
    registry.close_run(evaluation.run_id, logger=command.logger)
    if command.model.startswith(registry.SCHEME):
        registry.record_evaluation(command.model, set_id=summary["set_id"], run_id=evaluation.run_id, logger=command.logger)
    return evaluation


def _check(config: EvaluateConfig) -> None:
    if config.split not in SPLITS:
        raise ConfigError(f"evaluate.split={config.split} does not exist", hint=f"one of {', '.join(SPLITS)}")
    if config.pictured_clips < 1:
        raise ConfigError(f"evaluate.pictured_clips={config.pictured_clips} must be 1 or more")
    unknown = sorted(set(config.protocols) - set(PROTOCOLS))
    if unknown or not config.protocols:
        raise ConfigError(f"evaluate.protocols={list(config.protocols)}", hint=f"one or both of {', '.join(PROTOCOLS)}")


# ---------------------------------------------------------------------------------------------------------------- which clips
def choose(dataset: Storage, config: EvaluateConfig) -> tuple[str, list[Clip]]:
    """The clips to look at, by key, and the split they are from.

    Raises:
        InputError: if there are none.
    """
    sidecars = shards.read_sidecars(dataset)
    if not sidecars:
        raise InputError(f"{dataset.url} holds no dataset", hint="`a2h prepare` makes one")
    order = [config.split, *(split for split in SPLITS if split != config.split and config.any_split)]
    for split in order:
        clips = [
            Clip(dataset=dataset.url, sidecar=_only(sidecar, key), key=key, frames=min(sidecar.frames[key], config.max_frames))
            for sidecar in sidecars
            if sidecar.split == split
            for key in sidecar.keys
            if sidecar.frames[key] >= config.min_frames
        ]
        if clips:
            return split, sorted(clips, key=lambda clip: clip.key)[: config.max_clips or None]
    there = ", ".join(sorted({sidecar.split for sidecar in sidecars if sidecar.keys})) or "none"
    raise InputError(
        f"{dataset.url} has no clip of {config.min_frames} frames or more in its {config.split} split (splits with clips: {there})",
        hint="prepare more speakers, or say evaluate.split=val or evaluate.any_split=true",
    )


def _only(sidecar: shards.Sidecar, key: str) -> shards.Sidecar:
    """What of a sidecar is about one clip: a thousand whole ones would travel through Ray a thousand times."""
    return replace(
        sidecar,
        index={key: sidecar.index[key]},
        frames={key: sidecar.frames[key]},
        identities={key: sidecar.identities[key]},
        ledger=[],
    )


# ---------------------------------------------------------------------------------------------------------------- measuring
def measure_clips(clips: Sequence[Clip], folder: Path, command: EvaluateCommand) -> tuple[list[ClipResult], dict[str, str]]:
    """All clips, by key, and for what could not be measured why."""
    engine = command.cluster if len(clips) >= FEW_CLIPS else replace(command.cluster, workers=0)
    work = functools.partial(measure_clip, folder=str(folder.absolute()), config=command.evaluate)
    outcomes = cluster.run(work, clips, engine, describe="evaluating", key=lambda clip: clip.key)
    results: list[ClipResult] = []
    failed = {}
    for clip, outcome in outcomes:
        if isinstance(outcome, cluster.Failure):
            failed[clip.key] = outcome.message
        else:
            results = _without_middling_pictures([*results, outcome], command.evaluate)
    return sorted(results, key=lambda result: result.key), dict(sorted(failed.items()))


def _without_middling_pictures(results: list[ClipResult], config: EvaluateConfig) -> list[ClipResult]:
    """Drop the pictures that can no longer be among the worst or the best, so that memory does not grow with the clips."""
    worst, best = extremes([result for result in results if result.strip.size], config)
    kept = {result.key for result in worst + best}
    return [result if result.key in kept or not result.strip.size else replace(result, strip=NO_PICTURE) for result in results]


def measure_clip(clip: Clip, *, folder: str, config: EvaluateConfig) -> ClipResult:
    """Decode a clip, make its portrait talk under each protocol, and compare."""
    animator = _animator(folder)
    truth, wave, speech, portrait = read_clip(clip, size=animator.config.image_size)
    films = {GROUND_TRUTH: truth, COPY_PORTRAIT: _copied(truth)}
    for protocol in config.protocols:
        films[protocol] = animate(animator, portrait, speech, truth, protocol, config)
    return ClipResult(
        key=clip.key,
        identity=clip.identity,
        frames=clip.frames,
        rows={name: measure(film, truth, wave) for name, film in films.items()},
        strip=np.concatenate([_strip(films[name].frames) for name in (GROUND_TRUTH, *config.protocols)]),
    )


@functools.lru_cache(maxsize=1)
def _animator(folder: str) -> Animator:
    """One load a worker."""
    import torch

    from a2h_models.animator import Animator

    return Animator.load(Path(folder), "cuda" if torch.cuda.is_available() else "cpu")


def read_clip(clip: Clip, *, size: int) -> tuple[Film, np.ndarray, np.ndarray, UInt8[np.ndarray, "256 256 3"]]:
    """The true film at the networks' size, its speech as samples and as features, and its portrait (frame 0)."""
    from pipelines import media

    members = shards.read_members(Storage(clip.dataset), clip.sidecar, clip.key, MEMBERS).members
    frames = media.decode_crop(members["mp4"], indices=range(clip.frames), size=size)
    pose = shards.decode_npy(members["pose.npy"], key=clip.key)[: clip.frames]
    speech = shards.decode_npy(members["speech.npy"], key=clip.key)[: clip.frames]
    wave = shards.decode_flac(members["flac"], key=clip.key)[: clip.frames * SAMPLES_PER_FRAME]
    portrait = media.decode_crop(members["mp4"], indices=[0])[0]
    return Film(frames=frames, face=look(frames), pose=pose), wave, speech, portrait


def animate(
    animator: Animator,
    portrait: UInt8[np.ndarray, "256 256 3"],
    speech: Float[np.ndarray, "t 4 41"],
    truth: Film,
    protocol: str,
    config: EvaluateConfig,
) -> Film:
    """Make the portrait talk, driven by the true poses or by the model's own."""
    pose = truth.pose if protocol == TRUE_POSE else animator.predict_pose(portrait, speech)
    batches = animator.batches(portrait, speech, pose=pose, keypoints=config.keypoints, batch_size=config.batch_size)
    frames = np.concatenate(list(batches))
    return Film(frames=frames, face=look(frames), pose=None if protocol == TRUE_POSE or pose is None else pose[: len(frames)])


def _copied(truth: Film) -> Film:
    """The film of somebody who only holds up the portrait."""
    frames = np.broadcast_to(truth.frames[:1], truth.frames.shape)
    face = Face(*(np.broadcast_to(part[:1], part.shape) for part in truth.face)) if truth.face else None
    return Film(frames=frames, face=face, pose=None if truth.pose is None else np.broadcast_to(truth.pose[:1], truth.pose.shape))


def look(frames: UInt8[np.ndarray, "t h w 3"]) -> Face | None:
    """The face mesh of a film, where MediaPipe is installed; in pixels of a 256×256 crop, whatever the networks' size."""
    if importlib.util.find_spec("mediapipe") is None:
        return None
    import cv2

    from pipelines.prepare.faces import mesh

    full = (
        frames
        if frames.shape[1] == SIZE
        else np.stack([cv2.resize(frame, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC) for frame in frames])
    )
    found = mesh(full)
    return Face(landmarks=found.landmarks, found=found.found)


def _strip(frames: UInt8[np.ndarray, "t h w 3"]) -> UInt8[np.ndarray, "h w 3"]:
    """Some frames beside each other."""
    chosen = np.linspace(0, len(frames) - 1, STRIP_FRAMES).round().astype(int)
    return np.concatenate([frames[index] for index in chosen], axis=1)


# ---------------------------------------------------------------------------------------------------------------- summing up
def summarise(results: Sequence[ClipResult], config: EvaluateConfig) -> dict[str, dict[str, dict[str, float | int | None]]]:
    """Row → metric → mean over clips with its 95 % interval, for what was measured on at least one clip."""
    rows: dict[str, dict[str, dict[str, float | int | None]]] = {}
    for row in results[0].rows:
        columns = {metric: [result.rows[row].get(metric, np.nan) for result in results] for metric in DEFINITIONS}
        intervals = {metric: bootstrap(values, samples=config.bootstrap_samples) for metric, values in columns.items()}
        rows[row] = {metric: _plain(interval) for metric, interval in intervals.items() if interval.clips}
    return rows


def _plain(interval: Interval) -> dict[str, float | int | None]:
    return {name: round(value, DIGITS) if isfinite(value) else None for name, value in interval._asdict().items()}


def not_measured() -> dict[str, str]:
    faces = {} if importlib.util.find_spec("mediapipe") else {FACE_METRICS: NO_MEDIAPIPE}
    return {**NOT_MEASURED, **faces}


def _origin(command: EvaluateCommand, split: str, results: Sequence[ClipResult]) -> dict[str, Any]:
    """What was measured on what."""
    fingerprint = dataset_fingerprint(Storage(command.dataset))
    keys = [result.key for result in results]
    origin = read_origin(command.dataset, fingerprint, keys=keys)
    return {
        "model": str(registry.find(command.model, command.logger)) if command.model.startswith(registry.SCHEME) else command.model,
        "dataset": origin.path,
        "dataset_fingerprint": fingerprint,
        "split": split,
        "set_id": registry.evaluation_set_id(fingerprint=fingerprint, split=split, clips=keys, max_frames=command.evaluate.max_frames),
        "clips": len(results),
        "frames": sum(result.frames for result in results),
        "identities": sorted({result.identity for result in results}),
        "sources": origin.sources["sha256"].to_pylist(),
        "features": origin.features,
        "keypoints": command.evaluate.keypoints,
        "config_hash": config_hash(command.evaluate),
    }


def dataset_fingerprint(dataset: Storage) -> str:
    """As its dataset.json says; "unknown" where there is none, which promotion refuses."""
    if not dataset.exists("dataset.json"):
        return "unknown"
    return str(json.loads(dataset.read("dataset.json")).get("fingerprint", "unknown"))


def _flat(result: ClipResult) -> Iterator[dict[str, Any]]:
    """A clip's rows as metrics.parquet has them."""
    for row, values in result.rows.items():
        yield {"key": result.key, "identity": result.identity, "frames": result.frames, "row": row, **values}


def _log_run(command: EvaluateCommand, summary: Mapping[str, Any]) -> str:
    """Open the run of this evaluation, with its numbers as `protocol/metric`."""
    logger, fingerprint = command.logger, summary["dataset_fingerprint"]
    tags = {"evaluated_model": summary["model"], "evaluation_set": summary["set_id"], "config_hash": summary["config_hash"]}
    run_id = registry.open_run(logger, run_name=f"evaluate {summary['model']}", tags=tags, params=asdict(command.evaluate))
    registry.log_dataset(run_id, command.dataset, fingerprint, logger=logger, context="evaluation")
    means = {f"{row}/{name}": values["mean"] for row, metrics in summary["rows"].items() for name, values in metrics.items()}
    version = registry.find(command.model, logger) if command.model.startswith(registry.SCHEME) else None
    measured = {name: mean for name, mean in means.items() if mean is not None}
    registry.log_metrics(run_id, measured, logger=logger, model_id=version.tags.get("model_id") if version else None)
    return run_id
