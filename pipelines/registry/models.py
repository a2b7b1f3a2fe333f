"""Registered models: the three stages, and `audio2head`, the bundle that generates.

A version's files are safetensors and JSON. Their SHA-256 stand in the version's tags, and are checked whenever it is fetched.
Beside the weights lies `provenance.json`: which run made them, from which data, and who was seen in training.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from a2h_models.errors import ConfigError, InputError, RegistryError
from pipelines.config import LoggerConfig, RegisterCommand
from pipelines.registry.tracking import UNKNOWN, close_run, code_tags, open_run, session

if TYPE_CHECKING:
    from mlflow import MlflowClient

BUNDLE = "audio2head"
STAGE_MODELS = {"image_generator": "a2h-image-generator", "motion_field": "a2h-motion-field", "head_pose": "a2h-head-pose"}
CHALLENGER = "challenger"  # alias of the newest bundle: what `a2h promote` is for
LATEST = "latest"  # in a URI: the version with the highest number
SCHEME = "models:/"
PROVENANCE = "provenance.json"
BUNDLE_FOLDER = "data/bundle"  # where MLflow's pyfunc layout keeps ours
HASHED = ("*.safetensors", "*.json", "*.py", "MLmodel")  # of a version's files; the rest describes environments
LOADER = "pipelines.registry.served"  # the module that MLflow calls to load a bundle


@dataclass(frozen=True, kw_only=True)
class ModelVersion:
    """One version in the registry."""

    name: str
    version: int
    run_id: str  # the run that made it
    source: str  # where its files lie
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def uri(self) -> str:
        return f"{SCHEME}{self.name}/{self.version}"

    def __str__(self) -> str:
        return self.uri


# ---------------------------------------------------------------------------------------------------------------- registering
def register_stage(
    folder: Path,
    stage: str,
    *,
    run_id: str,
    tags: Mapping[str, str],
    logger: LoggerConfig,
    identities: Iterable[str] = (),
) -> ModelVersion:
    """Make trained weights a version of `a2h-<stage>`.

    Args:
        folder: holds `<stage>.safetensors`.
        stage: image_generator | motion_field | head_pose.
        run_id: the training run.
        tags: at least `dataset_fingerprint` and `config_hash`; the code's are added.
        logger: where.
        identities: everybody whose clips were trained on; promotion refuses a version that does not say.

    Raises:
        ConfigError: for a stage that does not exist.
        RegistryError: if the weights are missing or the registry refuses.
    """
    if stage not in STAGE_MODELS:
        raise ConfigError(f"there is no stage {stage!r}", hint=f"one of {', '.join(STAGE_MODELS)}")
    weights = folder / f"{stage}.safetensors"
    if not weights.is_file():
        raise RegistryError(f"{weights} does not exist, so there is nothing to register")
    tags = {**code_tags(), "dataset_fingerprint": UNKNOWN, "config_hash": UNKNOWN, **tags, "stage": stage}
    with TemporaryDirectory() as aside:
        shutil.copy2(weights, aside)
        _write_provenance(Path(aside), {"stage": stage, "run_id": run_id, "tags": tags, "identities": sorted(set(identities))})
        return _register(STAGE_MODELS[stage], Path(aside), run_id=run_id, tags=tags, logger=logger)


def register_bundle(command: RegisterCommand) -> ModelVersion:
    """Join three registered stages into a version of `audio2head`: a pyfunc whose code is this project, by reference.

    Raises:
        RegistryError: if a stage cannot be fetched or the stages do not fit each other.
    """
    logger = command.logger
    uris = {"image_generator": command.image_generator, "motion_field": command.motion_field, "head_pose": command.head_pose}
    parts = {stage: find(uri, logger) for stage, uri in uris.items()}
    folders = {stage: fetch(part.uri, logger) for stage, part in parts.items()}
    tags = _bundle_tags(parts)
    run_id = open_run(logger, run_name=f"register {BUNDLE}", tags=tags, params={stage: part.uri for stage, part in parts.items()})
    with TemporaryDirectory() as aside:
        bundle = Path(aside) / "bundle"
        join(folders, bundle)
        stages = {stage: read_provenance(folder) for stage, folder in folders.items()}
        _write_provenance(bundle, {"stages": stages, "run_id": run_id, "tags": tags, "identities": _union(stages.values())})
        saved = _save_pyfunc(bundle, Path(aside) / "model")
        version = _register(BUNDLE, saved, run_id=run_id, tags=tags, logger=logger)
    with session(logger) as client:
        client.set_registered_model_alias(BUNDLE, CHALLENGER, str(version.version))
    close_run(run_id, logger=logger)
    return version


def join(folders: Mapping[str, Path], bundle: Path) -> None:
    """Load the three stages strictly and write them as one bundle, so that what does not fit is found here and not in production."""
    from a2h_models.animator import Animator
    from a2h_models.networks import HeadPose, ImageGenerator, MotionField, load

    image_generator, config = load(folders["image_generator"], "image_generator")
    motion_field, other = load(folders["motion_field"], "motion_field")
    head_pose, another = load(folders["head_pose"], "head_pose")
    if not config == other == another:
        raise RegistryError("the three stages were trained with different networks", hint="register stages of one scale")
    assert isinstance(image_generator, ImageGenerator)
    assert isinstance(motion_field, MotionField)
    assert isinstance(head_pose, HeadPose)
    Animator(image_generator, motion_field, head_pose, config).save(bundle)


def _bundle_tags(parts: Mapping[str, ModelVersion]) -> dict[str, str]:
    """The code's state is the worst of the parts' and of the joining; what differs between stages is joined by commas."""
    tags = code_tags()
    every = [part.tags for part in parts.values()]
    for key in ("dataset_fingerprint", "config_hash"):
        tags[key] = ",".join(dict.fromkeys(part.get(key, UNKNOWN) for part in every))
    tags["training_git_sha"] = ",".join(dict.fromkeys(part.get("git_sha", UNKNOWN) for part in every))
    tags["code_clean"] = str(all(part.get("code_clean") == "true" for part in [*every, tags])).lower()
    return {**tags, **{stage: part.uri for stage, part in parts.items()}}


def _union(provenances: Iterable[Any]) -> list[str]:
    """Everybody seen by any stage; nobody if one stage does not say, so that promotion cannot be fooled by half of the truth."""
    lists = [provenance.get("identities", []) for provenance in provenances]
    return sorted({identity for identities in lists for identity in identities}) if all(lists) else []


def _save_pyfunc(bundle: Path, target: Path) -> Path:
    """Wrap a bundle as MLflow's pyfunc: the code is a module that is imported, the weights are safetensors; nothing is pickled."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        requirement = f"audio2head=={version('audio2head')}"
    except PackageNotFoundError:  # a checkout that was not installed
        requirement = "audio2head"
    from pipelines.registry.tracking import quiet

    with quiet():
        import mlflow.pyfunc
        from mlflow.models import ModelSignature
        from mlflow.types import ColSpec, DataType, Schema

        signature = ModelSignature(
            inputs=Schema([ColSpec(DataType.binary, "portrait"), ColSpec(DataType.binary, "speech")]),
            outputs=Schema([ColSpec(DataType.binary, "video")]),
        )
        mlflow.pyfunc.save_model(
            str(target),
            loader_module=LOADER,
            data_path=str(bundle),
            signature=signature,
            pip_requirements=[requirement],
        )
    return target


