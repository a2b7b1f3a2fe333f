"""One process of a training, one of possibly many; and what is measured when it has ended."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import pytorch_lightning as pl

from a2h_models.networks import load
from a2h_models.training.base import TESTED, TrainingModule
from a2h_models.training.callbacks import batches_done
from pipelines.config.training import ImageGeneratorStage, MotionFieldStage, SyncExpertStage, TrainCommand
from pipelines.dataset.datamodules import ClipDataModule, PairDataModule, WindowDataModule
from pipelines.dataset.mouth_windows import MouthDataModule
from pipelines.training.build import make_stage, teacher
from pipelines.training.keypoints import hash_of
from pipelines.training.runs import RESULT, TrainResult, finish, identity, open_run, write_json
from pipelines.training.trainer import LAST, LIGHTNING, Engine, make_trainer, mlflow_logger, quiet

PREFIXES = tuple(f"{name}/" for name in TESTED)  # of the metrics of a test


def fit(command: TrainCommand, folder: Path, engine: Engine = LIGHTNING) -> TrainResult:
    """Train in this process, one of possibly many."""
    pl.seed_everything(command.trainer.seed, verbose=False)
    data = make_data(command)
    stage = make_stage(command)
    last = folder / "checkpoints" / LAST
    dry = command.trainer.fast_dev_run
    with quiet():
        trainer = make_trainer(command, folder, stage, data, engine)
        run_id = open_run(command, folder, data) if trainer.is_global_zero and not dry else ""
        if run_id:
            trainer.logger = mlflow_logger(command, run_id)
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
    return finish(command, stage, data, result) if run_id else result


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
            command.dataset,
            size=size,
            cache=cache,
            frames_every=int(bool(look)),
            portrait_first=False,
            detector=detector,
        )
    if isinstance(command.stage, SyncExpertStage):
        return MouthDataModule(command.dataset, size=command.networks.sync_expert.size, cache=cache)
    forced = command.stage.forced_every if command.stage.forced_until else 0
    return WindowDataModule(command.dataset, size=size, cache=cache, frames_every=forced, portrait_first=True)


def _validated(
    trainer: pl.Trainer, stage: TrainingModule, data: ClipDataModule, command: TrainCommand
) -> dict[str, float]:
    """The metrics of the final weights."""
    if len(data.val) and command.trainer.max_steps % command.trainer.val_check_interval:
        trainer.validate(stage, datamodule=data, verbose=False)
    return {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("val/")}


def _tested(
    trainer: pl.Trainer, stage: TrainingModule, data: ClipDataModule, command: TrainCommand
) -> dict[str, float]:
    """The stage's metrics on the test split, if they are asked for and there is one."""
    if not command.test or not len(data.test) or command.trainer.fast_dev_run:
        return {}
    trainer.test(stage, datamodule=data, verbose=False)
    return {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith(PREFIXES)}


def tested(command: TrainCommand, result: TrainResult) -> TrainResult:
    """A run that has ended, measured on the test split; what was measured before stands."""
    if any(name.startswith(PREFIXES) for name in result.metrics):
        return result
    data, stage = make_data(command), make_stage(command)
    network, _ = load(result.weights, stage.name)
    stage.trained.load_state_dict(network.state_dict())
    with quiet():
        trainer = make_trainer(command, result.folder, stage, data, LIGHTNING)
        if trainer.is_global_zero:
            trainer.logger = mlflow_logger(command, result.run_id)
        result = replace(result, metrics=result.metrics | _tested(trainer, stage, data, command))
    if trainer.is_global_zero:
        write_json(result.folder / RESULT, {**asdict(result), "identity": identity(command)})
    return result
