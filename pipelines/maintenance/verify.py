"""Cross-check a dataset: plan, tars, sidecars, companions, ledger and hashes against each other;
samples, where that is asked for.

The plan and each sidecar are read once, one at a time. A problem is a sentence that names a file.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from a2h_models.data_types import SCHEMA_VERSION
from a2h_models.errors import A2HError, DatasetError, InputError
from pipelines.core.files import PART_SUFFIX
from pipelines.core.hashing import sha256_of_stream
from pipelines.core.storage import Storage
from pipelines.dataset.fingerprints import DATASET_FILE, dataset_fingerprint
from pipelines.dataset.shard_format import KEYPOINT_MARK, MEMBERS, Sidecar, sidecar_names
from pipelines.maintenance import rewrite, sample_checks
from pipelines.prepare.output import ledger, timings
from pipelines.prepare.output.croissant import CROISSANT_FILE
from pipelines.prepare.output.data_card import CARD_FILE
from pipelines.prepare.output.previews import PREVIEWS, preview_name
from pipelines.prepare.output.report import REPORT_FILE
from pipelines.prepare.planning.plan import PLAN_FILE, Plan, Unit
from pipelines.prepare.reasons import Status

CHUNK = 2**20  # bytes read at a time
# one of each in every dataset
BESIDE = (PLAN_FILE, ledger.LEDGER_FILE, DATASET_FILE, CARD_FILE, CROISSANT_FILE, REPORT_FILE)
FOLDERS = (PREVIEWS, timings.FOLDER, rewrite.FOLDER)
AGAIN = "run `a2h prepare` again"


@dataclass(frozen=True, kw_only=True)
class VerifyReport:
    """What was found. `problems` are sentences, each naming a file."""

    path: str
    shards: int
    samples: int
    problems: tuple[str, ...]
    removed: tuple[str, ...]  # rests of interrupted writing, with clean=True
    decoded: int = 0  # samples that were decoded

    @property
    def sound(self) -> bool:
        return not self.problems

    def __str__(self) -> str:
        verdict = "sound" if self.sound else f"{len(self.problems)} problem{'s' if len(self.problems) > 1 else ''}"
        decoded = f", {self.decoded} decoded" if self.decoded else ""
        lines = [f"{self.path}: {self.samples} samples in {self.shards} shards{decoded}; {verdict}"]
        lines += [f"  {problem}" for problem in self.problems]
        if self.removed:
            lines.append(f"  removed {len(self.removed)} rests of interrupted writing")
        return "\n".join(lines)


@dataclass
class Seen:
    """What is remembered of the shards that were looked at: their hashes and keys, never their
    contents.
    """

    hashes: dict[str, str] = field(default_factory=dict)  # shard → sha-256
    samples: int = 0
    decoded: int = 0
    homes: dict[str, str] = field(default_factory=dict)  # key → shard
    splits: dict[str, set[str]] = field(default_factory=dict)  # identity → where it is
    rows: list[Any] = field(default_factory=list)  # the ledgers of the shards, as tables


def verify(path: str | Path, *, clean: bool = False, deep: float = 0.0) -> VerifyReport:
    """Check a dataset against itself; every byte of every shard is read.

    Args:
        path: the dataset's folder, on any store.
        clean: remove unpublished rests (`*.part`), and tars that have no sidecar and so do not
            exist.
        deep: the share of samples to decode and check member by member, evenly drawn; 1 is all, 0
            none.

    Raises:
        InputError: if there is no dataset, or `deep` is no share.
    """
    if not 0 <= deep <= 1:
        raise InputError(f"{deep:g} is no share of the samples", hint="a number from 0 to 1; 1 is all")
    dataset = Storage(path)
    if not dataset.exists(PLAN_FILE):
        raise InputError(f"{path} holds no dataset: there is no {PLAN_FILE}")
    removed = remove_rests(dataset) if clean else ()
    seen = Seen()
    problems = tuple(_problems(dataset, seen, deep))
    return VerifyReport(
        path=str(path),
        shards=len(seen.hashes),
        samples=seen.samples,
        problems=problems,
        removed=removed,
        decoded=seen.decoded,
    )


def _problems(dataset: Storage, seen: Seen, deep: float) -> Iterator[str]:
    try:
        plan = Plan.from_bytes(dataset.read(PLAN_FILE), name=PLAN_FILE)
    except DatasetError as error:
        yield error.message
        return
    yield from rests_left(dataset)
    yield from unexpected_files(dataset, plan)
    units = {f"{unit.shard}.json": unit for unit in plan.units}
    for name in sidecar_names(dataset):
        yield from against_shard(dataset, name, units.pop(name, None), plan, seen, deep)
    yield from (f"{name.removesuffix('.json')}.tar is missing: {AGAIN} to build it" for name in units)
    yield from (
        f"{identity} is in {' and '.join(sorted(splits))}"
        for identity, splits in seen.splits.items()
        if len(splits) > 1
    )
    yield from against_ledger(dataset, plan, seen)
    yield from against_dataset_json(dataset, plan, seen)


# -------------------------------------------------------------------------------- files
def remove_rests(dataset: Storage) -> tuple[str, ...]:
    """Remove what interrupted writing left: it never was part of the dataset."""
    rests = dataset.remove_parts()
    orphans = [name for name in dataset.names("a2h-*.tar") if not dataset.exists(f"{name.removesuffix('.tar')}.json")]
    for name in orphans:
        dataset.remove(name)
    return (*rests, *orphans)


def rests_left(dataset: Storage) -> Iterator[str]:
    for pattern in ("", *(f"{folder}/" for folder in FOLDERS)):
        for name in dataset.names(f"{pattern}*{PART_SUFFIX}"):
            yield f"{name} is the rest of interrupted writing (--clean removes it)"
    for name in dataset.names("a2h-*.tar"):
        if not dataset.exists(f"{name.removesuffix('.tar')}.json"):
            yield f"{name} has no sidecar (--clean removes it)"
    if staged := dataset.names(f"{rewrite.FOLDER}/*.json"):
        yield f"{staged[0]} waits to take its place: an `a2h forget` was interrupted, run it again"


def unexpected_files(dataset: Storage, plan: Plan) -> Iterator[str]:
    """Files that are no part of any dataset. Hidden ones are the file browser's or the store's."""
    known = {f"{preview_name(unit.shard)}.tar" for unit in plan.units} | {
        timings.name_of(unit.shard) for unit in plan.units
    }
    for name in (*dataset.files("*"), *dataset.files("*/*")):
        folder, _, plain = name.rpartition("/")
        shard = not folder and plain.startswith("a2h-") and plain.endswith((".tar", ".json"))
        if not (
            shard
            or plain.startswith(".")
            or plain.endswith(PART_SUFFIX)
            or folder == rewrite.FOLDER
            or name in {*BESIDE, *known}
        ):
            yield f"{name} does not belong to the dataset"


# -------------------------------------------------------------------------------- one shard
def against_shard(dataset: Storage, name: str, unit: Unit | None, plan: Plan, seen: Seen, deep: float) -> Iterator[str]:
    """A shard against its unit, its tar, its companions and the shards before it."""
    try:
        sidecar = Sidecar.from_bytes(dataset.read(name), name=name)
        seen.rows.append(ledger.table(sidecar.ledger))
    except (DatasetError, InputError) as error:
        yield error.message
        return
    except (TypeError, ValueError) as error:
        yield f"{name} is not a sidecar of a shard ({error})"
        return
    seen.hashes[sidecar.shard] = sidecar.sha256
    seen.samples += len(sidecar.index)
    yield from against_unit(name, sidecar, unit, plan)
    found = list(against_tar(dataset, sidecar))
    yield from found
    for key in sidecar.index:
        if (home := seen.homes.setdefault(key, sidecar.shard)) != sidecar.shard:
            yield f"{sidecar.shard}: sample {key} is in {home} as well"
    for identity in sidecar.identities.values():
        seen.splits.setdefault(identity, set()).add(sidecar.split)
    yield from against_previews(dataset, sidecar)
    for companion in dataset.names(f"{name.removesuffix('.json')}{KEYPOINT_MARK}*.json"):
        yield from against_companion(dataset, companion, sidecar)
    if deep and not found:  # the members of a damaged tar are not worth a second sentence
        for key in sample_checks.drawn(sidecar.keys, deep):
            seen.decoded += 1
            yield from sample_checks.problems(dataset, sidecar, key)


def against_unit(name: str, sidecar: Sidecar, unit: Unit | None, plan: Plan) -> Iterator[str]:
    if sidecar.shard != f"{name.removesuffix('.json')}.tar":
        yield f"{name} says that it is of {sidecar.shard}"
    if unit is None or (sidecar.unit, sidecar.plan, sidecar.split) != (unit.id, plan.hash, unit.split):
        yield f"{sidecar.shard} does not belong to plan {plan.hash}"
        return
    if not set(sidecar.index) == set(sidecar.frames) == set(sidecar.identities):
        yield f"{name}: its index, frames and identities name different samples"
    try:
        left = rewrite.leftovers(sidecar, unit)
    except DatasetError as error:
        yield error.message
        return
    yield from (f"{sidecar.shard} still holds what was forgotten ({file}): run `a2h forget` again" for file in left)


def against_tar(dataset: Storage, sidecar: Sidecar, members: Sequence[str] = MEMBERS) -> Iterator[str]:
    """Hash and size of the tar, and its members at the places that the index names."""
    if not dataset.exists(sidecar.shard):
        yield f"{sidecar.shard} is missing, but its sidecar is there"
        return
    with dataset.open(sidecar.shard) as stream:
        sha256, size = sha256_of_stream(stream)
    if size != sidecar.size:
        yield f"{sidecar.shard} has {size} bytes instead of {sidecar.size}"
    elif sha256 != sidecar.sha256:
        yield f"{sidecar.shard} has other content than its sidecar says (sha-256)"
    elif members_of(dataset, sidecar) != [
        (f"{key}.{ext}", *place) for key, found in sidecar.index.items() for ext, place in found.items()
    ]:
        yield f"{sidecar.shard} holds other members than its sidecar says"
    for key, found in sidecar.index.items():
        if lacking := sorted(set(members) - set(found)):
            yield f"{sidecar.shard}: sample {key} lacks {', '.join(lacking)}"


def members_of(dataset: Storage, sidecar: Sidecar) -> list[tuple[str, int, int]]:
    """Name, offset and size of each member, in the order of the tar; empty where it is none."""
    try:
        with dataset.open(sidecar.shard) as handle, tarfile.open(fileobj=handle) as tar:
            return [(member.name, member.offset_data, member.size) for member in tar]
    except tarfile.TarError:
        return []


def against_previews(dataset: Storage, sidecar: Sidecar) -> Iterator[str]:
    """Pictures of dropped clips of this shard, and of nobody else."""
    name = f"{preview_name(sidecar.shard.removesuffix('.tar'))}.tar"
    if not dataset.exists(name):
        return
    dropped = {
        f"{row['key']}.jpg" for row in sidecar.ledger if row["kind"] == ledger.CLIP and row["status"] != Status.ACCEPTED
    }
    try:
        with dataset.open(name) as handle, tarfile.open(fileobj=handle) as tar:
            unknown = sorted(set(tar.getnames()) - dropped)
    except tarfile.TarError as error:
        yield f"{name} is damaged ({error}): remove it, it holds nothing but pictures"
        return
    yield from (f"{name} holds {member}, which is no dropped clip of {sidecar.shard}" for member in unknown)


def against_companion(dataset: Storage, name: str, shard: Sidecar) -> Iterator[str]:
    """The same keys in the same order, with as many frames."""
    try:
        companion = Sidecar.from_bytes(dataset.read(name), name=name)
    except DatasetError as error:
        yield error.message
        return
    yield from against_tar(dataset, companion, sample_checks.COMPANION_MEMBERS)
    if companion.keys != shard.keys or companion.frames != shard.frames:
        yield f"{companion.shard} has other samples than {shard.shard}: remove it and run `a2h keypoints` again"


# -------------------------------------------------------------------------------- the whole
def against_ledger(dataset: Storage, plan: Plan, seen: Seen) -> Iterator[str]:
    """The ledger says what the plan and the sidecars say, row by row, and balances."""
    try:
        found = ledger.read(dataset)
        ledger.balance(found, inputs=plan.inputs)
        expected = ledger.join(plan, seen.rows)
    except DatasetError as error:
        yield error.message
        return
    yield from ledger.differences(found, expected)
    accepted = ledger.where(found, kind=ledger.CLIP, status=Status.ACCEPTED).select(["shard", "key"])
    for row in ledger.records(accepted):
        shard = f"{row['shard']}.tar"
        if seen.homes.pop(row["key"], "") != shard:
            yield f"{shard}: {row['key']} is accepted in the ledger, but not there"
    yield from (f"{shard}: {key} is there, but not accepted in the ledger" for key, shard in seen.homes.items())


def against_dataset_json(dataset: Storage, plan: Plan, seen: Seen) -> Iterator[str]:
    if not dataset.exists(DATASET_FILE):
        yield f"{DATASET_FILE} is missing: {AGAIN} to finish"
        return
    try:
        values = json.loads(dataset.read(DATASET_FILE))
        version, said = values["schema_version"], (values["fingerprint"], values["plan"])
    except (ValueError, KeyError, TypeError, A2HError):
        yield f"{DATASET_FILE} is damaged: {AGAIN}"
        return
    if version != SCHEMA_VERSION:
        yield f"{DATASET_FILE} has schema version {version}, this program reads {SCHEMA_VERSION}: prepare the dataset again"
    elif said != (dataset_fingerprint(seen.hashes), plan.hash):
        yield f"{DATASET_FILE} has another fingerprint than the shards"
    yield from (
        f"{name} is missing: {AGAIN} to finish"
        for name in (CARD_FILE, CROISSANT_FILE, REPORT_FILE)
        if not dataset.exists(name)
    )
