"""One stage, trained: config → stage + data + Trainer → weights, registered. The same function here, under torchrun and in Ray Train.

A run has a folder, `paths.runs/<run_name>`: checkpoints, sample pictures, weights, and `result.json`, which is written last. The same
command goes on from the last checkpoint, or gives the result of a run that is finished.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from math import ceil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, EMAWeightAveraging, ModelCheckpoint
from pytorch_lightning.profilers import AdvancedProfiler, Profiler, SimpleProfiler

from a2h_models.errors import ClusterError, ConfigError
from a2h_models.networks import load, save
from a2h_models.stages.callbacks import LastCheckpoint, Pictures, Progress, batches_done
from a2h_models.stages.head_pose import HeadPoseTraining
from a2h_models.stages.stage import Stage
from pipelines import cluster, media, registry
from pipelines.config import config_hash
from pipelines.dataset.sources import read_origin
from pipelines.dataset.windows import ClipDataModule, PairDataModule, WindowDataModule
from pipelines.keypoints import hash_of
from pipelines.run_page import DESCRIPTION, describe
from pipelines.stage import make_stage, teacher
from pipelines.training_config import ImageGeneratorStage, MotionFieldStage, TrainCommand

RESULT, RUN = "result.json", "run.json"
LAST = "last.ckpt"
IDENTITY_DIGITS = 16  # of a run's hash, in the name of its folder
RAY_CHECKPOINT = "checkpoint.ckpt"  # Ray Train's own name for it
KEPT_ON_RAY = 2  # checkpoints
CHECKPOINT_NAME = "{epoch:03d}-{step:08d}"

IGNORED = (  # warnings
    ".*does not have many workers.*",  # a decoder beside the training threads slows both down; dataset.workers is the user's choice
    ".*Checkpoint directory .* exists and is not empty.*",  # a resumed run
    ".*LeafSpec.* is deprecated.*",  # Lightning 2.6 with torch 2.13
)


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """What a training left behind."""

    stage: str
    run_id: str  # in the tracking store; empty for a dry run
    folder: Path  # of the run
    checkpoint: Path  # the last one
    weights: Path  # the folder that holds <stage>.safetensors
    model_uri: str  # models:/…; empty where nothing was registered
    steps: int  # batches
    metrics: dict[str, float] = field(default_factory=dict)  # of the last validation

    def __str__(self) -> str:
        numbers = ", ".join(f"{name} {value:.4g}" for name, value in sorted(self.metrics.items()))
        return f"{self.stage}: {self.steps} steps; {numbers or 'not validated'}\n{self.model_uri or self.weights}"


def train(command: TrainCommand) -> TrainResult:
    """Train one stage, or go on with it, or return what came of it.

    Raises:
        ConfigError: for settings that contradict each other, or a run_name that is taken.
        InputError: if the dataset has no training clips.
        FailedError: if the loss is not a number any more; the last good checkpoint stays.
    """
    folder = run_folder(command)
    done = finished(command, folder)
    if done is not None:
        return tested(command, done) if command.test else done
    if command.cluster.name == "ray":
        return _train_on_ray(command, folder)
    return fit(command, folder)


def identity(command: TrainCommand) -> str:
    """Hash of everything that decides what a training ends with; where it runs and logs does not."""
    parts = (command.dataset, command.stage, command.networks, command.trainer)
    return hashlib.sha256("".join(map(config_hash, parts)).encode()).hexdigest()[:IDENTITY_DIGITS]


def run_folder(command: TrainCommand) -> Path:
    return Path(command.paths.runs).absolute() / (command.run_name or f"{command.stage.name}-{identity(command)}")


def finished(command: TrainCommand, folder: Path) -> TrainResult | None:
    """The result of a run that has ended under the same settings.

    Raises:
        ConfigError: if the folder holds a run that cannot be gone on with: `resume=false`, or of other networks.
    """
    if not command.resume and (folder / RUN).exists():
        raise ConfigError(f"{folder} holds a run already", hint="choose another run_name, or say resume=true to go on with it")
    _check_same_networks(command, folder)
    if not (folder / RESULT).exists() or command.trainer.fast_dev_run:
        return None
    values: dict[str, Any] = json.loads((folder / RESULT).read_text())
    if values.pop("identity") != identity(command) or (command.register and not values["model_uri"]):
        return None
    return _result(values)


def _check_same_networks(command: TrainCommand, folder: Path) -> None:
    """Weights of other networks cannot be resumed; the settings of a training may change on the way."""
    if not (folder / RUN).exists():
        return
    theirs = json.loads((folder / RUN).read_text())["config"]
    ours = json.loads(json.dumps({"networks": asdict(command.networks), "stage": command.stage.name}))
    if theirs["networks"] != ours["networks"] or theirs["stage"]["name"] != ours["stage"]:
        raise ConfigError(
            f"{folder} holds a run of {theirs['stage']['name']} with other networks",
            hint="choose another run_name, or the scale that it was begun with",
        )


def _result(values: dict[str, Any]) -> TrainResult:
    """From plain values, as they come out of JSON."""
    paths: dict[str, Any] = {name: Path(values[name]) for name in ("folder", "checkpoint", "weights")}
    return TrainResult(**(values | paths))


# -------------------------------------------------------------------------------- one process of a training
@dataclass(frozen=True, kw_only=True)
class Engine:
    """What starts and joins the processes of a training changes this much of it."""

    settings: dict[str, Any] = field(default_factory=dict)  # of the Trainer
    keeper: type[LastCheckpoint] = LastCheckpoint


LIGHTNING = Engine()  # one process, its own DDP, torchrun or SLURM


def fit(command: TrainCommand, folder: Path, engine: Engine = LIGHTNING) -> TrainResult:
    """Train in this process, one of possibly many."""
    pl.seed_everything(command.trainer.seed, verbose=False)
    data = make_data(command)
    stage = make_stage(command)
    last = folder / "checkpoints" / LAST
    dry = command.trainer.fast_dev_run
    with _quiet():
        trainer = make_trainer(command, folder, stage, data, engine)
        run_id = _open_run(command, folder, data) if trainer.is_global_zero and not dry else ""
        if run_id:
            trainer.logger = _logger(command, run_id)
        trainer.fit(stage, datamodule=data, ckpt_path=last if last.exists() and not dry else None, weights_only=True)
        metrics = _validated(trainer, stage, data, command) | _tested(trainer, stage, data, command)
    result = TrainResult(
        stage=stage.name,
        run_id=run_id,
        folder=folder,
        checkpoint=folder / "checkpoints" / LAST,
        weights=folder,
        model_uri="",
        steps=batches_done(trainer),
        metrics=metrics,
    )
    return _finish(command, stage, data, result) if run_id else result


def make_data(command: TrainCommand) -> ClipDataModule:
    """Batches as the stage wants them."""
    size, cache = command.networks.image_size, Path(command.paths.cache)
    if isinstance(command.stage, ImageGeneratorStage):
        return PairDataModule(command.dataset, size=size, cache=cache)
    if isinstance(command.stage, MotionFieldStage):
        stage = command.stage
        look = not stage.companions or stage.rendered_frames or stage.predicted_share
        detector = hash_of(teacher(command).detector) if stage.companions else ""
        return WindowDataModule(
            command.dataset, size=size, cache=cache, frames_every=int(bool(look)), portrait_first=False, detector=detector
        )
    forced = command.stage.forced_every if command.stage.forced_until else 0
    return WindowDataModule(command.dataset, size=size, cache=cache, frames_every=forced, portrait_first=True)


# -------------------------------------------------------------------------------- the Trainer
def make_trainer(command: TrainCommand, folder: Path, stage: Stage, data: ClipDataModule, engine: Engine) -> pl.Trainer:
    """Lightning's Trainer, whose steps are optimiser steps: of each stage's own number a batch."""
    config = command.trainer
    every = config.accumulate_grad_batches
    settings: dict[str, Any] = {
        "max_steps": stage.steps_per_batch * ceil(config.max_steps / every),
        "val_check_interval": config.val_check_interval,
        "check_val_every_n_epoch": None,  # the stream of batches has no epochs
        "limit_val_batches": config.limit_val_batches if len(data.val) else 0,
        "num_sanity_val_steps": 0,
        "log_every_n_steps": config.log_every_n_steps,
        "accumulate_grad_batches": every if stage.automatic_optimization else 1,  # with two optimisers the stage counts for itself
        "limit_test_batches": config.limit_test_batches if len(data.test) else 0,
        "overfit_batches": config.overfit_batches,
        "profiler": _profiler(config.profiler, folder),
        "gradient_clip_val": (command.stage.optimiser.clip_norm or None) if stage.automatic_optimization else None,
        "precision": config.precision,
        "accelerator": config.accelerator,
        "deterministic": config.deterministic,
        "fast_dev_run": config.fast_dev_run,
        "use_distributed_sampler": False,  # the order is laid out for all processes already
        "enable_model_summary": False,
        "enable_progress_bar": config.progress_bar,
        "logger": False,  # the first process gets one, once it knows that it is the first
        "callbacks": _callbacks(command, folder, stage, data, engine),
        "default_root_dir": folder,
        **_processes(command, stage),
    }
    return pl.Trainer(**(settings | engine.settings))


def _profiler(name: str, folder: Path) -> Profiler | None:
    """Writes `fit-profile.txt` to the run's folder."""
    if not name:
        return None
    kinds: dict[str, Any] = {"simple": SimpleProfiler, "advanced": AdvancedProfiler}
    if name not in kinds:
        raise ConfigError(f"trainer.profiler={name} is not a choice", hint=f"trainer.profiler can be {', '.join(kinds)}")
    profiler: Profiler = kinds[name](dirpath=folder, filename="profile")
    return profiler


