"""The fingerprint of a dataset: a hash over its shards, which names its content."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from a2h_models.data_types import SCHEMA_VERSION
from a2h_models.errors import A2HError, DatasetError, first_line
from pipelines.core.hashing import sha256_of_json, sha256_of_text
from pipelines.core.storage import Storage
from pipelines.dataset.shard_format import Sidecar, iterate_sidecars

SHOWN_DIGITS = 12  # of a fingerprint, in messages
DATASET_FILE = "dataset.json"  # written last: says that the dataset is complete


def dataset_fingerprint(shards: Mapping[str, str]) -> str:
    """Hash a dataset's shards.

    Args:
        shards: name of each tar → its sha-256. The result changes with any byte of any shard, and
            with nothing else.
    """
    return sha256_of_json([SCHEMA_VERSION, sorted(shards.items())])


def read_fingerprint(dataset: Storage, sidecars: Sequence[Sidecar]) -> str:
    """Read a dataset's fingerprint; hash the shards' hashes where a bare folder of shards has none.

    Raises:
        DatasetError: if dataset.json is damaged.
    """
    if not dataset.exists(DATASET_FILE):
        return sha256_of_text("\n".join(sorted(sidecar.sha256 for sidecar in sidecars)))
    try:
        return str(json.loads(dataset.read(DATASET_FILE))["fingerprint"])
    except (ValueError, KeyError, TypeError):
        raise DatasetError(f"{dataset.url}/{DATASET_FILE} is damaged: it has no fingerprint") from None


def fingerprint_problem(path: str, fingerprint: str) -> str:
    """Say why a dataset is not the one with a fingerprint; empty if it is.

    The hashes in the sidecars must add up to the fingerprint. No shard is read: `a2h verify` does.
    """
    try:
        return _problem(Storage(path), fingerprint)
    # whatever a store and damaged JSON can raise
    except (A2HError, OSError, ValueError, KeyError, TypeError, ImportError) as error:
        return f"cannot be read from here ({first_line(error)})"


def _problem(dataset: Storage, fingerprint: str) -> str:
    if not dataset.exists(DATASET_FILE):
        return f"is not here, or has no {DATASET_FILE}"
    stated = str(json.loads(dataset.read(DATASET_FILE))["fingerprint"])
    if stated != fingerprint:
        return f"has the fingerprint {stated[:SHOWN_DIGITS]} now, not {fingerprint[:SHOWN_DIGITS]}"
    if dataset_fingerprint({sidecar.shard: sidecar.sha256 for sidecar in iterate_sidecars(dataset)}) == fingerprint:
        return ""
    return f"has shards that do not add up to its fingerprint {fingerprint[:SHOWN_DIGITS]}"
