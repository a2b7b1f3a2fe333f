"""Take somebody, or one video, out of a dataset: out of its shards, companions, previews, plan,
ledger and report.

The plan is changed first: from then on it says that the videos are not to be used, and everything
else follows from it, however often it is interrupted. A resumed `a2h prepare` goes by the same plan
and brings nobody back.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from a2h_models.errors import ConfigError, DatasetError, InputError
from pipelines.core.hashing import sha256_of_json
from pipelines.core.storage import Storage
from pipelines.dataset.fingerprints import DATASET_FILE
from pipelines.dataset.shard_format import Sidecar
from pipelines.maintenance.rewrite import by_video, clean_shard, finish_moves, leftovers
from pipelines.prepare.output import ledger
from pipelines.prepare.output.finalize import finish
from pipelines.prepare.planning.plan import PLAN_FILE, Plan, Unit, Video
from pipelines.prepare.reasons import Reason, Status

NAMELESS = "forgotten"  # where the plan and the ledger say that a forgotten video was
HEX_DIGITS = 64  # of a SHA-256
MIN_DIGITS = 12  # of one that is shortened
NAME_DIGITS = 16  # of the name that a forgotten video gets


@dataclass(frozen=True, kw_only=True)
class ForgetReport:
    """What was taken out, or would be."""

    path: str
    videos: int
    samples: dict[str, int]  # split → number
    shards: tuple[str, ...]  # written again
    before: tuple[str, ...]  # fingerprints of the dataset while it held them
    after: str  # fingerprint; empty for a dry run, and where `a2h prepare` has not ended yet
    sources: tuple[str, ...] = ()  # SHA-256 of the videos
    done: bool = True  # False: nothing was changed

    def __str__(self) -> str:
        verb = "forgot" if self.done else "would forget"
        splits = ", ".join(f"{number} in {split}" for split, number in self.samples.items() if number) or "none"
        counts = [
            f"{number} {word}{'s' * (number != 1)}"
            for number, word in ((self.videos, "video"), (len(self.shards), "shard"))
        ]
        lines = [f"{self.path}: {verb} {counts[0]}; samples: {splits}; {counts[1]} written again"]
        if self.after:
            lines.append(f"  fingerprint {self.after}")
        return "\n".join(lines)


def forget(
    path: str | Path, *, identity: str = "", source: str = "", dry_run: bool = False, on: str = ""
) -> ForgetReport:
    """Take all videos of an identity, or of a content hash, out of a dataset. Interrupted, the same
    call finishes it.

    Args:
        path: the dataset's folder, on any store.
        identity: who, as the ledger writes it.
        source: SHA-256 of a video, or its first 12 digits or more.
        dry_run: say what would go, and change nothing.
        on: the date that is recorded; empty: today (UTC).

    Raises:
        ConfigError: unless exactly one of identity and source is given.
        InputError: if there is no such dataset, identity or video.
        DatasetError: if a shard that must be written again is damaged.
    """
    if bool(identity) == bool(source):
        raise ConfigError(
            "forget wants an identity or a source", hint="say --identity NAME or --source SHA256, not both"
        )
    dataset = Storage(path)
    if not dataset.exists(PLAN_FILE):
        raise InputError(f"{path} holds no dataset: there is no {PLAN_FILE}")
    plan = Plan.from_bytes(dataset.read(PLAN_FILE), name=f"{dataset.url}/{PLAN_FILE}")
    wanted = with_their_copies(plan, matching(plan, identity=identity, source=source))
    fresh = [video for video in wanted if not video.file.startswith(f"{NAMELESS}/")]
    said = fingerprint_said(dataset)
    if not wanted and said not in plan.parents:  # where it is, an earlier call was interrupted
        raise InputError(
            f"{path}: {unknown(plan, identity, source)}",
            hint="the ledger's columns `identity` and `sha256` have them all",
        )
    planned = without(plan, fresh, parent=said, on=on or datetime.now(UTC).date().isoformat()) if fresh else plan
    facts: dict[str, Any] = {"path": str(path), "videos": len(fresh), "sources": _hashes(wanted)}
    if dry_run:
        samples, shards = _effect(dataset, planned)
        parents = tuple(dict.fromkeys([*plan.parents, *([said] if said else [])]))
        return ForgetReport(**facts, samples=samples, shards=shards, before=parents, after="", done=False)
    if fresh:
        dataset.publish(PLAN_FILE, planned.to_bytes())
    finish_moves(dataset)
    samples, shards = _effect(dataset, planned)
    _clean(dataset, planned, shards)
    whole = all(dataset.exists(f"{unit.shard}.json") for unit in planned.units)
    # else `a2h prepare` has not ended yet, and will do it
    after = finish(dataset, planned).fingerprint if whole else ""
    return ForgetReport(**facts, samples=samples, shards=shards, before=planned.parents, after=after)


def _hashes(videos: Iterable[Video]) -> tuple[str, ...]:
    return tuple(sorted({video.sha256 for video in videos if video.sha256}))


# -------------------------------------------------------------------------------- who
def matching(plan: Plan, *, identity: str, source: str) -> list[Video]:
    """The videos of an identity or of a content hash; forgotten ones still have their hash."""
    if identity:
        return [video for video in plan.videos if ledger.printable(video.identity) == identity]
    digits = source.lower()
    if not MIN_DIGITS <= len(digits) <= HEX_DIGITS or not set(digits) <= set("0123456789abcdef"):
        raise InputError(
            f"{source!r} is no SHA-256",
            hint=f"give its {HEX_DIGITS} hexadecimal digits, or the first {MIN_DIGITS} or more",
        )
    found = [video for video in plan.videos if video.sha256.startswith(digits)]
    if len({video.sha256 for video in found}) > 1:
        raise InputError(f"{source} is the beginning of several videos' SHA-256", hint="give all its digits")
    return found


def with_their_copies(plan: Plan, wanted: Iterable[Video]) -> list[Video]:
    """With every other video of the same bytes and frames: a copy under another name shows the same
    person.
    """
    listed = list(wanted)
    same: dict[str, list[Video]] = {}
    for video in listed:
        if video.sha256:
            same.setdefault(video.sha256, []).append(video)
    copies = [other for other in plan.videos if any(overlap(other, video) for video in same.get(other.sha256, ()))]
    return list(dict.fromkeys([*listed, *copies]))


def overlap(a: Video, b: Video) -> bool:
    """Whether two videos of the same bytes have a frame in common; a length that is not known may
    be any.
    """
    return (not b.frames or a.start < b.start + b.frames) and (not a.frames or b.start < a.start + a.frames)


def unknown(plan: Plan, identity: str, source: str) -> str:
    """That there is nobody of that name, with the nearest name."""
    if source:
        return f"there is no video with the SHA-256 {source}"
    import difflib

    close = difflib.get_close_matches(identity, {ledger.printable(video.identity) for video in plan.videos}, n=1)
    return f"there is nobody called {identity!r}" + (f"; did you mean {close[0]!r}?" if close else "")


# -------------------------------------------------------------------------------- the plan
def without(plan: Plan, forgotten: Iterable[Video], *, parent: str, on: str) -> Plan:
    """The plan with nameless videos in the place of the forgotten ones.

    Its hash stays, and so do its units' ids: it is still that plan.
    """
    gone = set(forgotten)

    def change(videos: Iterable[Video]) -> tuple[Video, ...]:
        return tuple(nameless(video, on) if video in gone else video for video in videos)

    units = tuple(replace(unit, videos=change(unit.videos)) for unit in plan.units)
    left = {video.identity for unit in units for video in unit.videos}
    return replace(
        plan,
        units=units,
        dropped=change(plan.dropped),
        splits={identity: split for identity, split in plan.splits.items() if identity in left},
        parents=tuple(dict.fromkeys([*plan.parents, *([parent] if parent else [])])),
    )


def nameless(video: Video, on: str) -> Video:
    """What is kept: that there was a video, how long, and its hash, by which a second request finds
    it. The hash shows nobody.
    """
    place = sha256_of_json([video.sha256, video.file, video.start, video.identity], digits=NAME_DIGITS)
    return Video(
        file=f"{NAMELESS}/{place}",
        sha256=video.sha256,
        size=0,
        identity="",
        frames=video.frames,
        start=video.start,
        stop=video.stop,
        reason=Reason.NO_CONSENT.value,
        error_message=f"forgotten on {on}",
    )


def fingerprint_said(dataset: Storage) -> str:
    """What dataset.json says; empty where there is none."""
    if not dataset.exists(DATASET_FILE):
        return ""
    try:
        return str(json.loads(dataset.read(DATASET_FILE))["fingerprint"])
    except (ValueError, KeyError, TypeError):
        raise DatasetError(
            f"{dataset.url}/{DATASET_FILE} is damaged", hint="run `a2h prepare` again: it is rebuilt"
        ) from None


# -------------------------------------------------------------------------------- the shards
def _effect(dataset: Storage, plan: Plan) -> tuple[dict[str, int], tuple[str, ...]]:
    """How many samples of each split go, and which shards must be written again."""
    samples: dict[str, int] = {}
    shards = []
    for sidecar, unit in _each(dataset, plan):
        if leftovers(sidecar, unit):
            shards.append(unit.shard)
            gone = [row for video, rows in by_video(sidecar, unit) if video.reason for row in rows if _is_sample(row)]
            samples[unit.split] = samples.get(unit.split, 0) + len(gone)
    return samples, tuple(shards)


def _each(dataset: Storage, plan: Plan) -> Iterator[tuple[Sidecar, Unit]]:
    """The shards that exist, one at a time."""
    for unit in plan.units:
        if dataset.exists(name := f"{unit.shard}.json"):
            yield Sidecar.from_bytes(dataset.read(name), name=name), unit


def _is_sample(row: dict[str, object]) -> bool:
    return row["kind"] == ledger.CLIP and row["status"] == Status.ACCEPTED


def _clean(dataset: Storage, plan: Plan, shards: Iterable[str]) -> None:
    units = {unit.shard: unit for unit in plan.units}
    for shard in shards:
        sidecar = Sidecar.from_bytes(dataset.read(f"{shard}.json"), name=f"{shard}.json")
        clean_shard(dataset, sidecar, units[shard])
