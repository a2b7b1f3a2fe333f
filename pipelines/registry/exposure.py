"""Which registered models have seen some videos: what `a2h forget` must tell."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from a2h_models.errors import RegistryError
from pipelines.config import TrackingConfig
from pipelines.registry.artifacts import download, weights_in
from pipelines.registry.lineage import list_versions
from pipelines.registry.provenance import read_sources
from pipelines.registry.versions import ModelVersion


@dataclass(frozen=True, kw_only=True)
class ModelExposure:
    """A version that was trained on the videos, or may have been."""

    version: ModelVersion
    aliases: tuple[str, ...]
    certain: bool  # by the version's own list of source videos; else by the fingerprint of the dataset that held them

    def __str__(self) -> str:
        known = f"{self.version} ({', '.join(self.aliases)})" if self.aliases else str(self.version)
        return (
            known
            if self.certain
            else f"{known}, by the dataset's fingerprint: the version has no list of its source videos"
        )


def trained_on(sources: Collection[str], fingerprints: Collection[str], logger: TrackingConfig) -> list[ModelExposure]:
    """Every version that lists one of the videos; of those without a list, every one whose dataset
    held them.

    Args:
        sources: SHA-256 of the videos.
        fingerprints: of the dataset, while it held them.
        logger: where the registry is.

    Raises:
        RegistryError: if the registry cannot be reached.
    """
    found = []
    for version, aliases in list_versions(logger):
        listed = _listed(version, logger)
        data = version.tags.get("dataset_fingerprint", "").split(",")
        if listed & set(sources) or (not listed and set(data) & set(fingerprints)):
            found.append(ModelExposure(version=version, aliases=aliases, certain=bool(listed)))
    return found


def _listed(version: ModelVersion, logger: TrackingConfig) -> set[str]:
    """The videos that a version says it has seen; nothing where its files cannot be had any more."""
    try:
        folder = weights_in(download(version, logger))
        return set(read_sources(folder)["sha256"].to_pylist())
    except (RegistryError, OSError):
        return set()
