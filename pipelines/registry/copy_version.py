"""A version from one registry to another, for example from staging to production: files, tags,
evaluations; hashes checked on arrival.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from a2h_models.errors import ConfigError
from pipelines.config import TrackingConfig
from pipelines.config.promotion import CopyCommand
from pipelines.registry.artifacts import check, download
from pipelines.registry.evaluations import EVALUATION_TAG, evaluation_runs
from pipelines.registry.register import upload
from pipelines.registry.versions import ModelVersion, find
from pipelines.tracking.tracker import close_run, log_artifacts, open_run, public, session, tracking_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient

OF_THE_STORE = frozenset({"sha256", "model_id", "promotion_alias"})  # tags that the other store gets anew


def copy(command: CopyCommand) -> ModelVersion:
    """Copy a version, with the run that made it and the runs of its evaluations. No alias moves
    there: that is for `a2h promote`.

    Raises:
        ConfigError: if both registries are the same.
        RegistryError: if a registry refuses or cannot be reached, or a file is not what was
            registered.
    """
    here = command.logger
    there = replace(here, tracking_uri=command.to, artifacts=command.to_artifacts or here.artifacts)
    if tracking_uri(here) == tracking_uri(there):
        raise ConfigError(
            f"to={public(command.to)} is the registry that {command.model} is in", hint="say another tracking URI"
        )
    version = find(command.model, here)
    files = download(version, here)
    check(version, files)
    run_id = _copy_run(version.run_id, here, there)
    runs = {set_id: _copy_run(found, here, there) for set_id, found in evaluation_runs(version).items()}
    origin = f"{version.uri} of {public(tracking_uri(here))}"
    kept = {key: value for key, value in version.tags.items() if key not in OF_THE_STORE}
    moved = {f"{EVALUATION_TAG}.{set_id}": found for set_id, found in runs.items()}
    made = upload(version.name, files, run_id=run_id, tags={**kept, **moved, "copied_from": origin}, logger=there)
    check(replace(made, tags={**made.tags, "sha256": version.tags["sha256"]}), download(made, there))
    return made


def _copy_run(run_id: str, here: TrackingConfig, there: TrackingConfig) -> str:
    """A run of the other registry with the same name, parameters, metrics and files."""
    with session(here) as client:
        run = client.get_run(run_id)
        tags = {key: value for key, value in run.data.tags.items() if not key.startswith("mlflow.")}
    made = open_run(
        there, run_name=str(run.info.run_name), tags={**tags, "copied_from": run_id}, params=run.data.params
    )
    with session(there) as client:
        _copy_metrics(client, made, run.data.metrics)
    with TemporaryDirectory() as aside:
        with session(here) as client:
            for file in client.list_artifacts(run_id):
                client.download_artifacts(run_id, file.path, aside)
        if any(Path(aside).iterdir()):
            log_artifacts(made, Path(aside), logger=there)
    close_run(made, logger=there)
    return made


def _copy_metrics(client: MlflowClient, run_id: str, metrics: dict[str, float]) -> None:
    """The last value of each; the curves stay where they were drawn."""
    from time import time

    from mlflow.entities import Metric

    now = int(time() * 1000)
    client.log_batch(run_id, metrics=[Metric(name, value, now, 0) for name, value in metrics.items()])
