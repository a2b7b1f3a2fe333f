"""Lightning's Trainer for one stage: its settings, its processes, what happens beside it."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from pytorch_lightning.profilers import AdvancedProfiler, Profiler, SimpleProfiler
from pytorch_lightning.utilities import rank_zero_only

from a2h_models.errors import ConfigError
from a2h_models.training.base import TrainingModule
from a2h_models.training.callbacks import BatchProgressBar, LastCheckpoint, LogPictures, WeightAveraging
from pipelines import media
from pipelines.config.training import TrainCommand, TrainerConfig
from pipelines.dataset.datamodules import ClipDataModule
from pipelines.tracking import Tracker
from pipelines.training.runs import log_picture

LAST = "last.ckpt"
CHECKPOINT_NAME = "{epoch:03d}-{step:08d}"

IGNORED = (  # warnings
    ".*`srun` command is available.*",  # on a machine with Slurm; cluster=slurm is the user's choice
    # a decoder beside the training threads slows both down; dataset.workers is the user's choice
    ".*does not have many workers.*",
    ".*Checkpoint directory .* exists and is not empty.*",  # a resumed run
    ".*LeafSpec.* is deprecated.*",  # Lightning 2.6 with torch 2.13
)


@dataclass(frozen=True, kw_only=True)
class Engine:
    """What starts and joins the processes of a training changes this much of it."""

    settings: dict[str, Any] = field(default_factory=dict)  # of the Trainer
    strategy: Callable[[TrainingModule], Any] | None = None  # instead of Lightning's
    keeper: type[LastCheckpoint] = LastCheckpoint


LIGHTNING = Engine()  # one process, its own DDP, torchrun or SLURM

# cluster=NAME → who started this process, and where it says how many there are on this machine and
# in all
STARTERS = {
    "torchrun": ("torchrun", "LOCAL_WORLD_SIZE", "WORLD_SIZE"),
    "slurm": ("srun", "SLURM_NTASKS_PER_NODE", "SLURM_NTASKS"),
}


def make_trainer(
    command: TrainCommand, folder: Path, stage: TrainingModule, data: ClipDataModule, engine: Engine
) -> pl.Trainer:
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
        # with two optimisers the stage counts for itself
        "accumulate_grad_batches": every if stage.automatic_optimization else 1,
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
    strategy = {"strategy": engine.strategy(stage)} if engine.strategy else {}
    return pl.Trainer(**(settings | engine.settings | strategy))


def _profiler(name: str, folder: Path) -> Profiler | None:
    """Writes `fit-profile.txt` to the run's folder."""
    if not name:
        return None
    kinds: dict[str, Any] = {"simple": SimpleProfiler, "advanced": AdvancedProfiler}
    if name not in kinds:
        raise ConfigError(
            f"trainer.profiler={name} is not a choice", hint=f"trainer.profiler can be {', '.join(kinds)}"
        )
    profiler: Profiler = kinds[name](dirpath=folder, filename="profile")
    return profiler


def _processes(command: TrainCommand, stage: TrainingModule) -> dict[str, Any]:
    """How many processes, and how they talk to each other."""
    config = command.trainer
    devices, nodes = started(command.cluster.name) or (config.devices, config.num_nodes)
    # two optimisers: each step uses a half
    ddp = "ddp" if stage.automatic_optimization else "ddp_find_unused_parameters_true"
    strategy = ddp if devices * nodes > 1 else "auto"
    # SLURM's job script starts a job again that was ended too early, and our own last checkpoint is
    # where it goes on
    plugins = [SLURMEnvironment(auto_requeue=False)] if command.cluster.name == "slurm" else []
    return {
        "devices": devices,
        "num_nodes": nodes,
        "strategy": strategy,
        "plugins": plugins,
        "sync_batchnorm": synchronised(config, stage),
    }


def started(cluster: str) -> tuple[int, int] | None:
    """How many processes torchrun or srun has started on each machine, and on how many; None where
    they are Lightning's to start.

    Raises:
        ConfigError: if this process was not started so.
    """
    if cluster not in STARTERS:
        return None
    starter, here, everywhere = STARTERS[cluster]
    for name in (here, everywhere):
        if name not in os.environ:
            raise ConfigError(
                f"cluster={cluster}, but {name} is not set: {starter} did not start this process",
                hint=f"start it by {starter}, as docs/how-to/clusters.md shows, or leave out cluster={cluster}",
            )
    devices = int(os.environ[here])
    return devices, int(os.environ[everywhere]) // devices


def is_first() -> bool:
    """Whether this is the process of many that speaks for all."""
    rank: int = getattr(rank_zero_only, "rank", 0)
    return rank == 0


def synchronised(config: TrainerConfig, stage: TrainingModule) -> bool:
    """Whether batch norm looks at the batches of all processes.

    Raises:
        ConfigError: on a CPU, where torch cannot.
    """
    if config.sync_batchnorm and (config.accelerator == "cpu" or not torch.cuda.is_available()):
        raise ConfigError("trainer.sync_batchnorm=true needs GPUs", hint="leave it out on CPUs")
    return config.sync_batchnorm and stage.synchronised_norms


def mlflow_logger(command: TrainCommand, run_id: str) -> Any:
    from pytorch_lightning.loggers import MLFlowLogger

    return MLFlowLogger(tracking_uri=Tracker(command.logger).uri, run_id=run_id)


def _callbacks(
    command: TrainCommand, folder: Path, stage: TrainingModule, data: ClipDataModule, engine: Engine
) -> list[Callback]:
    config, dirpath = command.trainer, folder / "checkpoints"
    callbacks: list[Callback] = []
    if command.stage.ema_decay:
        callbacks.append(WeightAveraging(decay=command.stage.ema_decay))
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
        callbacks += [best, LogPictures(folder, partial(log_picture, command, folder), media.write_video)]
    if config.progress_bar:
        callbacks.append(BatchProgressBar(stage.name, config.max_steps))
    return callbacks


@contextmanager
def quiet() -> Iterator[None]:
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
