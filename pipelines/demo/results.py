"""The results of a demo's steps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.demo.paths import DemoPaths

if TYPE_CHECKING:
    from a2h_models.data_types import Sample


@dataclass(frozen=True, kw_only=True)
class DemoResults:
    """What the steps of a demo produced."""

    paths: DemoPaths
    scale: str
    videos: Path
    versions: dict[str, dict[str, Any]]  # stage → uri, run_id, folder
    model: str  # URI of the bundle
    decision: dict[str, Any]
    portrait: Path
    speech: Path
    video: Path
    seconds: dict[str, float]
    next_commands: list[str]


def held_out_sample(dataset: Path) -> Sample:
    """Return the first clip of the test split, else of val, else of train."""
    from pipelines.core.storage import Storage
    from pipelines.dataset.shard_format import decode, read_members, read_sidecars

    store = Storage(dataset)
    sidecars = sorted(read_sidecars(store), key=lambda sidecar: ("test", "val", "train").index(sidecar.split))
    sidecar = next(sidecar for sidecar in sidecars if sidecar.keys)
    return decode(read_members(store, sidecar, sidecar.keys[0]))