def _processes(command: TrainCommand, stage: Stage) -> dict[str, Any]:
    """How many processes, and how they talk to each other."""
    config = command.trainer
    devices, nodes = config.devices, config.num_nodes
    if command.cluster.name == "torchrun" and "LOCAL_WORLD_SIZE" in os.environ:
        devices = int(os.environ["LOCAL_WORLD_SIZE"])
        nodes = int(os.environ["WORLD_SIZE"]) // devices
    ddp = "ddp" if stage.automatic_optimization else "ddp_find_unused_parameters_true"  # two optimisers: each step uses a half
    strategy = ddp if devices * nodes > 1 else "auto"
    return {"devices": devices, "num_nodes": nodes, "strategy": strategy, "sync_batchnorm": config.sync_batchnorm}


def _logger(command: TrainCommand, run_id: str) -> Any:
    from pytorch_lightning.loggers import MLFlowLogger

    return MLFlowLogger(tracking_uri=registry.tracking_uri(command.logger), run_id=run_id)


def _callbacks(command: TrainCommand, folder: Path, stage: Stage, data: ClipDataModule, engine: Engine) -> list[Callback]:
    config, dirpath = command.trainer, folder / "checkpoints"
    callbacks: list[Callback] = []
    if not config.fast_dev_run:
        callbacks.append(engine.keeper(dirpath / LAST, every=config.checkpoint_every_n_steps))
    if len(data.val) and not config.fast_dev_run:
        best = ModelCheckpoint(
            dirpath=dirpath,
            filename=CHECKPOINT_NAME,
            monitor=stage.monitor,
            mode=stage.mode,
            save_top_k=config.save_top_k,
            save_on_train_epoch_end=False,
        )
        callbacks += [best, Pictures(folder, partial(_log_picture, command, folder), media.write_video)]
    if command.stage.ema_decay:
        callbacks.append(EMAWeightAveraging(decay=command.stage.ema_decay))
    if config.progress_bar:
        callbacks.append(Progress(stage.name, config.max_steps))
    return callbacks


