"""A version from one registry to another, for example from staging to production.

Files, tags and evaluations are copied; hashes are checked on arrival.
"""

from __future__ import annotations

from dataclasses import replace

from a2h_models.errors import ConfigError
from pipelines.config import CopyCommand
from pipelines.core.secrets import mask_password
from pipelines.registry.artifacts import check_files
from pipelines.registry.evaluations import EVALUATION_TAG, evaluation_runs
from pipelines.registry.model_registry import ModelRegistry
from pipelines.registry.versions import ModelVersion

STORE_TAGS = frozenset({"sha256", "model_id", "promotion_alias"})  # that the other store sets anew


def copy(command: CopyCommand) -> ModelVersion:
    """Copy a version to the registry that a command names, with the runs that it refers to.

    No alias moves there: that is for `a2h promote`.

    Raises:
        ConfigError: if both registries are the same.
        RegistryError: if a registry refuses or cannot be reached, or a file is not what was
            registered.
    """
    config = command.logger
    source = ModelRegistry.from_config(config)
    target = ModelRegistry.from_config(
        replace(config, tracking_uri=command.to, artifacts=command.to_artifacts or config.artifacts)
    )
    if source.tracker.uri == target.tracker.uri:
        raise ConfigError(
            f"to={mask_password(command.to)} is the registry that {command.model} is in",
            hint="say another tracking URI",
        )
    return copy_version(source.find(command.model), source, target)


def copy_version(version: ModelVersion, source: ModelRegistry, target: ModelRegistry) -> ModelVersion:
    """Copy a version with the run that created it and the runs of its evaluations.

    Raises:
        RegistryError: if a registry refuses, or a file is not what was registered.
    """
    files = source.download(version)
    check_files(version, files)
    run_id = source.tracker.copy_run(version.run_id, target.tracker)
    evaluations = {
        f"{EVALUATION_TAG}.{set_id}": source.tracker.copy_run(evaluation, target.tracker)
        for set_id, evaluation in evaluation_runs(version).items()
    }
    kept = {key: value for key, value in version.tags.items() if key not in STORE_TAGS}
    origin = {"copied_from": f"{version.uri} of {source.tracker.public_uri}"}
    copied = target.upload(version.name, files, run_id=run_id, tags=kept | evaluations | origin)
    expected = replace(copied, tags=copied.tags | {"sha256": version.tags["sha256"]})
    check_files(expected, target.download(copied))
    return copied
