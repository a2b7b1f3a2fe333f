"""The origin of a version, in two files beside its weights.

`provenance.json` holds the run, the datasets and the people; `sources.parquet` every source video.
Both are files of the version, so they are hashed with it and copied with it from registry to
registry. Tags are too short for them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.dataset.provenance import DatasetOrigin, Table, as_table, union

PROVENANCE = "provenance.json"
SOURCES = "sources.parquet"


def write_provenance(folder: Path, values: Mapping[str, Any], sources: Table) -> None:
    """Write both files.

    `values` holds at least `run_id`, `tags`, `identities`, `datasets`, `features`.
    """
    import pyarrow.parquet as pq

    pq.write_table(sources, folder / SOURCES)
    (folder / PROVENANCE).write_text(
        json.dumps(values, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8"
    )


def read_provenance(folder: Path) -> dict[str, Any]:
    """Read `provenance.json`; empty where there is none."""
    path = folder / PROVENANCE
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def read_sources(folder: Path) -> Table:
    """Read every source video of the training data; no rows where nothing is recorded."""
    import pyarrow.parquet as pq

    path = folder / SOURCES
    return pq.read_table(path) if path.is_file() else as_table([])


def stage_provenance(
    stage: str, run_id: str, tags: Mapping[str, str], identities: Iterable[str], origin: DatasetOrigin | None
) -> dict[str, Any]:
    """The provenance of one trained stage."""
    return {
        "stage": stage,
        "run_id": run_id,
        "tags": dict(tags),
        "identities": sorted(set(identities)),
        "datasets": [{"path": origin.path, "fingerprint": origin.fingerprint}] if origin else [],
        "features": [origin.features] if origin and origin.features else [],
    }


def bundle_provenance(run_id: str, tags: Mapping[str, str], stages: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """The provenance of a bundle: the union over its stages.

    A field that is empty for one stage is empty for the bundle.
    """
    parts = list(stages.values())
    return {
        "stages": dict(stages),
        "run_id": run_id,
        "tags": dict(tags),
        **{key: _union([part.get(key, []) for part in parts]) for key in ("identities", "datasets", "features")},
    }


def join_sources(tables: Sequence[Table]) -> Table:
    """The sources of all stages; none if one stage records none."""
    return union(tables) if all(len(table) for table in tables) else as_table([])


def _union(lists: Sequence[list[Any]]) -> list[Any]:
    """All values, sorted and once each; none if one list is empty.

    So promotion cannot pass a bundle of which only a part is known.
    """
    if not all(lists):
        return []
    unique = {json.dumps(value, sort_keys=True): value for values in lists for value in values}
    return [unique[key] for key in sorted(unique)]
