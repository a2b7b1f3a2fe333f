"""Where a dataset's samples come from: its source videos, by SHA-256, with licence and consent, and
how its features were computed.

Training and evaluation record this, so that promotion can say what a model has seen, and whether
anybody may use it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from a2h_models.errors import DatasetError
from pipelines.core.storage import Storage
from pipelines.dataset.shard_format import Sidecar, iterate_sidecars

COLUMNS = ("sha256", "file", "identity", "licence", "consent")  # consent: yes | no | empty, where nobody said
DATASET_FILE = "dataset.json"
FEATURE_SETTINGS = (
    "f0",
    "pose_smoothing_frames",
)  # of prepare/features: what changes the numbers that networks see, not which clips there are

# a pyarrow.Table with COLUMNS, all text: there may be millions of sources, and columns take little
# more than their letters
Table = Any


@dataclass(frozen=True, kw_only=True)
class DatasetOrigin:
    """What is known about the part of a dataset that was used."""

    path: str
    fingerprint: str
    sources: Table  # one row a source video, by sha256; empty where the dataset does not say
    # settings and version of what computed speech and pose; empty where the dataset does not say
    features: dict[str, Any]


def read_origin(path: str, fingerprint: str, *, split: str = "", keys: Collection[str] | None = None) -> DatasetOrigin:
    """Read the origin of the samples of a split, or of some of its samples.

    Args:
        path: the dataset's folder or URL.
        fingerprint: as the reader of the samples knows it.
        split: train | val | test; empty takes all.
        keys: of the samples; None takes all.
    """
    dataset = Storage(path)
    sidecars = (sidecar for sidecar in iterate_sidecars(dataset) if not split or sidecar.split == split)
    return DatasetOrigin(
        path=path if "://" in path else str(dataset.root),
        fingerprint=fingerprint,
        sources=_sources(sidecars, keys),
        features=_features(dataset),
    )


def as_table(rows: Iterable[tuple[str, ...]]) -> Table:
    """Rows in the order of COLUMNS → a table, one row a video, by SHA-256."""
    import pyarrow as pa

    unique = {row[0]: row for row in rows}
    columns = list(zip(*(unique[key] for key in sorted(unique)), strict=True)) or [()] * len(COLUMNS)
    return pa.table({name: pa.array(column, pa.string()) for name, column in zip(COLUMNS, columns, strict=True)})


def union(tables: Sequence[Table]) -> Table:
    """The rows of all tables; of a video that is in several, one."""
    import pyarrow as pa
    import pyarrow.compute as pc

    rows = pa.concat_tables(tables).sort_by("sha256").combine_chunks()
    if not len(rows):
        return rows
    names = rows["sha256"]
    fresh = pc.fill_null(pc.not_equal(names[1:], names[:-1]), fill_value=True)
    return rows.filter(pa.chunked_array([pa.array([True]), *fresh.chunks]))


def _sources(sidecars: Iterable[Sidecar], keys: Collection[str] | None) -> Table:
    """The videos of all accepted clips, from the ledgers of the shards."""
    found: dict[str, tuple[str, ...]] = {}
    for sidecar in sidecars:
        wanted = set(sidecar.keys) if keys is None else set(sidecar.keys).intersection(keys)
        for row in sidecar.ledger:
            sha256 = row.get("sha256")
            if sha256 and row.get("key") in wanted:
                found[sha256] = tuple(str(row.get(column, "")) for column in COLUMNS)
    return as_table(found.values())


def _features(dataset: Storage) -> dict[str, Any]:
    described = _json(dataset, DATASET_FILE)
    settings = described.get("config", {}).get("features", {})
    shared = {name: settings[name] for name in FEATURE_SETTINGS if name in settings}
    return {"version": described.get("features_version"), **shared} if shared else {}


def _json(dataset: Storage, name: str) -> dict[str, Any]:
    if not dataset.exists(name):
        return {}
    try:
        return dict(json.loads(dataset.read(name)))
    except (ValueError, TypeError):
        raise DatasetError(f"{dataset.url}/{name} is damaged", hint="`a2h verify` says what else is") from None
