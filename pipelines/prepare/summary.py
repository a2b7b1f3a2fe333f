"""What a dataset says of itself: dataset.json with the fingerprint, the data card, and the summary that `prepare` returns."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any

from a2h_models.sample import SCHEMA_VERSION
from a2h_models.timebase import FPS
from pipelines.dataset.shards import Sidecar
from pipelines.prepare.filters import Status
from pipelines.prepare.ledger import CLIP, VIDEO
from pipelines.prepare.plan import SPLITS, Plan
from pipelines.storage import Storage

DATASET_FILE, CARD_FILE = "dataset.json", "README.md"
FRAMES_PER_HOUR = 3600 * FPS
PACKAGES = ("audio2head", "mediapipe", "numpy", "opencv-python-headless", "pyworld-prebuilt")  # whose versions the bytes depend on

Rows = Sequence[Mapping[str, Any]]


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

    @property
    def accepted(self) -> int:
        """Samples in the dataset."""
        return self.clips.get(Status.ACCEPTED, 0)

    def __str__(self) -> str:
        dropped = counted(self.reasons) or "none"
        if not self.fingerprint:
            return f"plan {self.plan}: {sum(self.videos.values())} videos in {self.shards} units; dropped: {dropped}"
        minutes = ", ".join(f"{split} {60 * hours:.1f} min" for split, hours in self.hours.items())
        videos = f"{sum(self.videos.values())} videos: {counted(self.videos)}; dropped: {dropped}"
        return f"{self.path}: {self.accepted} samples in {self.shards} shards ({minutes}); {videos}"


def counted(counts: Mapping[str, int]) -> str:
    """The most frequent first."""
    return ", ".join(f"{number} {name}" for name, number in sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def summarise(path: str, plan: Plan, rows: Rows, fingerprint: str) -> DatasetSummary:
    """Count a ledger."""
    videos = [row for row in rows if row["kind"] == VIDEO]
    clips = [row for row in rows if row["kind"] == CLIP]
    accepted = {split: [row for row in clips if row["status"] == Status.ACCEPTED and row["split"] == split] for split in SPLITS}
    return DatasetSummary(
        path=path,
        plan=plan.hash,
        fingerprint=fingerprint,
        shards=len(plan.units),
        videos=dict(Counter(row["status"] for row in videos)),
        clips=dict(Counter(row["status"] for row in clips)),
        reasons=dict(Counter(row["reason"] for row in videos if row["reason"])),
        hours={split: sum(row["stop"] - row["start"] for row in found) / FRAMES_PER_HOUR for split, found in accepted.items()},
        identities={split: len({row["identity"] for row in found}) for split, found in accepted.items()},
    )


def fingerprint_of(sidecars: Sequence[Sidecar]) -> str:
    """The dataset's name by content: changes with any byte of any shard, and with nothing else."""
    shards = sorted((sidecar.shard, sidecar.sha256) for sidecar in sidecars)
    return hashlib.sha256(json.dumps([SCHEMA_VERSION, shards]).encode()).hexdigest()


def versions() -> dict[str, str]:
    """Versions of the packages that the bytes of a sample depend on; `unknown` for what is not installed as a package."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "unknown"
    return found


def write_dataset_json(out: Storage, plan: Plan, sidecars: Sequence[Sidecar], summary: DatasetSummary) -> None:
    """Publish dataset.json: the last file, which says that the dataset is whole."""
    values = {
        "fingerprint": summary.fingerprint,
        "schema_version": SCHEMA_VERSION,
        "plan": plan.hash,
        "config": plan.config,
        "versions": versions(),
        "splits": {
            split: {
                "shards": sum(unit.split == split for unit in plan.units),
                "samples": sum(len(sidecar.keys) for sidecar in sidecars if sidecar.split == split),
                "frames": sum(sum(sidecar.frames.values()) for sidecar in sidecars if sidecar.split == split),
                "identities": summary.identities[split],
            }
            for split in SPLITS
        },
        "shards": {sidecar.shard: sidecar.sha256 for sidecar in sidecars},
    }
    out.publish(DATASET_FILE, (json.dumps(values, indent=1, sort_keys=True) + "\n").encode())


def write_card(out: Storage, summary: DatasetSummary, licences: Mapping[str, int]) -> None:
    """Publish README.md, the data card."""
    splits = "\n".join(f"| {split} | {summary.identities[split]} | {hours:.3f} |" for split, hours in summary.hours.items())
    reasons = "\n".join(f"| {reason} | {number} |" for reason, number in sorted(summary.reasons.items(), key=lambda item: -item[1]))
    rights = "\n".join(f"* {licence or 'not stated'}: {number} videos" for licence, number in sorted(licences.items()))
    out.publish(CARD_FILE, CARD.format(summary=summary, splits=splits, reasons=reasons or "| – | 0 |", rights=rights).encode())


CARD = """# A dataset of talking heads

Fingerprint `{summary.fingerprint}`, made by `a2h prepare` under plan `{summary.plan}`. Clips of one speaking face each: 256×256 pixels,
25 frames a second, 16 kHz mono speech, with head pose, landmarks and speech features; `dataset.json` has the settings and versions.

| split | identities | hours |
|---|---|---|
{splits}

No identity is in two splits. `ledger.parquet` has one row for every video and every candidate clip, with the reason for what was dropped
and all scores; `report.html` shows them.

## What was dropped

| reason | videos |
|---|---|
{reasons}

## Licence and consent

As the table of identities said, by source video:

{rights}

Whoever uses or passes on this dataset needs the right to do so from the people in it and from the owners of the footage.

## Removal

A video is traced by its SHA-256 (`sha256` in the ledger, `source` in each sample): prepare again without it, and every shard that it had no
part in keeps its content.

## Reading

```python
import webdataset
samples = webdataset.WebDataset("a2h-train-{{000000..NNNNNN}}.tar", shardshuffle=False)
```
"""
