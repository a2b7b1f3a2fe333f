"""Samples, looked into: whether what a shard holds can be decoded, is as long as it says, and is
made of numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from a2h_models.data_types import SCHEMA_VERSION, Sample
from a2h_models.errors import A2HError
from pipelines.core.hashing import HASH_NUMBERS, hash_number
from pipelines.core.storage import Storage
from pipelines.dataset.shard_format import Sidecar, decode, read_members

COMPANION_MEMBERS = ("kp.npy",)
ARRAYS = ("speech", "mel", "pose", "landmarks")  # of a sample, whose numbers must be finite


def drawn(keys: Sequence[str], share: float) -> list[str]:
    """About a share of the keys, by their hash: the same whenever and wherever it is asked."""
    bound = share * HASH_NUMBERS
    return [key for key in keys if hash_number(key) < bound]


def problems(dataset: Storage, sidecar: Sidecar, key: str) -> Iterator[str]:
    """What is wrong with a sample of a shard whose bytes are as its sidecar says."""
    place = f"{sidecar.shard}: sample {key}"
    try:
        sample = decode(read_members(dataset, sidecar, key))
    except A2HError as error:
        yield f"{place} cannot be decoded ({error.message})"
        return
    except (ValueError, KeyError) as error:
        yield f"{place} is not valid ({error})"
        return
    if len(sample.frames) != sidecar.frames[key]:
        yield f"{place} has {len(sample.frames)} frames, its sidecar says {sidecar.frames[key]}"
    for name in ARRAYS:
        if not np.isfinite(getattr(sample, name)).all():
            yield f"{place}: {name} holds numbers that are not finite"
    yield from (f"{place}: {sentence}" for sentence in of_meta(sample, sidecar))


def of_meta(sample: Sample, sidecar: Sidecar) -> Iterator[str]:
    """What the `json` member says against what the sidecar says."""
    meta = sample.meta
    try:
        start, stop = meta["span"]
        identity, sha256, version = meta["identity"], meta["source"]["sha256"], meta["schema_version"]
    except (KeyError, TypeError, ValueError):
        yield "its json lacks the span, identity, source or schema version"
        return
    if stop - start != len(sample.frames):
        yield f"its json says {stop - start} frames, there are {len(sample.frames)}"
    if identity != sidecar.identities[sample.key]:
        yield f"its json says {identity}, the sidecar {sidecar.identities[sample.key]}"
    if not sample.key.startswith(str(sha256)[: sample.key.find("_")]):
        yield f"its json names another source ({sha256}) than its key"
    if version != SCHEMA_VERSION:
        yield f"its json has schema version {version}, this program reads {SCHEMA_VERSION}"