# -------------------------------------------------------------------------------- around it
def _validated(trainer: pl.Trainer, stage: Stage, data: ClipDataModule, command: TrainCommand) -> dict[str, float]:
    """The metrics of the final weights."""
    if len(data.val) and command.trainer.max_steps % command.trainer.val_check_interval:
        trainer.validate(stage, datamodule=data, verbose=False)
    return {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("val/")}


def _tested(trainer: pl.Trainer, stage: Stage, data: ClipDataModule, command: TrainCommand) -> dict[str, float]:
    """The stage's metrics on the test split, if they are asked for and there is one."""
    if not command.test or not len(data.test) or command.trainer.fast_dev_run:
        return {}
    trainer.test(stage, datamodule=data, verbose=False)
    return {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("test/")}


def tested(command: TrainCommand, result: TrainResult) -> TrainResult:
    """A run that has ended, measured on the test split; what was measured before stands."""
    if any(name.startswith("test/") for name in result.metrics):
        return result
    data, stage = make_data(command), make_stage(command)
    network, _ = load(result.weights, stage.name)
    stage.trained.load_state_dict(network.state_dict())
    with _quiet():
        trainer = make_trainer(command, result.folder, stage, data, LIGHTNING)
        if trainer.is_global_zero:
            trainer.logger = _logger(command, result.run_id)
        result = replace(result, metrics=result.metrics | _tested(trainer, stage, data, command))
    if trainer.is_global_zero:
        _write(result.folder / RESULT, {**asdict(result), "identity": identity(command)})
    return result


