"""What a dataset says of itself in numbers: the summary that `prepare` returns, the fingerprint,
and dataset.json.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from typing import TYPE_CHECKING, NamedTuple, Self

from a2h_models.data_types import FEATURES_VERSION, SCHEMA_VERSION
from a2h_models.timebase import FPS
from pipelines.core.hashing import sha256_of_json
from pipelines.core.storage import Storage
from pipelines.dataset.shard_format import Sidecar
from pipelines.prepare.output import ledger
from pipelines.prepare.output.ledger import CLIP, VIDEO
from pipelines.prepare.planning.plan import SPLITS, Plan
from pipelines.prepare.steps.filters import Status

if TYPE_CHECKING:
    import pyarrow as pa

DATASET_FILE = "dataset.json"
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


@dataclass(frozen=True, kw_only=True)
class DatasetSummary:
    """What became of the videos."""

    path: str
    plan: str  # its hash
    fingerprint: str  # empty where nothing was written
    shards: int
    videos: dict[str, int]  # status → number
    clips: dict[str, int]  # status → number
    reasons: dict[str, int]  # of videos that gave no sample
    hours: dict[str, float] = field(default_factory=dict)  # split → accepted clips
    identities: dict[str, int] = field(default_factory=dict)  # split → people with an accepted clip
    forecast: str = ""  # of a dry run: what the plan will take

    @property
    def accepted(self) -> int:
        """Samples in the dataset."""
        return self.clips.get(Status.ACCEPTED, 0)

    def __str__(self) -> str:
        dropped = counted(self.reasons) or "none"
        if not self.fingerprint:
            plan = f"plan {self.plan}: {sum(self.videos.values())} videos in {self.shards} units; dropped: {dropped}"
            return f"{plan}\n{self.forecast}".rstrip()
        minutes = ", ".join(f"{split} {60 * hours:.1f} min" for split, hours in self.hours.items())
        videos = f"{sum(self.videos.values())} videos: {counted(self.videos)}; dropped: {dropped}"
        return f"{self.path}: {self.accepted} samples in {self.shards} shards ({minutes}); {videos}"


def counted(counts: Mapping[str, int]) -> str:
    """The most frequent first."""
    return ", ".join(
        f"{number} {name}" for name, number in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    )


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


def fingerprint_of(shards: Mapping[str, str]) -> str:
    """The dataset's name by content (shard → sha-256): changes with any byte of any shard, and with
    nothing else.
    """
    return sha256_of_json([SCHEMA_VERSION, sorted(shards.items())])


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
