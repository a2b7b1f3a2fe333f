"""Another division of a dataset into train, val and test, in a folder of its own, without decoding
or encoding anything.

The videos are planned anew, just as `a2h prepare` would with these settings, and each new shard
gathers its samples from the old ones, byte for byte. What a sample says of its parents stays true:
it was made for the dataset that it came from.
"""

from __future__ import annotations

import csv
from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from a2h_models.errors import ConfigError, InputError
from pipelines.config import ClipsConfig, ClusterConfig, FeaturesConfig, FiltersConfig, PlanConfig, PrepareConfig
from pipelines.core.storage import Storage
from pipelines.dataset.shard_format import KEYPOINT_MARK, ShardWriter, Sidecar, read_members
from pipelines.dataset.summary import DatasetSummary
from pipelines.execution import pool
from pipelines.execution.task import Task
from pipelines.maintenance.remove import fingerprint_said
from pipelines.maintenance.rewrite import Rows, by_video, check, write_previews
from pipelines.prepare.output import ledger
from pipelines.prepare.output.finalize import finish
from pipelines.prepare.output.previews import read_previews
from pipelines.prepare.planning.plan import PLAN_FILE, SPLITS, Plan, Unit, Video, plan
from pipelines.prepare.reasons import Status

OPEN_SHARDS = 8  # sidecars kept in memory; both datasets are in the order of content hashes, so few are read twice

Place = tuple[str, str, int]  # file, identity and first frame: what tells one video from another


def split(
    path: str | Path,
    out: str | Path,
    *,
    val_share: float | None = None,
    test_share: float | None = None,
    seed: int | None = None,
    assign: str = "",
) -> DatasetSummary:
    """Write a dataset's samples as another dataset with other splits. Interrupted, the same call
    goes on where it stopped.

    Args:
        path: the dataset.
        out: a new folder, on any store.
        val_share: of the identities; None: as in the dataset.
        test_share: likewise.
        seed: of the hash that assigns identities.
        assign: a table `identity,split` that decides instead.

    Raises:
        ConfigError: for shares that are none, or together with a table.
        InputError: if there is no dataset, `out` holds something else, or the table lacks somebody.
        DatasetError: if a shard is damaged.
    """
    source, target = Storage(path), Storage(out)
    if not source.exists(PLAN_FILE):
        raise InputError(f"{path} holds no dataset: there is no {PLAN_FILE}")
    if source.root == target.root:
        raise InputError(f"{out} is the dataset itself", hint="--out names a new folder")
    fingerprint = fingerprint_said(source)
    if not fingerprint:
        raise InputError(f"{path} is not finished: it has no fingerprint", hint="run `a2h prepare` to its end")
    old = Plan.from_bytes(source.read(PLAN_FILE), name=f"{source.url}/{PLAN_FILE}")
    config = reconfigured(config_of(old), val_share=val_share, test_share=test_share, seed=seed, assign=assign)
    table = read_table(assign, old) if assign else None
    planned = claim(target, plan(old.videos, config, splits=table, parents=[*old.parents, fingerprint]))
    open_units = [unit for unit in planned.units if not target.exists(f"{unit.shard}.json")]
    build = partial(gather, old=OldShards(source, old), out=target)
    task = Task(function=build, describe="gathering shards", key=lambda unit: unit.shard)
    for _ in pool.run(task, open_units, ClusterConfig(workers=0)):
        pass
    return finish(target, planned)


# -------------------------------------------------------------------------------- the plan
def config_of(made: Plan) -> PrepareConfig:
    """The settings of a plan.

    Raises:
        InputError: if this program does not know one of them.
    """
    try:
        return PrepareConfig(
            plan=PlanConfig(**made.config["plan"]),
            clips=ClipsConfig(**made.config["clips"]),
            features=FeaturesConfig(**made.config["features"]),
            filters=FiltersConfig(**made.config["filters"]),
        )
    except (TypeError, KeyError) as error:
        raise InputError(
            f"the plan was made with settings of another version ({error})", hint="prepare the dataset again"
        ) from None


def reconfigured(
    config: PrepareConfig, *, val_share: float | None, test_share: float | None, seed: int | None, assign: str
) -> PrepareConfig:
    """The settings with other shares.

    Raises:
        ConfigError: if they cannot be.
    """
    wanted = {"val_share": val_share, "test_share": test_share, "seed": seed}
    changes: dict[str, Any] = {name: value for name, value in wanted.items() if value is not None}
    if assign and changes:
        raise ConfigError(f"a table and {', '.join(changes)} contradict each other", hint="give one or the other")
    changed = replace(config.plan, **changes)
    if not (changed.val_share >= 0 and changed.test_share >= 0 and changed.val_share + changed.test_share <= 1):
        raise ConfigError(
            f"val_share {changed.val_share:g} and test_share {changed.test_share:g} are no shares of one whole"
        )
    return replace(config, plan=changed)


