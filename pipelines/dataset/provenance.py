"""Provenance of a dataset: source videos by SHA-256 with licence and consent, and feature settings.

Training and evaluation record it, so that promotion can tell which videos a model was trained on,
and whether they may be used.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from a2h_models.errors import DatasetError
from pipelines.core.storage import Storage
from pipelines.dataset.fingerprints import DATASET_FILE
from pipelines.dataset.shard_format import Sidecar, iterate_sidecars

COLUMNS = ("sha256", "file", "identity", "licence", "consent")  # consent: yes | no | empty: not stated
# keys of prepare/features that change the numbers which networks read, not which clips there are
FEATURE_SETTINGS = ("f0", "pose_smoothing_frames")

# A pyarrow.Table with COLUMNS, all text. There may be millions of sources, and columns take little
# more memory than their letters.
Table = Any


@dataclass(frozen=True, kw_only=True)
class DatasetOrigin:
    """The provenance of a part of a dataset."""

    path: str
    fingerprint: str
    sources: Table  # one row per source video, by sha256; empty: not recorded
    features: dict[str, Any]  # version and settings of speech and pose features; empty: not recorded


def read_origin(path: str, fingerprint: str, *, split: str = "", keys: Collection[str] | None = None) -> DatasetOrigin:
    """Read the provenance of a split, or of some of its samples.

    Args:
        path: the dataset's folder or URL.
        fingerprint: fingerprint of the dataset.
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
    """Make a table of rows in the order of COLUMNS: one row per video, sorted by SHA-256."""
    import pyarrow as pa

    unique = {row[0]: row for row in rows}
    columns = list(zip(*(unique[key] for key in sorted(unique)), strict=True)) or [()] * len(COLUMNS)
    return pa.table({name: pa.array(column, pa.string()) for name, column in zip(COLUMNS, columns, strict=True)})


def union(tables: Sequence[Table]) -> Table:
    """Join tables; keep one row of a video that is in several."""
    import pyarrow as pa
    import pyarrow.compute as pc

    rows = pa.concat_tables(tables).sort_by("sha256").combine_chunks()
    if not len(rows):
        return rows
    names = rows["sha256"]
    is_first = pc.fill_null(pc.not_equal(names[1:], names[:-1]), fill_value=True)
    return rows.filter(pa.chunked_array([pa.array([True]), *is_first.chunks]))


def _sources(sidecars: Iterable[Sidecar], keys: Collection[str] | None) -> Table:
    """List the videos of all accepted clips, from the ledgers of the shards."""
    videos: dict[str, tuple[str, ...]] = {}
    for sidecar in sidecars:
        wanted = set(sidecar.keys) if keys is None else set(sidecar.keys).intersection(keys)
        for row in sidecar.ledger:
            sha256 = row.get("sha256")
            if sha256 and row.get("key") in wanted:
                videos[sha256] = tuple(str(row.get(column, "")) for column in COLUMNS)
    return as_table(videos.values())


def _features(dataset: Storage) -> dict[str, Any]:
    description = _json(dataset, DATASET_FILE)
    settings = description.get("config", {}).get("features", {})
    used = {name: settings[name] for name in FEATURE_SETTINGS if name in settings}
    return {"version": description.get("features_version"), **used} if used else {}


def _json(dataset: Storage, name: str) -> dict[str, Any]:
    if not dataset.exists(name):
        return {}
    try:
        return dict(json.loads(dataset.read(name)))
    except (ValueError, TypeError):
        raise DatasetError(f"{dataset.url}/{name} is damaged", hint="`a2h verify` says what else is") from None
