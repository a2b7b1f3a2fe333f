"""Registering: the three stages, and `audio2head`, the bundle that generates.

A version's files are safetensors, JSON and Parquet; nothing is pickled. Their SHA-256 stand in the
version's tags (`files.py`), and what is known of their origin lies beside them (`provenance.py`).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from a2h_models.errors import ConfigError, RegistryError
from pipelines.config import RegisterCommand, TrackingConfig
from pipelines.dataset.provenance import DatasetOrigin, as_table
from pipelines.registry import provenance
from pipelines.registry.artifacts import fetch, file_hashes
from pipelines.registry.versions import BUNDLE, CHALLENGER, JUDGE_MODELS, STAGE_MODELS, ModelVersion, find, version_of
from pipelines.tracking.tracker import UNKNOWN, close_run, code_tags, open_run, session

if TYPE_CHECKING:
    from mlflow import MlflowClient


def register_stage(
    folder: Path,
    stage: str,
    *,
    run_id: str,
    tags: Mapping[str, str],
    logger: TrackingConfig,
    identities: Iterable[str] = (),
    origin: DatasetOrigin | None = None,
) -> ModelVersion:
    """Make trained weights a version of `a2h-<stage>`.

    Args:
        folder: holds `<stage>.safetensors`.
        stage: image_generator | motion_field | head_pose | sync_expert.
        run_id: the training run.
        tags: at least `dataset_fingerprint` and `config_hash`; the code's are added.
        logger: where.
        identities: everybody whose clips were trained on; promotion refuses a version that does not
            say.
        origin: the training data's sources and features; promotion refuses a version that does not
            say.

    Raises:
        ConfigError: for a stage that does not exist.
        RegistryError: if the weights are missing or the registry refuses.
    """
    models = STAGE_MODELS | JUDGE_MODELS
    if stage not in models:
        raise ConfigError(f"there is no stage {stage!r}", hint=f"one of {', '.join(models)}")
    weights = folder / f"{stage}.safetensors"
    if not weights.is_file():
        raise RegistryError(f"{weights} does not exist, so there is nothing to register")
    tags = {**code_tags(), "dataset_fingerprint": UNKNOWN, "config_hash": UNKNOWN, **tags, "stage": stage}
    with TemporaryDirectory() as aside:
        shutil.copy2(weights, aside)
        values = provenance.of_stage(stage, run_id, tags, identities, origin)
        provenance.write(Path(aside), values, origin.sources if origin else as_table([]))
        return upload(models[stage], Path(aside), run_id=run_id, tags=tags, logger=logger)


def register_bundle(command: RegisterCommand) -> ModelVersion:
    """Join three registered stages into a version of `audio2head`: a pyfunc whose code is this
    project, by reference.

    Raises:
        RegistryError: if a stage cannot be fetched or the stages do not fit each other.
    """
    from pipelines.registry.pyfunc_packaging import save_pyfunc

    logger = command.logger
    uris = {
        "image_generator": command.image_generator,
        "motion_field": command.motion_field,
        "head_pose": command.head_pose,
    }
    parts = {stage: find(uri, logger) for stage, uri in uris.items()}
    folders = {stage: fetch(part.uri, logger) for stage, part in parts.items()}
    tags = _bundle_tags(parts)
    run_id = open_run(
        logger, run_name=f"register {BUNDLE}", tags=tags, params={stage: part.uri for stage, part in parts.items()}
    )
    with TemporaryDirectory() as aside:
        bundle = Path(aside) / "bundle"
        join(folders, bundle)
        values = provenance.of_bundle(
            run_id, tags, {stage: provenance.read_provenance(folder) for stage, folder in folders.items()}
        )
        provenance.write(
            bundle, values, provenance.join_sources([provenance.read_sources(folder) for folder in folders.values()])
        )
        saved = save_pyfunc(bundle, Path(aside) / "model")
        version = upload(BUNDLE, saved, run_id=run_id, tags=tags, logger=logger)
    with session(logger) as client:
        client.set_registered_model_alias(BUNDLE, CHALLENGER, str(version.version))
    close_run(run_id, logger=logger)
    return version


def join(folders: Mapping[str, Path], bundle: Path) -> None:
    """Load the three stages strictly and write them as one bundle, so that what does not fit is
    found here and not in production.
    """
    from a2h_models.inference.animator import Animator
    from a2h_models.networks import HeadPose, ImageGenerator, MotionField, load

    image_generator, config = load(folders["image_generator"], "image_generator")
    motion_field, other = load(folders["motion_field"], "motion_field")
    head_pose, another = load(folders["head_pose"], "head_pose")
    if not config == other == another:
        raise RegistryError(
            "the three stages were trained with different networks", hint="register stages of one scale"
        )
    assert isinstance(image_generator, ImageGenerator)
    assert isinstance(motion_field, MotionField)
    assert isinstance(head_pose, HeadPose)
    Animator(image_generator, motion_field, head_pose, config).save(bundle)


def _bundle_tags(parts: Mapping[str, ModelVersion]) -> dict[str, str]:
    """The code's state is the worst of the parts' and of the joining; what differs between stages
    is joined by commas.
    """
    tags = code_tags()
    every = [part.tags for part in parts.values()]
    for key in ("dataset_fingerprint", "config_hash"):
        tags[key] = ",".join(dict.fromkeys(part.get(key, UNKNOWN) for part in every))
    tags["schema_version"] = ",".join(dict.fromkeys(part.get("schema_version", UNKNOWN) for part in every))
    tags["training_git_sha"] = ",".join(dict.fromkeys(part.get("git_sha", UNKNOWN) for part in every))
    tags["code_clean"] = str(all(part.get("code_clean") == "true" for part in [*every, tags])).lower()
    return {**tags, **{stage: part.uri for stage, part in parts.items()}}


def upload(name: str, folder: Path, *, run_id: str, tags: Mapping[str, str], logger: TrackingConfig) -> ModelVersion:
    """Upload a folder as a logged model of the run, and make it the next version of a registered
    model.
    """
    hashes = file_hashes(folder)
    with session(logger) as client:
        from mlflow.entities import LoggedModelOutput

        run = client.get_run(run_id)
        model = client.create_logged_model(run.info.experiment_id, name=name, source_run_id=run_id)
        client.log_model_artifacts(model.model_id, str(folder))
        client.finalize_logged_model(model.model_id, "READY")
        client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
        _ensure_model(client, name)
        made = client.create_model_version(
            name,
            model.artifact_location,
            run_id=run_id,
            model_id=model.model_id,
            tags={**tags, "sha256": json.dumps(hashes, sort_keys=True), "model_id": model.model_id},
        )
        return version_of(client, made)


def _ensure_model(client: MlflowClient, name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.get_registered_model(name)
    except MlflowException:
        try:
            client.create_registered_model(name)
        except MlflowException:  # another process was faster
            client.get_registered_model(name)