def _register(name: str, folder: Path, *, run_id: str, tags: Mapping[str, str], logger: LoggerConfig) -> ModelVersion:
    """Upload a folder as a logged model of the run, and make it the next version of a registered model."""
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
        return _version(client, made)


def _ensure_model(client: MlflowClient, name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.get_registered_model(name)
    except MlflowException:
        try:
            client.create_registered_model(name)
        except MlflowException:  # another process was faster
            client.get_registered_model(name)


# ---------------------------------------------------------------------------------------------------------------- finding
def find(uri: str, logger: LoggerConfig) -> ModelVersion:
    """The version that `models:/name/7`, `models:/name/latest` or `models:/name@alias` means; the scheme may be left out.

    Raises:
        ConfigError: if the text is none of these.
        RegistryError: if there is no such model, version or alias.
    """
    name, kind, which = _parse(uri)
    with session(logger) as client:
        from mlflow.exceptions import MlflowException

        try:
            if kind == "@":
                return _version(client, client.get_model_version_by_alias(name, which))
            if which == LATEST:
                versions = client.search_model_versions(f"name = '{name}'", max_results=1, order_by=["version_number DESC"])
                if not versions:
                    raise RegistryError(f"{uri}: the registry has no version of {name}", hint="train or register one first")
                return _version(client, versions[0])
            return _version(client, client.get_model_version(name, which))
        except MlflowException as error:
            raise RegistryError(f"{uri} is not in the registry: {_first_line(error)}", hint="`a2h register` makes versions") from error


def _parse(uri: str) -> tuple[str, str, str]:
    path = uri.removeprefix(SCHEME).strip("/")
    for mark in ("@", "/"):
        name, found, which = path.partition(mark)
        if found and name and which and "/" not in name and (mark == "@" or which == LATEST or which.isdigit()):
            return name, mark, which
    raise ConfigError(f"{uri!r} names no version of a model", hint="say models:/NAME/VERSION, models:/NAME/latest or models:/NAME@ALIAS")


def _version(client: MlflowClient, found: Any) -> ModelVersion:
    return ModelVersion(
        name=str(found.name),
        version=int(found.version),
        run_id=str(found.run_id or ""),
        source=str(client.get_model_version_download_uri(found.name, str(found.version))),
        tags={str(key): str(value) for key, value in found.tags.items()},
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


# ---------------------------------------------------------------------------------------------------------------- fetching
def fetch(uri: str, logger: LoggerConfig) -> Path:
    """The local folder with a version's weights, hashes checked; a folder's own path is given back as it is.

    Files of a local store are used where they lie; those of a server are downloaded once, to `logger.cache`.

    Raises:
        InputError: if `uri` is a folder's path and the folder does not exist.
        RegistryError: if there is no such version, or a file is not what was registered.
    """
    if not uri.startswith(SCHEME):
        folder = Path(uri)
        if not folder.is_dir():
            raise InputError(f"{uri} is neither a folder nor a model of the registry", hint="those are named models:/NAME/VERSION")
        return folder
    version = find(uri, logger)
    root = _download(version, logger)
    check(version, root)
    return root / BUNDLE_FOLDER if (root / BUNDLE_FOLDER).is_dir() else root


def _download(version: ModelVersion, logger: LoggerConfig) -> Path:
    source = version.source.removeprefix("file://")
    if "://" not in source and ":/" not in source:
        return Path(source)
    key = hashlib.sha256(f"{logger.tracking_uri} {version.source}".encode()).hexdigest()[:12]
    target = Path(logger.cache) / f"{version.name}-{version.version}-{key}"
    if target.is_dir():
        return target
    with session(logger) as client, TemporaryDirectory(dir=_made(target.parent)) as aside:
        import mlflow.artifacts

        whole = mlflow.artifacts.download_artifacts(artifact_uri=version.source, dst_path=aside, tracking_uri=client.tracking_uri)
        Path(whole).rename(target)  # a download that broke off leaves nothing under the final name
    return target


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def check(version: ModelVersion, root: Path) -> None:
    """Compare a version's files with the hashes of its registration.

    Raises:
        RegistryError: naming the first file that is missing, changed or new.
    """
    expected: dict[str, str] = json.loads(version.tags.get("sha256", "{}"))
    if not expected:
        raise RegistryError(f"{version} was registered without hashes", hint="register it again with this program")
    found = file_hashes(root)
    for name in sorted(expected.keys() | found.keys()):
        if name not in found:
            raise RegistryError(f"{version}: {root / name} is missing")
        if found[name] != expected.get(name):
            raise RegistryError(f"{version}: {root / name} is not the file that was registered", hint="restore it before use")


def file_hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of the files that matter, by path below the folder."""
    files = sorted({path for pattern in HASHED for path in folder.rglob(pattern)})
    return {path.relative_to(folder).as_posix(): _sha256(path) for path in files}


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


# ---------------------------------------------------------------------------------------------------------------- provenance
def _write_provenance(folder: Path, values: Mapping[str, Any]) -> None:
    (folder / PROVENANCE).write_text(json.dumps(values, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


def read_provenance(folder: Path) -> dict[str, Any]:
    """What is recorded beside the weights; empty where nothing is."""
    path = folder / PROVENANCE
    return dict(json.loads(path.read_text())) if path.is_file() else {}
