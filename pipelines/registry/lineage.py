"""The list of registered versions, and the lineage of one.

The lineage is version ← run ← dataset ← source videos, by SHA-256.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from a2h_models.errors import RegistryError
from pipelines.config import ModelsCommand
from pipelines.core.text_table import render_text, text_table
from pipelines.dataset.fingerprints import fingerprint_problem
from pipelines.dataset.provenance import COLUMNS
from pipelines.registry.model_registry import ModelRegistry
from pipelines.registry.provenance import read_provenance, read_sources
from pipelines.registry.versions import SCHEME, STAGE_MODELS, ModelVersion
from pipelines.tracking import UNKNOWN

if TYPE_CHECKING:
    from rich.tree import Tree

DIGITS_SHOWN = 12  # of fingerprints and commits in the list
WIDTH = 180  # characters of a printed lineage


@dataclass(frozen=True, kw_only=True)
class Lineage:
    """Where a version comes from."""

    version: ModelVersion
    aliases: tuple[str, ...]
    provenance: Mapping[str, Any]  # provenance.json
    sources: Sequence[Mapping[str, str]]  # rows of sources.parquet
    parents: tuple[Lineage, ...]  # the stages of a bundle, as far as this registry has them
    datasets: Mapping[str, tuple[str, str]]  # path → fingerprint, and empty or why it could not be verified


def models(command: ModelsCommand) -> str:
    """The text that `a2h models` prints: a list of versions, or the lineage of one.

    Raises:
        RegistryError: if there is no such model or version.
    """
    registry = ModelRegistry.from_config(command.logger)
    name = command.model.removeprefix(SCHEME)
    if "/" in name or "@" in name:
        return draw_lineage(trace(registry, registry.find(name)), max_sources=command.max_sources)
    versions = registry.list_versions(name)
    if not versions:
        missing = f"no model {name}" if name else "no models"
        raise RegistryError(f"the registry has {missing}", hint="`a2h train` and `a2h register` make them")
    rows = [_row(version, aliases) for version, aliases in versions]
    return text_table(name or "models", ("version", "aliases", "status", "made", "data", "code"), rows).rstrip()


def _row(version: ModelVersion, aliases: tuple[str, ...]) -> tuple[str, ...]:
    tags = version.tags
    changed = "" if tags.get("code_clean") == "true" else ", changed"
    return (
        f"{version.name}/{version.version}",
        ", ".join(aliases),
        tags.get("validation_status", ""),
        datetime.fromtimestamp(version.created_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M"),
        ", ".join(part[:DIGITS_SHOWN] for part in tags.get("dataset_fingerprint", UNKNOWN).split(",")),
        f"{tags.get('git_sha', UNKNOWN)[:DIGITS_SHOWN]}{changed}",
    )


# -------------------------------------------------------------------------------- of one version
def trace(registry: ModelRegistry, version: ModelVersion) -> Lineage:
    """Follow a version to its source videos. Its files are fetched and checked on the way."""
    folder = registry.fetch_version(version)
    recorded = read_provenance(folder)
    return Lineage(
        version=version,
        aliases=registry.aliases(version),
        provenance=recorded,
        sources=read_sources(folder).select(list(COLUMNS)).to_pylist(),
        parents=tuple(trace(registry, registry.find(uri)) for uri in _stage_uris(version)),
        datasets={
            entry["path"]: (entry["fingerprint"], fingerprint_problem(entry["path"], entry["fingerprint"]))
            for entry in recorded.get("datasets", [])
        },
    )


def _stage_uris(version: ModelVersion) -> list[str]:
    """The stages of a bundle; none if it was copied, as their names mean nothing in this registry."""
    if "copied_from" in version.tags:
        return []
    return [version.tags[stage] for stage in STAGE_MODELS if version.tags.get(stage)]


def draw_lineage(lineage: Lineage, *, max_sources: int) -> str:
    """Draw a lineage as a tree of text."""
    from rich.text import Text
    from rich.tree import Tree

    aliases = f"  ({', '.join(lineage.aliases)})" if lineage.aliases else ""
    tree = Tree(Text(f"{lineage.version}{aliases}"))
    for line in _facts(lineage.version.tags, lineage.version.run_id):
        tree.add(Text(line))
    for part in lineage.parents:
        branch = tree.add(Text(f"{part.version.tags.get('stage', '')}: {part.version}"))
        for line in _facts(part.version.tags, part.version.run_id):
            branch.add(Text(line))
        for path, (fingerprint, _) in part.datasets.items():
            branch.add(Text(f"dataset {fingerprint[:DIGITS_SHOWN]}  {path}"))
    _add_data(tree, lineage, max_sources)
    return "\n".join(line.rstrip() for line in render_text(tree, width=WIDTH).splitlines())


def _facts(tags: Mapping[str, str], run_id: str) -> Iterator[str]:
    yield f"run {run_id}  code {tags.get('git_sha', UNKNOWN)[:DIGITS_SHOWN]}{'' if tags.get('code_clean') == 'true' else ', changed'}"
    if "copied_from" in tags:
        yield f"copied from {tags['copied_from']}"


def _add_data(tree: Tree, lineage: Lineage, max_sources: int) -> None:
    from rich.text import Text

    for path, (fingerprint, problem) in lineage.datasets.items():
        tree.add(Text(f"dataset {fingerprint}  {path}: {problem or 'verified'}"))
    if not lineage.sources:
        tree.add(Text("source videos: not recorded"))
        return
    branch = tree.add(
        Text(f"source videos: {len(lineage.sources)}, people: {len(lineage.provenance.get('identities', []))}")
    )
    shown = lineage.sources[: max_sources or None]
    for row in shown:
        rights = f"licence: {row['licence'] or 'not stated'}, consent: {row['consent'] or 'not stated'}"
        branch.add(Text(f"sha256 {row['sha256']}  {row['file']} ({row['identity']}; {rights})"))
    if len(shown) < len(lineage.sources):
        branch.add(Text(f"… and {len(lineage.sources) - len(shown)} more; max_sources=0 shows all"))
