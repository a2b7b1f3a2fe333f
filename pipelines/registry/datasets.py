"""Datasets that runs recorded, looked at again: are they still what they were?"""

from __future__ import annotations

import json

from a2h_models.errors import A2HError
from pipelines.core.storage import Storage
from pipelines.dataset.fingerprints import DATASET_FILE, dataset_fingerprint
from pipelines.dataset.shard_format import iterate_sidecars
from pipelines.tracking.tracker import first_line

DIGITS_SHOWN = 12  # of a fingerprint


def verify(path: str, fingerprint: str) -> str:
    """Empty if a dataset has a fingerprint and its shards' hashes add up to it, else what is wrong.

    No shard is read: `a2h verify` does.
    """
    try:
        return _difference(Storage(path), fingerprint)
    # whatever a store and damaged JSON can raise
    except (A2HError, OSError, ValueError, KeyError, TypeError, ImportError) as error:
        return f"cannot be read from here ({first_line(error)})"


def _difference(dataset: Storage, fingerprint: str) -> str:
    if not dataset.exists(DATASET_FILE):
        return f"is not here, or has no {DATASET_FILE}"
    stated = str(json.loads(dataset.read(DATASET_FILE))["fingerprint"])
    if stated != fingerprint:
        return f"has the fingerprint {stated[:DIGITS_SHOWN]} now, not {fingerprint[:DIGITS_SHOWN]}"
    found = dataset_fingerprint({sidecar.shard: sidecar.sha256 for sidecar in iterate_sidecars(dataset)})
    return (
        "" if found == fingerprint else f"has shards that do not add up to its fingerprint {fingerprint[:DIGITS_SHOWN]}"
    )
