"""The plan: videos → identities → splits → units. A pure function of content and config.

The same inputs and the same config give the same plan on any machine, whatever the order or the place in which the videos
were found; what is done later, where and how often, cannot change which clip lands in which shard.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from a2h_models.errors import DatasetError
from a2h_models.sample import SCHEMA_VERSION
from a2h_models.timebase import FPS
from pipelines.config import PlanConfig, PrepareConfig, config_hash
from pipelines.dataset.shards import shard_name
from pipelines.prepare.filters import Reason

SPLITS = ("train", "val", "test")
PLAN_FILE = "plan.json"
FRAMES_PER_MINUTE = 60 * FPS
HASH_DIGITS = 16  # of the plan's and units' ids: 64 bits


@dataclass(frozen=True, kw_only=True)
class Video:
    """A raw file as the probe found it. `file` is relative to the input, with forward slashes."""

    file: str
    sha256: str  # of the whole file; empty where it could not be read
    size: int  # bytes
    identity: str
    licence: str = ""  # as the table of identities says
    frames: int = 0  # at 25 fps
    fps: float = 0.0  # of the file
    width: int = 0  # as shown
    height: int = 0
    reason: str = ""  # a Reason; empty: worth looking at
    error_message: str = ""

    @classmethod
    def broken(cls, file: str, reason: str, error_message: str) -> Video:
        """A file that could not even be hashed."""
        return cls(file=file, sha256="", size=0, identity="", reason=reason, error_message=error_message)


@dataclass(frozen=True, kw_only=True)
class Unit:
    """The work of one shard. Its videos are in the order of their content hash."""

    id: str  # hash of what it holds and of the config
    split: str
    number: int  # of the shard in its split, from 0
    plan: str  # hash of the plan
    videos: tuple[Video, ...]

    @property
    def shard(self) -> str:
        return shard_name(self.split, self.number)

    @property
    def frames(self) -> int:
        return sum(video.frames for video in self.videos)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Who is in which split, which video in which unit, and which videos are not worth a look."""

    hash: str
    config: dict[str, Any]
    splits: dict[str, str]  # identity → split
    units: tuple[Unit, ...]
    dropped: tuple[Video, ...]  # with their reasons
    schema_version: int = field(default=SCHEMA_VERSION)

    @property
    def inputs(self) -> int:
        return sum(len(unit.videos) for unit in self.units) + len(self.dropped)

    def to_bytes(self) -> bytes:
        return (json.dumps(asdict(self), indent=1, sort_keys=True) + "\n").encode()

    @classmethod
    def from_bytes(cls, data: bytes, *, name: str) -> Plan:
        """Parse a plan.

        Raises:
            DatasetError: if it is damaged or of another schema version.
        """
        try:
            values = json.loads(data)
            version = values["schema_version"]
            if version == SCHEMA_VERSION:
                values["units"] = tuple(Unit(**{**unit, "videos": _videos(unit["videos"])}) for unit in values["units"])
                return cls(**{**values, "dropped": _videos(values["dropped"])})
        except (ValueError, KeyError, TypeError) as error:
            raise DatasetError(f"{name} is not a plan ({error})", hint="prepare into an empty folder") from None
        raise DatasetError(f"{name} has schema version {version}, this program reads {SCHEMA_VERSION}", hint="prepare into an empty folder")


def _videos(rows: Iterable[Mapping[str, Any]]) -> tuple[Video, ...]:
    return tuple(Video(**row) for row in rows)


def plan(videos: Iterable[Video], config: PrepareConfig) -> Plan:
    """Decide everything. The order of `videos` does not matter."""
    unique = drop_duplicates(videos)
    wanted = [video for video in unique if not video.reason]
    splits = assign_splits({video.identity for video in wanted}, config.plan)
    units = [unit for split in SPLITS for unit in _units([v for v in wanted if splits[v.identity] == split], split, wanted, config)]
    content = [asdict(replace(video, error_message="")) for video in unique]  # the words of a decoder are no content
    digest = _hash([config_hash(config), SCHEMA_VERSION, splits, [unit.id for unit in units], content])
    return Plan(
        hash=digest,
        config=asdict(config),
        splits=dict(sorted(splits.items())),
        units=tuple(replace(unit, plan=digest) for unit in units),
        dropped=tuple(video for video in unique if video.reason),
    )