def read_table(file: str, old: Plan) -> dict[str, str]:
    """Identity → split, for everybody whose videos were looked at.

    Raises:
        InputError: naming the row that is wrong, or somebody whom it lacks.
    """
    try:
        with Path(file).open(newline="", encoding="utf-8-sig") as handle:
            rows = list(csv.DictReader(handle))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file} cannot be read: {error}") from None
    table: dict[str, str] = {}
    for number, row in enumerate(rows, start=2):
        who, where = row.get("identity") or "", row.get("split") or ""
        if not who or where not in SPLITS:
            raise InputError(
                f"{file}, line {number}: {who!r}, {where!r}",
                hint=f"columns identity,split; a split is {', '.join(SPLITS)}",
            )
        if table.setdefault(who, where) != where:
            raise InputError(f"{file}, line {number}: {who} is in {table[who]} as well")
    everybody = {video.identity for unit in old.units for video in unit.videos if not video.reason}
    if lacking := sorted(everybody - table.keys()):
        raise InputError(
            f"{file} does not say where {lacking[0]} belongs ({len(lacking)} of {len(everybody)} identities are missing)"
        )
    return {who: table[who] for who in sorted(everybody)}


def claim(out: Storage, planned: Plan) -> Plan:
    """Publish the plan, or see that it is there already.

    Raises:
        InputError: if the folder holds something else.
    """
    if out.exists(PLAN_FILE):
        found = Plan.from_bytes(out.read(PLAN_FILE), name=f"{out.url}/{PLAN_FILE}")
        if (found.hash, found.parents) == (planned.hash, planned.parents):
            return found
        raise InputError(f"{out.url} holds another dataset, of plan {found.hash}", hint="--out names a new folder")
    if rests := out.names("a2h-*.json"):
        raise InputError(f"{out.url} holds {rests[0]} but no {PLAN_FILE}", hint="--out names a new folder")
    out.publish(PLAN_FILE, planned.to_bytes())
    return planned


# -------------------------------------------------------------------------------- the shards
class OldShards:
    """The dataset that is divided anew: where each video is, and the last few shards, each compared
    with its sidecar once.
    """

    def __init__(self, source: Storage, old: Plan) -> None:
        self.source = source
        self._homes = {_place(video): unit for unit in old.units for video in unit.videos}
        self._open: dict[str, tuple[Sidecar, dict[Place, Rows]]] = {}

    def rows(self, video: Video) -> Rows:
        """The ledger's rows of a video: its own, then its clips'.

        Raises:
            DatasetError: if its shard is damaged.
        """
        unit = self._homes[_place(video)]
        if unit.shard not in self._open:
            sidecar = Sidecar.from_bytes(
                self.source.read(f"{unit.shard}.json"), name=f"{self.source.url}/{unit.shard}.json"
            )
            check(self.source, sidecar)
            while len(self._open) >= OPEN_SHARDS:
                del self._open[next(iter(self._open))]
            self._open[unit.shard] = sidecar, {_place(found): rows for found, rows in by_video(sidecar, unit)}
        return self._open[unit.shard][1][_place(video)]

    def sidecar(self, name: str) -> Sidecar:
        """Of a shard or of a companion."""
        return (
            self._open[name][0]
            if name in self._open
            else Sidecar.from_bytes(self.source.read(f"{name}.json"), name=f"{name}.json")
        )


def _place(video: Video) -> Place:
    return video.file, video.identity, video.start


def gather(unit: Unit, old: OldShards, out: Storage) -> None:
    """Write one shard: the samples of its videos, its companions and previews, and the rows of all."""
    found = [row for video in unit.videos for row in old.rows(video)]
    clips = {row["key"]: row for row in found if row["kind"] == ledger.CLIP}
    samples = {key: row["shard"] for key, row in sorted(clips.items()) if row["status"] == Status.ACCEPTED}
    pictures = {shard: read_previews(old.source, shard) for shard in sorted({row["shard"] for row in clips.values()})}
    write_previews(
        out,
        unit.shard,
        {key: pictures[row["shard"]][key] for key, row in clips.items() if key in pictures[row["shard"]]},
    )
    for ending in shared_endings(old.source, set(samples.values())):
        write_samples(unit, ending, samples, old, out, [])
    write_samples(unit, "", samples, old, out, [{**row, "split": unit.split, "shard": unit.shard} for row in found])


def shared_endings(source: Storage, shards: Collection[str]) -> list[str]:
    """The endings of companions that all of these shards have."""
    found = {shard: source.names(f"{shard}{KEYPOINT_MARK}*.json") for shard in shards}
    endings = [{name.removeprefix(shard).removesuffix(".json") for name in names} for shard, names in found.items()]
    return sorted(set.intersection(*endings)) if endings else []


def write_samples(
    unit: Unit, ending: str, samples: Mapping[str, str], old: OldShards, out: Storage, rows: Rows
) -> None:
    """Publish a shard (or a companion of it) whose samples are copied from others, member by
    member.
    """
    sidecars = {shard: old.sidecar(f"{shard}{ending}") for shard in sorted(set(samples.values()))}
    with ShardWriter(out, f"{unit.shard}{ending}") as writer:
        for key, shard in samples.items():
            sidecar = sidecars[shard]
            encoded = read_members(old.source, sidecar, key, sidecar.index[key])
            writer.add(encoded, frames=sidecar.frames[key], identity=sidecar.identities[key])
    writer.finish(split=unit.split, unit=unit.id, plan=unit.plan, ledger=rows)
