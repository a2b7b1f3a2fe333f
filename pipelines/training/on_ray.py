"""Ray Train: the same training as processes on a cluster, restarted from the last checkpoint when
one is lost.
"""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytorch_lightning as pl
import torch

from a2h_models.errors import A2HError, ClusterError
from a2h_models.training.callbacks import LastCheckpoint, batches_done
from pipelines.config.training import TrainCommand
from pipelines.execution import pool
from pipelines.training.fit import fit, make_data
from pipelines.training.runs import TrainResult, read_result
from pipelines.training.trainer import LAST, Engine

RAY_CHECKPOINT = "checkpoint.ckpt"  # Ray Train's own name for it
KEPT_ON_RAY = 2  # checkpoints


def train_on_ray(command: TrainCommand, folder: Path) -> TrainResult:
    """Train on a Ray cluster: `cluster.workers` processes, all restarted from the last checkpoint
    when one is lost.

    Checkpoints travel through `cluster.storage_path`, so the nodes need no other folder in common;
    the run's own folder is on the first worker's node.

    Raises:
        A2HError: what a worker raised, if that is one of ours: a damaged sample, a loss that is no
            number, …
        ClusterError: if it failed otherwise, more often than `cluster.max_failures`.
    """
    # what the user got wrong is told here, not after restarts
    make_data(command).clips_per_batch(command.cluster.workers)
    with pool.session(command.cluster, cache=Path(command.paths.cache)):
        from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
        from ray.train.torch import TorchTrainer

        config = command.cluster
        resources = {"CPU": config.cpus_per_worker} | (
            {"GPU": config.gpus_per_worker} if config.gpus_per_worker else {}
        )
        trainer = TorchTrainer(
            _ray_worker,
            train_loop_config={"command": command, "folder": folder},
            scaling_config=ScalingConfig(
                num_workers=config.workers, use_gpu=config.gpus_per_worker > 0, resources_per_worker=resources
            ),
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
            failed = ClusterError(
                f"the training {folder.name} failed: {error}", hint="the same command goes on from its last checkpoint"
            )
            raise next(_ours(error), failed) from error
    return read_result(json.loads(done.metrics["result"]))


def _ours(error: Exception) -> Iterator[A2HError]:
    """Those of the workers' errors that we foresaw, out of Ray's wrapping."""
    for failure in getattr(error, "worker_failures", {}).values():
        cause = getattr(failure, "_base_exc", failure)
        if isinstance(cause, A2HError):
            yield cause


def _ray_worker(config: dict[str, Any]) -> None:
    """What each worker does; Ray has set up the process group."""
    import ray.train
    from ray.train.lightning import RayDDPStrategy, RayLightningEnvironment

    command, folder = config["command"], config["folder"]
    # whatever the environment says: no more than its share
    torch.set_num_threads(max(1, round(command.cluster.cpus_per_worker)))
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is not None:
        with checkpoint.as_directory() as found:
            (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
            shutil.copy2(Path(found) / RAY_CHECKPOINT, folder / "checkpoints" / LAST)
    settings = {
        "plugins": [RayLightningEnvironment()],
        "accelerator": "gpu" if command.cluster.gpus_per_worker else "cpu",
        "devices": "auto",
        "num_nodes": 1,
        "enable_progress_bar": False,
    }
    engine = Engine(
        settings=settings,
        strategy=lambda stage: RayDDPStrategy(find_unused_parameters=not stage.automatic_optimization),
        keeper=RayCheckpoint,
    )
    result = fit(command, folder, engine)
    # Ray keeps no metrics without a checkpoint
    _report({"result": json.dumps(asdict(result), default=str)}, result.checkpoint)


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
