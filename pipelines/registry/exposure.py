"""Which registered models were trained on some videos: what `a2h remove` has to report."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from a2h_models.errors import RegistryError
from pipelines.registry.artifacts import weights_folder
from pipelines.registry.model_registry import ModelRegistry
from pipelines.registry.provenance import read_sources
from pipelines.registry.versions import ModelVersion


@dataclass(frozen=True, kw_only=True)
class ModelExposure:
    """A version that was trained on the videos, or may have been."""

    version: ModelVersion
    aliases: tuple[str, ...]
    certain: bool  # by the version's own list of source videos; else by the fingerprint of the dataset with them

    def __str__(self) -> str:
        name = f"{self.version} ({', '.join(self.aliases)})" if self.aliases else str(self.version)
        if self.certain:
            return name
        return f"{name}, by the dataset's fingerprint: the version has no list of its source videos"


def find_exposed_models(
    registry: ModelRegistry, sources: Collection[str], fingerprints: Collection[str]
) -> list[ModelExposure]:
    """Find every version that lists one of the videos.

    Of the versions without a list, every one counts whose dataset had the videos.

    Args:
        registry: to search.
        sources: SHA-256 of the videos.
        fingerprints: of the dataset, while it had them.

    Raises:
        RegistryError: if the registry cannot be reached.
    """
    exposed = []
    for version, aliases in registry.list_versions():
        listed = _listed_sources(registry, version)
        trained_on = set(version.tags.get("dataset_fingerprint", "").split(","))
        if listed & set(sources) or (not listed and trained_on & set(fingerprints)):
            exposed.append(ModelExposure(version=version, aliases=aliases, certain=bool(listed)))
    return exposed


def _listed_sources(registry: ModelRegistry, version: ModelVersion) -> set[str]:
    """The videos that a version lists; empty where its files are gone."""
    try:
        return set(read_sources(weights_folder(registry.download(version)))["sha256"].to_pylist())
    except (RegistryError, OSError):
        return set()
