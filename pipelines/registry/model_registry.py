"""`ModelRegistry`: the registered models of a tracking server, their versions, files and aliases."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from a2h_models.errors import ConfigError, InputError, RegistryError
from pipelines.config import TrackingConfig
from pipelines.core.hashing import sha256_of_text
from pipelines.registry import provenance
from pipelines.registry.alias_lock import is_lock
from pipelines.registry.artifacts import check_files, file_hashes, weights_folder
from pipelines.registry.evaluations import (
    CLIPS_FILE,
    EVALUATION_TAG,
    METRICS_FILE,
    EvaluationResults,
    evaluation_runs,
    evaluation_tags,
    parse_evaluation,
)
from pipelines.registry.register import bundle_tags, stage_tags, write_bundle, write_stage
from pipelines.registry.versions import (
    BUNDLE,
    CHALLENGER,
    HELPER_MODELS,
    LATEST,
    SCHEME,
    STAGE_MODELS,
    ModelVersion,
    parse_uri,
)
from pipelines.tracking import Tracker, TrackingError
from pipelines.tracking.tracker import ALREADY_EXISTS, INVALID_VALUE, NOT_FOUND, Client

if TYPE_CHECKING:
    from pipelines.dataset.provenance import DatasetOrigin

PAGE = 100  # versions asked for in one request
KEY_DIGITS = 12  # of the hash in the name of a cached download
LATEST_STAGES = {stage: f"{SCHEME}{name}/{LATEST}" for stage, name in STAGE_MODELS.items()}


class ModelRegistry:
    """The registered models of a tracking server.

    Args:
        tracker: the server.
    """

    def __init__(self, tracker: Tracker) -> None:
        self.tracker = tracker

    @classmethod
    def from_config(cls, config: TrackingConfig) -> ModelRegistry:
        """The registry that a command's `logger` settings name."""
        return cls(Tracker(config))

    # --------------------------------------------------------------------------------- versions
    def find(self, uri: str) -> ModelVersion:
        """Look up `models:/name/7`, `models:/name/latest` or `models:/name@alias`.

        Raises:
            ConfigError: if the text is none of these.
            RegistryError: if there is no such model, version or alias.
        """
        name = parse_uri(uri)
        try:
            with self.tracker.session() as client:
                if name.alias:
                    return _version(client, client.get_model_version_by_alias(name.model, name.alias))
                if name.number:
                    return _version(client, client.get_model_version(name.model, name.number))
                version = _newest(client, f"name = '{name.model}'")
        except TrackingError as error:
            if error.code not in {NOT_FOUND, INVALID_VALUE}:
                raise  # the store itself has a problem
            raise RegistryError(
                f"{uri} is not in the registry: {error.cause}", hint="`a2h models` lists what is there"
            ) from error
        if version is None:
            raise RegistryError(
                f"{uri}: the registry has no version of {name.model}", hint="train or register one first"
            )
        return version

    def pin(self, uri: str) -> str:
        """Replace an alias or `latest` by the number of the version; return a folder's path as is.

        Raises:
            RegistryError: if there is no such version.
        """
        return self.find(uri).uri if uri.startswith(SCHEME) else uri

    def find_tagged(self, name: str, key: str, value: str) -> ModelVersion | None:
        """The newest version of a model that has a tag with a value."""
        with self.tracker.session() as client:
            return _newest(client, f"name = '{name}' and tags.{key} = '{value}'")

    def list_versions(self, name: str = "") -> list[tuple[ModelVersion, tuple[str, ...]]]:
        """Every version, or those of one model, with its aliases; by name, the newest first."""
        with self.tracker.session() as client:
            models = {model.name: model for model in _pages(client.search_registered_models)}
            return [
                (_version(client, version), _aliases_of(models[model].aliases, version.version))
                for model in sorted(models)
                if model == (name or model) and not is_lock(model)
                for version in sorted(
                    _pages(client.search_model_versions, filter_string=f"name = '{model}'"),
                    key=lambda version: -int(version.version),
                )
            ]

    def set_tags(self, version: ModelVersion, tags: Mapping[str, str]) -> None:
        """Set tags of a version."""
        with self.tracker.session() as client:
            for key, value in tags.items():
                client.set_model_version_tag(version.name, str(version.version), key, value)

    # ---------------------------------------------------------------------------------- aliases
    def aliases(self, version: ModelVersion) -> tuple[str, ...]:
        """The aliases of a version, sorted."""
        with self.tracker.session() as client:
            return _aliases_of(client.get_registered_model(version.name).aliases, version.version)

    def version_with_alias(self, name: str, alias: str) -> ModelVersion | None:
        """The version of a model that has an alias now."""
        with self.tracker.session() as client:
            number = client.get_registered_model(name).aliases.get(alias)
            return None if number is None else _version(client, client.get_model_version(name, number))

    def set_alias(self, version: ModelVersion, alias: str) -> None:
        """Give an alias to a version, without any check; `a2h promote` looks at gates first."""
        with self.tracker.session() as client:
            client.set_registered_model_alias(version.name, alias, str(version.version))

    def alias_and_tag(self, name: str, alias: str, tag: str) -> tuple[int | None, str]:
        """The number of the version that has an alias, and a tag of the model, in one request."""
        with self.tracker.session() as client:
            model = client.get_registered_model(name)
        number = model.aliases.get(alias)
        return (None if number is None else int(number)), str(model.tags.get(tag, ""))

    def set_model_tag(self, name: str, key: str, value: str) -> None:
        """Set a tag of a registered model."""
        with self.tracker.session() as client:
            client.set_registered_model_tag(name, key, value)

    # ------------------------------------------------------------------------------------ files
    def fetch(self, uri: str) -> Path:
        """Return the local folder with a version's weights, hashes checked; a folder as it is.

        Files of a local store are used where they are; those of a server are downloaded once, to
        `logger.cache`.

        Raises:
            InputError: if `uri` is a folder's path and the folder does not exist.
            RegistryError: if there is no such version, or a file is not what was registered.
        """
        if uri.startswith(SCHEME):
            return self.fetch_version(self.find(uri))
        folder = Path(uri)
        if not folder.is_dir():
            raise InputError(
                f"{uri} is neither a folder nor a model of the registry", hint="those are named models:/NAME/VERSION"
            )
        return folder

    def fetch_version(self, version: ModelVersion) -> Path:
        """Return the local folder with the weights of a version, hashes checked.

        Raises:
            RegistryError: if a file is not what was registered.
        """
        root = self.download(version)
        check_files(version, root)
        return weights_folder(root)

    def download(self, version: ModelVersion) -> Path:
        """Return the local folder with all files of a version, unchecked."""
        source = version.source.removeprefix("file://")
        if "://" not in source and ":/" not in source:
            return Path(source)
        config = self.tracker.config
        key = sha256_of_text(f"{config.tracking_uri} {version.source}", digits=KEY_DIGITS)
        target = Path(config.cache) / f"{version.name}-{version.version}-{key}"
        if not target.is_dir():
            target.parent.mkdir(parents=True, exist_ok=True)
            # a download that broke off leaves nothing under the final name
            with TemporaryDirectory(dir=target.parent) as folder:
                self.tracker.download(version.source, Path(folder)).rename(target)
        return target

    # --------------------------------------------------------------------------------- register
    def register_stage(
        self,
        folder: Path,
        stage: str,
        *,
        run_id: str,
        tags: Mapping[str, str],
        identities: Iterable[str] = (),
        origin: DatasetOrigin | None = None,
    ) -> ModelVersion:
        """Make trained weights a version of `a2h-<stage>`.

        Args:
            folder: holds `<stage>.safetensors`.
            stage: image_generator | motion_field | head_pose | sync_expert.
            run_id: the training run.
            tags: at least `dataset_fingerprint` and `config_hash`; the code's are added.
            identities: of the people whose clips were trained on; promotion refuses a version
                without.
            origin: sources and features of the training data; promotion refuses a version without.

        Raises:
            ConfigError: for a stage that does not exist.
            RegistryError: if the weights are missing or the registry refuses.
        """
        models = STAGE_MODELS | HELPER_MODELS
        if stage not in models:
            raise ConfigError(f"there is no stage {stage!r}", hint=f"one of {', '.join(models)}")
        tags = stage_tags(stage, tags)
        values = provenance.stage_provenance(stage, run_id, tags, identities, origin)
        with TemporaryDirectory() as files:
            write_stage(folder / f"{stage}.safetensors", Path(files), values, origin)
            return self.upload(models[stage], Path(files), run_id=run_id, tags=tags)

    def register_bundle(self, stages: Mapping[str, str] = LATEST_STAGES) -> ModelVersion:
        """Join three registered stages into a version of `audio2head`, the new `challenger`.

        It is an MLflow pyfunc whose code is this project, by reference.

        Args:
            stages: stage → URI of its version; default: the latest of each.

        Raises:
            RegistryError: if a stage cannot be fetched or the stages do not fit each other.
        """
        versions = {stage: self.find(uri) for stage, uri in stages.items()}
        folders = {stage: self.fetch_version(version) for stage, version in versions.items()}
        tags = bundle_tags(versions)
        params = {stage: version.uri for stage, version in versions.items()}
        run_id = self.tracker.open_run(f"register {BUNDLE}", tags=tags, params=params)
        with TemporaryDirectory() as target:
            files = write_bundle(folders, Path(target), run_id=run_id, tags=tags)
            version = self.upload(BUNDLE, files, run_id=run_id, tags=tags)
        self.set_alias(version, CHALLENGER)
        self.tracker.close_run(run_id)
        return version

    def upload(self, name: str, folder: Path, *, run_id: str, tags: Mapping[str, str]) -> ModelVersion:
        """Make a folder of files the next version of a registered model, tagged with its hashes."""
        hashes = file_hashes(folder)
        model = self.tracker.log_model(run_id, name, folder)
        self._ensure_model(name)
        tags = {**tags, "sha256": json.dumps(hashes, sort_keys=True), "model_id": model.model_id}
        with self.tracker.session() as client:
            return _version(
                client,
                client.create_model_version(name, model.location, run_id=run_id, model_id=model.model_id, tags=tags),
            )

    def _ensure_model(self, name: str) -> None:
        try:
            with self.tracker.session() as client:
                client.get_registered_model(name)
        except TrackingError as error:
            if error.code != NOT_FOUND:
                raise
            self._create_model(name)

    def _create_model(self, name: str) -> None:
        try:
            with self.tracker.session() as client:
                client.create_registered_model(name)
        except TrackingError as error:
            if error.code != ALREADY_EXISTS:  # another process was faster
                raise

    # ------------------------------------------------------------------------------ evaluations
    def record_evaluation(self, uri: str, *, set_id: str, run_id: str) -> None:
        """Tag a version with the run that holds its numbers on an evaluation set.

        The run must have `metrics.json` among its artifacts.
        """
        self.set_tags(self.find(uri), evaluation_tags(set_id, run_id))

    def read_evaluation(self, version: ModelVersion, *, set_id: str = "") -> EvaluationResults | None:
        """Read a version's numbers on an evaluation set; None where there are none.

        Args:
            version: which.
            set_id: of the set; empty: the one that it was last evaluated on.

        Raises:
            RegistryError: if the run's `metrics.json` or `metrics.parquet` is gone or damaged.
        """
        run_id = evaluation_runs(version).get(set_id or version.tags.get(EVALUATION_TAG, ""))
        if not run_id:
            return None
        files = self.tracker.read_artifacts(run_id, (METRICS_FILE, CLIPS_FILE))
        return parse_evaluation(run_id, files, self.tracker.read_metrics(run_id))


# ------------------------------------------------------------------------------- MLflow's entities
def _version(client: Client, entity: Any) -> ModelVersion:
    return ModelVersion(
        name=str(entity.name),
        version=int(entity.version),
        run_id=str(entity.run_id or ""),
        source=str(client.get_model_version_download_uri(entity.name, str(entity.version))),
        tags={str(key): str(value) for key, value in entity.tags.items()},
        created_ms=int(entity.creation_timestamp or 0),
    )


def _newest(client: Client, filter_string: str) -> ModelVersion | None:
    versions = client.search_model_versions(filter_string, max_results=1, order_by=["version_number DESC"])
    return _version(client, versions[0]) if versions else None


def _pages(search: Any, **arguments: Any) -> Iterator[Any]:
    token = None
    while True:
        page = search(max_results=PAGE, page_token=token, **arguments)
        yield from page
        token = page.token
        if not token:
            return


def _aliases_of(aliases: Mapping[str, Any], version: Any) -> tuple[str, ...]:
    return tuple(sorted(alias for alias, number in aliases.items() if int(number) == int(version)))
