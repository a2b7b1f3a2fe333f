"""A run: its folder, what is known of it while it lasts, and what it left behind."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from a2h_models.errors import ConfigError
from a2h_models.networks import save
from a2h_models.training.base import TrainingModule
from pipelines.config import config_hash
from pipelines.config.training import TrainCommand
from pipelines.core.files import write_text
from pipelines.core.hashing import sha256_of_text
from pipelines.dataset.datamodules import ClipDataModule
from pipelines.registry import ModelRegistry
from pipelines.tracking import Tracker
from pipelines.training.run_description import DESCRIPTION, describe

RESULT, RUN = "result.json", "run.json"
IDENTITY_DIGITS = 16  # of a run's hash, in the name of its folder


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


def identity(command: TrainCommand) -> str:
    """Hash of everything that decides what a training ends with; where it runs and logs does not."""
    parts = (command.dataset, command.stage, command.networks, command.trainer)
    return sha256_of_text("".join(map(config_hash, parts)), digits=IDENTITY_DIGITS)


def run_folder(command: TrainCommand) -> Path:
    return Path(command.paths.runs).absolute() / (command.run_name or f"{command.stage.name}-{identity(command)}")


def finished(command: TrainCommand, folder: Path) -> TrainResult | None:
    """The result of a run that has ended under the same settings.

    Raises:
        ConfigError: if the folder holds a run that cannot be gone on with: `resume=false`, or of
            other networks.
    """
    if not command.resume and (folder / RUN).exists():
        raise ConfigError(
            f"{folder} holds a run already", hint="choose another run_name, or say resume=true to go on with it"
        )
    _check_same_networks(command, folder)
    if not (folder / RESULT).exists() or command.trainer.fast_dev_run:
        return None
    values: dict[str, Any] = json.loads((folder / RESULT).read_text())
    if values.pop("identity") != identity(command) or (command.register and not values["model_uri"]):
        return None
    return read_result(values)


def _check_same_networks(command: TrainCommand, folder: Path) -> None:
    """Weights of other networks cannot be resumed; the settings of a training may change on the
    way.
    """
    if not (folder / RUN).exists():
        return
    theirs = json.loads((folder / RUN).read_text())["config"]
    ours = json.loads(json.dumps({"networks": asdict(command.networks), "stage": command.stage.name}))
    if theirs["networks"] != ours["networks"] or theirs["stage"]["name"] != ours["stage"]:
        raise ConfigError(
            f"{folder} holds a run of {theirs['stage']['name']} with other networks",
            hint="choose another run_name, or the scale that it was begun with",
        )


def read_result(values: dict[str, Any]) -> TrainResult:
    """From plain values, as they come out of JSON."""
    paths: dict[str, Any] = {name: Path(values[name]) for name in ("folder", "checkpoint", "weights")}
    return TrainResult(**(values | paths))


def open_run(command: TrainCommand, folder: Path, data: ClipDataModule) -> str:
    """The tracking store's run of this folder: a new one, or the one that is being resumed."""
    path = folder / RUN
    if path.exists():
        return str(json.loads(path.read_text())["run_id"])
    tags = {"dataset_fingerprint": data.fingerprint, "config_hash": identity(command), "stage": command.stage.name}
    tags[DESCRIPTION] = describe(command, train=data.train, val=data.val, test=data.test)
    tracker = Tracker(command.logger)
    run_id = tracker.open_run(folder.name, tags=tags, params=asdict(command))
    tracker.log_dataset(run_id, command.dataset.path, data.fingerprint)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(path, {"run_id": run_id, "config": asdict(command)})
    return run_id


def log_picture(command: TrainCommand, folder: Path, picture: Path) -> None:
    run_id = json.loads((folder / RUN).read_text())["run_id"]
    Tracker(command.logger).log_artifacts(run_id, picture, folder=picture.parent.name)


def finish(command: TrainCommand, stage: TrainingModule, data: ClipDataModule, result: TrainResult) -> TrainResult:
    """Save the weights, register them, and say that the run is finished."""
    save(stage.trained, stage.name, command.networks, result.folder)
    uri = ""
    if command.register:
        tags = {"dataset_fingerprint": data.fingerprint, "config_hash": identity(command)}
        version = ModelRegistry.from_config(command.logger).register_stage(
            result.folder,
            stage.name,
            run_id=result.run_id,
            tags=tags,
            identities=data.train.identities,
            origin=data.origin(),
        )
        uri = version.uri
    result = replace(result, model_uri=uri)
    write_json(result.folder / RESULT, {**asdict(result), "identity": identity(command)})
    return result


def write_json(path: Path, values: dict[str, Any]) -> None:
    write_text(path, json.dumps(values, indent=1, default=str) + "\n")
