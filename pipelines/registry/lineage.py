"""What is in the registry, and where it comes from: version ← run ← dataset ← source videos, by
SHA-256.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from a2h_models.errors import RegistryError
from pipelines.config import TrackingConfig
from pipelines.config.promotion import ModelsCommand
from pipelines.dataset.provenance import COLUMNS
from pipelines.registry.alias_lock import is_lock
from pipelines.registry.artifacts import fetch
from pipelines.registry.datasets import verify
from pipelines.registry.decisions import WIDTH, draw
from pipelines.registry.provenance import read_provenance, read_sources
from pipelines.registry.versions import SCHEME, STAGE_MODELS, ModelVersion, find, version_of
from pipelines.tracking.tracker import UNKNOWN, session

if TYPE_CHECKING:
    from rich.tree import Tree

DIGITS_SHOWN = 12  # of fingerprints and commits in the list
PAGE = 100  # versions asked for at a time


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
    """The text that `a2h models` prints.

    Raises:
        RegistryError: if there is no such model or version.
    """
    name = command.model.removeprefix(SCHEME)
    if "/" in name or "@" in name:
        return draw_lineage(trace(find(name, command.logger), command.logger), max_sources=command.max_sources)
    versions = list_versions(command.logger, name=name)
    if not versions:
        wanted = f"no model {name}" if name else "no models"
        raise RegistryError(f"the registry has {wanted}", hint="`a2h train` and `a2h register` make them")
    return draw(
        name or "models", ("version", "aliases", "status", "made", "data", "code"), [_row(*found) for found in versions]
    ).rstrip()


def list_versions(logger: TrackingConfig, *, name: str = "") -> list[tuple[ModelVersion, tuple[str, ...]]]:
    """Every version, or those of one model, with their aliases; by name, the newest first."""
    with session(logger) as client:
        registered = {model.name: model for model in _pages(client.search_registered_models)}
        wanted = sorted(found for found in registered if found == (name or found) and not is_lock(found))
        return [
            (version_of(client, version), _aliases(registered[model].aliases, version.version))
            for model in wanted
            for version in sorted(
                _pages(client.search_model_versions, filter_string=f"name = '{model}'"),
                key=lambda found: -int(found.version),
            )
        ]


def _pages(search: Any, **arguments: Any) -> Iterator[Any]:
    token = None
    while True:
        page = search(max_results=PAGE, page_token=token, **arguments)
        yield from page
        token = page.token
        if not token:
            return


def _aliases(aliases: Mapping[str, str], version: Any) -> tuple[str, ...]:
    return tuple(sorted(alias for alias, number in aliases.items() if int(number) == int(version)))


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
def trace(version: ModelVersion, logger: TrackingConfig) -> Lineage:
    """Follow a version to its source videos. Its files are fetched and checked on the way."""
    folder = fetch(version.uri, logger)
    known = read_provenance(folder)
    with session(logger) as client:
        aliases = _aliases(client.get_registered_model(version.name).aliases, version.version)
    datasets = {
        entry["path"]: (entry["fingerprint"], verify(entry["path"], entry["fingerprint"]))
        for entry in known.get("datasets", [])
    }
    return Lineage(
        version=version,
        aliases=aliases,
        provenance=known,
        sources=[dict(zip(COLUMNS, row, strict=True)) for row in _rows(folder)],
        parents=tuple(_parents(version, logger)),
        datasets=datasets,
    )


def _rows(folder: Path) -> Iterator[tuple[str, ...]]:
    table = read_sources(folder)
    return zip(*(table[name].to_pylist() for name in COLUMNS), strict=True)


def _parents(version: ModelVersion, logger: TrackingConfig) -> Iterator[Lineage]:
    """The stages, where the version was not copied from another registry, whose names mean nothing
    here.
    """
    for stage in STAGE_MODELS:
        uri = version.tags.get(stage, "")
        if uri and "copied_from" not in version.tags:
            yield trace(find(uri, logger), logger)


def draw_lineage(lineage: Lineage, *, max_sources: int) -> str:
    """A tree as text."""
    from io import StringIO

    from rich.console import Console
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
    text = StringIO()
    Console(file=text, width=WIDTH + 60).print(tree, highlight=False)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())


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
