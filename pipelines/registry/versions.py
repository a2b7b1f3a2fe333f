"""Registered models by name, their versions, and URIs of versions.

A URI is `models:/NAME/7`, `models:/NAME/latest` or `models:/NAME@ALIAS`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from a2h_models.errors import ConfigError

BUNDLE = "audio2head"
STAGE_MODELS = {
    "image_generator": "a2h-image-generator",
    "motion_field": "a2h-motion-field",
    "head_pose": "a2h-head-pose",
}
HELPER_MODELS = {"sync_expert": "a2h-sync-expert"}  # stages that are part of no bundle
CHAMPION = "champion"  # alias of the version that generates
CHALLENGER = "challenger"  # alias of the newest bundle: what `a2h promote` is for
LATEST = "latest"  # in a URI: the version with the highest number
SCHEME = "models:/"


@dataclass(frozen=True, kw_only=True)
class ModelVersion:
    """One version in the registry."""

    name: str
    version: int
    run_id: str  # the run that created it
    source: str  # where its files are
    tags: dict[str, str] = field(default_factory=dict)
    created_ms: int = 0  # since 1970, by the store's clock

    @property
    def uri(self) -> str:
        return f"{SCHEME}{self.name}/{self.version}"

    def __str__(self) -> str:
        return self.uri


class VersionName(NamedTuple):
    """A parsed URI: a model and one of alias, number, or neither (the latest)."""

    model: str
    alias: str = ""
    number: str = ""


def parse_uri(uri: str) -> VersionName:
    """Parse the URI of a version; its scheme may be left out.

    Raises:
        ConfigError: if the text is none.
    """
    path = uri.removeprefix(SCHEME).strip("/")
    model, _, alias = path.partition("@")
    if model and alias and "/" not in model:
        return VersionName(model, alias=alias)
    model, _, number = path.partition("/")
    if model and (number == LATEST or number.isdigit()):
        return VersionName(model, number="" if number == LATEST else number)
    raise ConfigError(
        f"{uri!r} names no version of a model",
        hint="say models:/NAME/VERSION, models:/NAME/latest or models:/NAME@ALIAS",
    )