def drop_duplicates(videos: Iterable[Video]) -> list[Video]:
    """All videos by content hash and name; of files with the same bytes, all but the first by name get the reason `duplicate`."""
    seen: dict[str, str] = {}
    result = []
    for video in sorted(videos, key=lambda video: (video.sha256, video.file)):
        first = seen.setdefault(video.sha256, video.file) if video.sha256 else video.file
        same = first != video.file and video.reason not in {Reason.UNREADABLE, Reason.TRUNCATED}
        result.append(replace(video, reason=Reason.DUPLICATE.value, error_message=f"the same bytes as {first}") if same else video)
    return result


# ---------------------------------------------------------------------------------------------------------------- splits
def position(identity: str, seed: int) -> float:
    """Where an identity stands in [0, 1), by its hash: for ever the same, whoever else is there."""
    digest = hashlib.sha256(f"{seed}\n{identity}".encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def assign_splits(identities: Iterable[str], config: PlanConfig) -> dict[str, str]:
    """Identity → split: [0, test_share) is test, the next val_share is val, the rest train.

    Where a split with a share stays empty although there are `min_identities_for_splits` identities or more, the identity whose
    hash is nearest to its range moves there. With fewer identities everything is train.
    """
    places = {identity: position(identity, config.seed) for identity in identities}
    if len(places) < config.min_identities_for_splits:
        return dict.fromkeys(places, "train")
    ranges = {
        "test": (0.0, config.test_share),
        "val": (config.test_share, config.test_share + config.val_share),
        "train": (config.test_share + config.val_share, 1.0),
    }
    splits = {identity: next((name for name, (a, b) in ranges.items() if a <= u < b), "train") for identity, u in places.items()}
    for name in ("train", "test", "val"):
        start, stop = ranges[name]
        if stop > start and name not in splits.values():
            splits[_nearest(places, splits, start, stop)] = name
    return splits


def _nearest(places: Mapping[str, float], splits: Mapping[str, str], start: float, stop: float) -> str:
    """The identity nearest to [start, stop) among those whose split can spare one."""
    members = list(splits.values())
    spare = [identity for identity in places if members.count(splits[identity]) > 1]
    return min(spare, key=lambda identity: (max(start - places[identity], places[identity] - stop, 0.0), identity))


# ---------------------------------------------------------------------------------------------------------------- units
def unit_frames(total: int, config: PlanConfig) -> int:
    """How many frames a unit holds at least: `unit_minutes`, or less where that would give fewer than `min_units` in all."""
    return max(1, min(round(config.unit_minutes * FRAMES_PER_MINUTE), total // max(1, config.min_units)))


def _units(videos: Sequence[Video], split: str, everything: Sequence[Video], config: PrepareConfig) -> list[Unit]:
    target = unit_frames(sum(video.frames for video in everything), config.plan)
    groups: list[list[Video]] = []
    room = 0
    for video in videos:
        if room <= 0:
            groups.append([])
            room = target
        groups[-1].append(video)
        room -= video.frames
    fixed = config_hash(config)
    return [
        Unit(id=_hash([fixed, split, number, [asdict(v) for v in group]]), split=split, number=number, plan="", videos=tuple(group))
        for number, group in enumerate(groups)
    ]


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:HASH_DIGITS]


def by_split(plan: Plan) -> dict[str, list[Unit]]:
    """The units of each split that has any."""
    groups: dict[str, list[Unit]] = defaultdict(list)
    for unit in plan.units:
        groups[unit.split].append(unit)
    return dict(groups)