def _open_run(command: TrainCommand, folder: Path, data: ClipDataModule) -> str:
    """The tracking store's run of this folder: a new one, or the one that is being resumed."""
    path = folder / RUN
    if path.exists():
        return str(json.loads(path.read_text())["run_id"])
    tags = {"dataset_fingerprint": data.fingerprint, "config_hash": identity(command), "stage": command.stage.name}
    tags[DESCRIPTION] = describe(command, train=data.train, val=data.val, test=data.test)
    run_id = registry.open_run(command.logger, run_name=folder.name, tags=tags, params=asdict(command))
    registry.log_dataset(run_id, command.dataset.path, data.fingerprint, logger=command.logger)
    folder.mkdir(parents=True, exist_ok=True)
    _write(path, {"run_id": run_id, "config": asdict(command)})
    return run_id


def _log_picture(command: TrainCommand, folder: Path, picture: Path) -> None:
    registry.log_artifacts(json.loads((folder / RUN).read_text())["run_id"], picture, logger=command.logger, folder=picture.parent.name)


def _finish(command: TrainCommand, stage: Stage, data: ClipDataModule, result: TrainResult) -> TrainResult:
    """Save the weights, register them, and say that the run is finished."""
    save(stage.trained, stage.name, command.networks, result.folder)
    uri = ""
    if command.register:
        tags = {"dataset_fingerprint": data.fingerprint, "config_hash": identity(command)}
        version = registry.register_stage(
            result.folder,
            stage.name,
            run_id=result.run_id,
            tags=tags,
            logger=command.logger,
            identities=data.train.identities,
            origin=read_origin(command.dataset.path, data.fingerprint, split="train"),
        )
        uri = version.uri
    result = replace(result, model_uri=uri)
    _write(result.folder / RESULT, {**asdict(result), "identity": identity(command)})
    return result


def _write(path: Path, values: dict[str, Any]) -> None:
    aside = path.with_suffix(".part")
    aside.write_text(json.dumps(values, indent=1, default=str) + "\n")
    aside.replace(path)


