"""Shards written again without some of their samples. The members of all other samples keep their
bytes.

A new shard is written whole into a folder of its own, its sidecar last, and then takes the old
one's place: first the tar, then the sidecar. Whenever that is interrupted, what is there says how
to go on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from a2h_models.errors import DatasetError
from pipelines.core.hashing import sha256_of_stream
from pipelines.core.storage import Storage
from pipelines.dataset.shard_format import KEYPOINT_MARK, Encoded, ShardWriter, Sidecar, read_members
from pipelines.prepare.output import ledger
from pipelines.prepare.output.previews import preview_name, read_previews
from pipelines.prepare.planning.plan import Unit, Video
from pipelines.prepare.reasons import Reason

FOLDER = "forgetting"  # where shards wait that are written, but not yet in their place
CHUNK = 2**20  # bytes read at a time

Rows = list[dict[str, Any]]


def leftovers(sidecar: Sidecar, unit: Unit) -> list[str]:
    """Names, in the plan, of the videos that the plan has forgotten and the shard has not."""
    return [
        video.file
        for video, rows in by_video(sidecar, unit)
        if video.reason and (len(rows) > 1 or rows[0]["file"] != video.file)
    ]


def by_video(sidecar: Sidecar, unit: Unit) -> Iterator[tuple[Video, Rows]]:
    """Each video of a unit with its rows: its own, then those of its clips.

    Raises:
        DatasetError: if the sidecar has rows of other videos than the unit.
    """
    groups: list[Rows] = []
    for row in sidecar.ledger:
        if row["kind"] == ledger.VIDEO:
            groups.append([])
        if groups:
            groups[-1].append(row)
    if len(groups) != len(unit.videos) or any(
        rows[0]["sha256"] != video.sha256 for video, rows in zip(unit.videos, groups, strict=False)
    ):
        raise DatasetError(
            f"{sidecar.shard}: the rows of its sidecar are not those of its unit", hint="`a2h verify` says more"
        )
    return zip(unit.videos, groups, strict=True)


def forgotten_rows(video: Video, unit: Unit) -> Rows:
    """What the ledger keeps of a forgotten video: that there was one."""
    return [ledger.video_row(video, unit=unit, reason=Reason(video.reason), error_message=video.error_message).flat()]


def clean_shard(dataset: Storage, sidecar: Sidecar, unit: Unit) -> None:
    """Write a shard, its companions and its previews again, without what the plan has forgotten.

    Raises:
        DatasetError: if the shard is damaged: what is left would be sealed with a new hash.
    """
    rows = [
        row
        for video, found in by_video(sidecar, unit)
        for row in (forgotten_rows(video, unit) if video.reason else found)
    ]
    keys = {row["key"] for row in rows if row["kind"] == ledger.CLIP}
    clean_previews(dataset, unit.shard, keys)
    for name in dataset.names(f"{unit.shard}{KEYPOINT_MARK}*.json"):
        companion = Sidecar.from_bytes(dataset.read(name), name=name)
        if set(companion.keys) - keys:
            replace_shard(dataset, companion, [key for key in companion.keys if key in keys], companion.ledger)
    replace_shard(dataset, sidecar, [key for key in sidecar.keys if key in keys], rows)


def replace_shard(dataset: Storage, sidecar: Sidecar, keys: Sequence[str], rows: Rows) -> None:
    """Put a shard with some of its samples in its own place."""
    check(dataset, sidecar)
    stage, name = staging(dataset), sidecar.shard.removesuffix(".tar")
    with ShardWriter(stage, name) as shard:
        for key in keys:
            encoded = read_members(dataset, sidecar, key, sidecar.index[key])
            shard.add(encoded, frames=sidecar.frames[key], identity=sidecar.identities[key])
    shard.finish(split=sidecar.split, unit=sidecar.unit, plan=sidecar.plan, ledger=rows)
    take_place(dataset, name)


def clean_previews(dataset: Storage, shard: str, keys: set[str]) -> None:
    """Keep the previews of these clips only. One rename: it is done or it is not."""
    found = read_previews(dataset, shard)
    if found.keys() <= keys:
        return
    write_previews(dataset, shard, {key: picture for key, picture in found.items() if key in keys})


def write_previews(dataset: Storage, shard: str, pictures: Mapping[str, bytes]) -> None:
    with ShardWriter(dataset, preview_name(shard)) as previews:
        for key in sorted(pictures):
            previews.add(Encoded(key=key, members={"jpg": pictures[key]}), frames=0, identity="")


# -------------------------------------------------------------------------------- into its place
def staging(dataset: Storage) -> Storage:
    return Storage(f"{dataset.url}/{FOLDER}")


def take_place(dataset: Storage, name: str) -> None:
    """Move a staged shard over the old one. Repeated, it goes on where it stopped."""
    if dataset.exists(f"{FOLDER}/{name}.tar"):
        dataset.move(f"{FOLDER}/{name}.tar", f"{name}.tar")
    dataset.move(f"{FOLDER}/{name}.json", f"{name}.json")


def finish_moves(dataset: Storage) -> bool:
    """Do what an interrupted run had begun; True if there was anything.

    Raises:
        DatasetError: if a staged sidecar has no tar anywhere.
    """
    stage = staging(dataset)
    staged = stage.names("*.json")
    for name in staged:
        sidecar = Sidecar.from_bytes(stage.read(name), name=f"{FOLDER}/{name}")
        if not stage.exists(sidecar.shard):
            check(dataset, sidecar)
        take_place(dataset, name.removesuffix(".json"))
    for rest in stage.names():
        stage.remove(rest)
    return bool(staged)


def check(dataset: Storage, sidecar: Sidecar) -> None:
    """Compare a tar with its sidecar.

    Raises:
        DatasetError: if they differ.
    """
    with dataset.open(sidecar.shard) as stream:
        sha256 = sha256_of_stream(stream).sha256
    if sha256 != sidecar.sha256:
        raise DatasetError(
            f"{dataset.url}/{sidecar.shard} has other content than its sidecar says (sha-256)",
            hint="`a2h verify` says more; `a2h prepare` builds the shard again where its sidecar is removed",
        )
