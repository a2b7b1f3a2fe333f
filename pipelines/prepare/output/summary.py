"""Count a dataset's ledger, and write dataset.json."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import metadata
from typing import TYPE_CHECKING, NamedTuple, Self

from a2h_models.data_types import FEATURES_VERSION, SCHEMA_VERSION
from a2h_models.timebase import FPS
from pipelines.core.storage import Storage
from pipelines.dataset.fingerprints import DATASET_FILE
from pipelines.dataset.shard_format import Sidecar
from pipelines.dataset.summary import DatasetSummary
from pipelines.prepare.output import ledger
from pipelines.prepare.output.ledger import CLIP, VIDEO
from pipelines.prepare.planning.plan import SPLITS, Plan
from pipelines.prepare.reasons import Status

if TYPE_CHECKING:
    import pyarrow as pa

COUNTED = ("kind", "status", "reason", "split", "identity", "start", "stop")  # columns of the ledger
FRAMES_PER_HOUR = 3600 * FPS
# whose versions the bytes depend on
PACKAGES = ("audio2head", "mediapipe", "numpy", "opencv-python-headless", "pyworld-prebuilt")


class ShardFacts(NamedTuple):
    """What of a shard stays in memory while the next is read."""

    name: str
    split: str
    sha256: str
    size: int  # bytes
    samples: int
    frames: int

    @classmethod
    def of(cls, sidecar: Sidecar) -> Self:
        frames = sum(sidecar.frames.values())
        return cls(sidecar.shard, sidecar.split, sidecar.sha256, sidecar.size, len(sidecar.index), frames)


def summarise(path: str, plan: Plan, rows: pa.Table, fingerprint: str) -> DatasetSummary:
    """Count a ledger."""
    rows = rows.select(COUNTED)
    videos, clips = ledger.where(rows, kind=VIDEO), ledger.where(rows, kind=CLIP)
    accepted = {split: ledger.where(clips, status=Status.ACCEPTED, split=split) for split in SPLITS}
    reasons = ledger.counts(videos["reason"])
    return DatasetSummary(
        path=path,
        plan=plan.hash,
        fingerprint=fingerprint,
        shards=len(plan.units),
        videos=ledger.counts(videos["status"]),
        clips=ledger.counts(clips["status"]),
        reasons={reason: number for reason, number in reasons.items() if reason},
        hours={split: ledger.frames(found) / FRAMES_PER_HOUR for split, found in accepted.items()},
        identities={split: len(found["identity"].unique()) for split, found in accepted.items()},
    )


def versions() -> dict[str, str]:
    """Versions of the packages that the bytes of a sample depend on; `unknown` for what is not
    installed as a package.
    """
    found = {}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "unknown"
    return found


def write_dataset_json(out: Storage, plan: Plan, shards: Sequence[ShardFacts], summary: DatasetSummary) -> None:
    """Publish dataset.json, which says that the dataset is whole."""
    groups = {split: [shard for shard in shards if shard.split == split] for split in SPLITS}
    values = {
        "fingerprint": summary.fingerprint,
        "parents": list(plan.parents),
        "schema_version": SCHEMA_VERSION,
        "features_version": FEATURES_VERSION,
        "plan": plan.hash,
        "config": plan.config,
        "versions": versions(),
        "splits": {
            split: {
                "shards": len(group),
                "samples": sum(shard.samples for shard in group),
                "frames": sum(shard.frames for shard in group),
                "identities": summary.identities[split],
            }
            for split, group in groups.items()
        },
        "shards": {shard.name: shard.sha256 for shard in shards},
    }
    out.publish(DATASET_FILE, (json.dumps(values, indent=1, sort_keys=True) + "\n").encode())
