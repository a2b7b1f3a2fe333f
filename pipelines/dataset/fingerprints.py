"""The fingerprint of a dataset: a hash over its shards, which names its content."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from a2h_models.data_types import SCHEMA_VERSION
from a2h_models.errors import DatasetError
from pipelines.core.hashing import sha256_of_json, sha256_of_text
from pipelines.core.storage import Storage
from pipelines.dataset.shard_format import Sidecar

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
