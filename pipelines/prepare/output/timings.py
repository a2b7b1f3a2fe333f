"""Where the time goes: seconds by video and step.

Kept beside the dataset, outside its fingerprint, for no two runs take the same time.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from pipelines.core.storage import Storage

FOLDER = "timings"  # one small file a shard: written by its worker, so that a killed run loses none
DECIMALS = 3


@dataclass(frozen=True, kw_only=True)
class Timings:
    """Of a whole dataset; seconds of one worker, which is one core."""

    steps: dict[str, float] = field(default_factory=dict)
    videos: dict[str, float] = field(default_factory=dict)  # content hash → all steps

    @property
    def total(self) -> float:
        return sum(self.steps.values())


def write(out: Storage, shard: str, videos: Mapping[str, Mapping[str, float]]) -> None:
    """Publish the seconds of a shard's videos, by content hash and step."""
    rounded = {
        sha256: {step: round(seconds, DECIMALS) for step, seconds in steps.items()} for sha256, steps in videos.items()
    }
    out.publish(name_of(shard), (json.dumps(rounded, indent=1, sort_keys=True) + "\n").encode())


def name_of(shard: str) -> str:
    return f"{FOLDER}/{shard}.json"


def read(dataset: Storage) -> Timings:
    """What is known; files that are damaged are left out: they are no part of the dataset."""
    steps: defaultdict[str, float] = defaultdict(float)
    videos: dict[str, float] = {}
    for name in dataset.names(f"{FOLDER}/*.json"):
        try:
            found = {
                str(video): {str(step): float(s) for step, s in taken.items()}
                for video, taken in json.loads(dataset.read(name)).items()
            }
        except (ValueError, TypeError, AttributeError):
            continue
        for video, taken in found.items():
            videos[video] = sum(taken.values())
            for step, seconds in taken.items():
                steps[step] += seconds
    return Timings(steps=dict(steps), videos=videos)