@contextmanager
def _quiet() -> Iterator[None]:
    """Lightning without its tips, and without warnings that say nothing to our user."""
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        for message in IGNORED:
            warnings.filterwarnings("ignore", message=message)
        warnings.filterwarnings(
            "ignore", category=DeprecationWarning, module=r"(mlflow|sqlalchemy)\b"
        )  # of each other, in Lightning's logger
        yield


# -------------------------------------------------------------------------------- Ray Train
def _train_on_ray(command: TrainCommand, folder: Path) -> TrainResult:
    """Train on a Ray cluster: `cluster.workers` processes, all restarted from the last checkpoint when one is lost.

    Checkpoints travel through `cluster.storage_path`, so the nodes need no other folder in common; the run's own folder is on the first
    worker's node.

    Raises:
        ClusterError: if it failed more often than `cluster.max_failures`.
    """
    make_data(command).clips_per_batch(command.cluster.workers)  # what the user got wrong is told here, not after restarts
    with cluster.session(command.cluster, cache=Path(command.paths.cache)):
        from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
        from ray.train.torch import TorchTrainer

        config = command.cluster
        resources = {"CPU": config.cpus_per_worker} | ({"GPU": config.gpus_per_worker} if config.gpus_per_worker else {})
        trainer = TorchTrainer(
            _ray_worker,
            train_loop_config={"command": command, "folder": folder},
            scaling_config=ScalingConfig(num_workers=config.workers, use_gpu=config.gpus_per_worker > 0, resources_per_worker=resources),
            run_config=RunConfig(
                name=folder.name,
                storage_path=config.storage_path or str(folder.parent / "ray"),
                failure_config=FailureConfig(max_failures=config.max_failures),
                checkpoint_config=CheckpointConfig(num_to_keep=KEPT_ON_RAY),
            ),
        )
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # Ray's own libraries of each other
                done = trainer.fit()
        except TrainingFailedError as error:
            raise ClusterError(
                f"the training {folder.name} failed: {error}", hint="the same command goes on from its last checkpoint"
            ) from error
    return _result(json.loads(done.metrics["result"]))


def _ray_worker(config: dict[str, Any]) -> None:
    """What each worker does; Ray has set up the process group."""
    import ray.train
    from ray.train.lightning import RayDDPStrategy, RayLightningEnvironment

    command, folder = config["command"], config["folder"]
    torch.set_num_threads(max(1, round(command.cluster.cpus_per_worker)))  # whatever the environment says: no more than its share
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is not None:
        with checkpoint.as_directory() as found:
            (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
            shutil.copy2(Path(found) / RAY_CHECKPOINT, folder / "checkpoints" / LAST)
    settings = {
        "strategy": RayDDPStrategy(find_unused_parameters=command.stage.name == HeadPoseTraining.name),
        "plugins": [RayLightningEnvironment()],
        "accelerator": "gpu" if command.cluster.gpus_per_worker else "cpu",
        "devices": "auto",
        "num_nodes": 1,
        "enable_progress_bar": False,
    }
    result = fit(command, folder, Engine(settings=settings, keeper=RayCheckpoint))
    _report({"result": json.dumps(asdict(result), default=str)}, result.checkpoint)  # Ray keeps no metrics without a checkpoint


class RayCheckpoint(LastCheckpoint):
    """Hands each last checkpoint to Ray Train as well: `checkpoint_00000X/checkpoint.ckpt`."""

    def save(self, trainer: pl.Trainer) -> None:
        super().save(trainer)
        _report({"step": batches_done(trainer)}, self.path)


def _report(metrics: dict[str, Any], path: Path) -> None:
    """What every worker must do as often as the others; the first one brings the checkpoint."""
    import ray.train

    if ray.train.get_context().get_world_rank():
        ray.train.report(metrics)
        return
    with TemporaryDirectory() as aside:
        shutil.copy2(path, Path(aside) / RAY_CHECKPOINT)
        ray.train.report(metrics, checkpoint=ray.train.Checkpoint.from_directory(aside))
