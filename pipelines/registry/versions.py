"""Which models there are, what a version is, and how it is named: `models:/NAME/7`,
`models:/NAME/latest`, `models:/NAME@ALIAS`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from a2h_models.errors import ConfigError, RegistryError
from pipelines.config import TrackingConfig
from pipelines.tracking.tracker import first_line, session

if TYPE_CHECKING:
    from mlflow import MlflowClient

BUNDLE = "audio2head"
STAGE_MODELS = {
    "image_generator": "a2h-image-generator",
    "motion_field": "a2h-motion-field",
    "head_pose": "a2h-head-pose",
}
JUDGE_MODELS = {"sync_expert": "a2h-sync-expert"}  # stages that are part of no bundle
CHAMPION = "champion"  # alias of the version that generates
CHALLENGER = "challenger"  # alias of the newest bundle: what `a2h promote` is for
LATEST = "latest"  # in a URI: the version with the highest number
SCHEME = "models:/"


@dataclass(frozen=True, kw_only=True)
class ModelVersion:
    """One version in the registry."""

    name: str
    version: int
    run_id: str  # the run that made it
    source: str  # where its files lie
    tags: dict[str, str] = field(default_factory=dict)
    created_ms: int = 0  # since 1970, by the store's clock

    @property
    def uri(self) -> str:
        return f"{SCHEME}{self.name}/{self.version}"

    def __str__(self) -> str:
        return self.uri


def find(uri: str, logger: TrackingConfig) -> ModelVersion:
    """The version that `models:/name/7`, `models:/name/latest` or `models:/name@alias` means; the
    scheme may be left out.

    Raises:
        ConfigError: if the text is none of these.
        RegistryError: if there is no such model, version or alias.
    """
    name, kind, which = _parse(uri)
    with session(logger) as client:
        from mlflow.exceptions import MlflowException

        try:
            if kind == "@":
                return version_of(client, client.get_model_version_by_alias(name, which))
            if which == LATEST:
                versions = client.search_model_versions(
                    f"name = '{name}'", max_results=1, order_by=["version_number DESC"]
                )
                if not versions:
                    raise RegistryError(
                        f"{uri}: the registry has no version of {name}", hint="train or register one first"
                    )
                return version_of(client, versions[0])
            return version_of(client, client.get_model_version(name, which))
        except MlflowException as error:
            if error.error_code not in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
                raise  # the store itself has a problem
            raise RegistryError(
                f"{uri} is not in the registry: {first_line(error)}", hint="`a2h models` lists what is there"
            ) from error


def version_with_alias(name: str, alias: str, logger: TrackingConfig) -> ModelVersion | None:
    """The version that has an alias now."""
    with session(logger) as client:
        versions = client.get_registered_model(name).aliases
        return version_of(client, client.get_model_version(name, versions[alias])) if alias in versions else None


def version_of(client: MlflowClient, found: Any) -> ModelVersion:
    """MLflow's entity as ours."""
    return ModelVersion(
        name=str(found.name),
        version=int(found.version),
        run_id=str(found.run_id or ""),
        source=str(client.get_model_version_download_uri(found.name, str(found.version))),
        tags={str(key): str(value) for key, value in found.tags.items()},
        created_ms=int(found.creation_timestamp or 0),
    )


def _parse(uri: str) -> tuple[str, str, str]:
    path = uri.removeprefix(SCHEME).strip("/")
    for mark in ("@", "/"):
        name, found, which = path.partition(mark)
        if found and name and which and "/" not in name and (mark == "@" or which == LATEST or which.isdigit()):
            return name, mark, which
    raise ConfigError(
        f"{uri!r} names no version of a model",
        hint="say models:/NAME/VERSION, models:/NAME/latest or models:/NAME@ALIAS",
    )
