"""Cross-check a dataset: plan, tars, sidecars, ledger and hashes against each other."""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from a2h_models.errors import DatasetError, InputError
from pipelines.dataset.shards import MEMBERS, Sidecar, read_sidecars
from pipelines.prepare import ledger
from pipelines.prepare.filters import Status
from pipelines.prepare.plan import PLAN_FILE, Plan, Unit
from pipelines.prepare.summary import DATASET_FILE, fingerprint_of
from pipelines.storage import PART_SUFFIX, Storage

CHUNK = 2**20  # bytes read at a time


@dataclass(frozen=True, kw_only=True)
class VerifyReport:
    """What was found. `problems` are sentences, each naming a file."""

    path: str
    shards: int
    samples: int
    problems: tuple[str, ...]
    removed: tuple[str, ...]  # rests of interrupted writing, with clean=True

    @property
    def sound(self) -> bool:
        return not self.problems

    def __str__(self) -> str:
        verdict = "sound" if self.sound else f"{len(self.problems)} problems"
        lines = [f"{self.path}: {self.samples} samples in {self.shards} shards; {verdict}", *(f"  {problem}" for problem in self.problems)]
        if self.removed:
            lines.append(f"  removed {len(self.removed)} rests of interrupted writing")
        return "\n".join(lines)


def verify(path: str | Path, *, clean: bool = False) -> VerifyReport:
    """Check a dataset against itself; every byte of every shard is read.

    Args:
        path: the dataset's folder, on any store.
        clean: remove unpublished rests (`*.part`), and tars that have no sidecar and so do not exist.

    Raises:
        InputError: if there is no dataset.
    """
    dataset = Storage(path)
    if not dataset.exists(PLAN_FILE):
        raise InputError(f"{path} holds no dataset: there is no {PLAN_FILE}")
    removed = remove_rests(dataset) if clean else ()
    try:
        plan = Plan.from_bytes(dataset.read(PLAN_FILE), name=PLAN_FILE)
        sidecars = read_sidecars(dataset)
    except DatasetError as error:
        return VerifyReport(path=str(path), shards=0, samples=0, problems=(error.message,), removed=removed)
    problems = [
        *rests_left(dataset, sidecars),
        *against_plan(plan, sidecars),
        *(problem for sidecar in sidecars for problem in against_tar(dataset, sidecar)),
        *against_ledger(dataset, plan, sidecars),
        *against_dataset_json(dataset, plan, sidecars),
    ]
    samples = sum(len(sidecar.keys) for sidecar in sidecars)
    return VerifyReport(path=str(path), shards=len(sidecars), samples=samples, problems=tuple(problems), removed=removed)


def remove_rests(dataset: Storage) -> tuple[str, ...]:
    rests = [*dataset.names(f"*{PART_SUFFIX}"), *dataset.names(f"previews/*{PART_SUFFIX}")]
    orphans = [name for name in dataset.names("a2h-*.tar") if not dataset.exists(name.removesuffix(".tar") + ".json")]
    for name in (*rests, *orphans):
        dataset.remove(name)
    return (*rests, *orphans)


def rests_left(dataset: Storage, sidecars: list[Sidecar]) -> Iterator[str]:
    known = {sidecar.shard for sidecar in sidecars}
    for name in (*dataset.names(f"*{PART_SUFFIX}"), *dataset.names(f"previews/*{PART_SUFFIX}")):
        yield f"{name} is the rest of interrupted writing (--clean removes it)"
    for name in dataset.names("a2h-*.tar"):
        if name not in known and ".kp-" not in name:  # companion shards of keypoints have their own makers
            yield f"{name} has no sidecar (--clean removes it)"


def against_plan(plan: Plan, sidecars: list[Sidecar]) -> Iterator[str]:
    """Each unit has its shard, and each shard its unit; nobody is in two splits."""
    units: dict[str, Unit] = {f"{unit.shard}.tar": unit for unit in plan.units}
    for sidecar in sidecars:
        unit = units.pop(sidecar.shard, None)
        if unit is None or (sidecar.unit, sidecar.plan, sidecar.split) != (unit.id, plan.hash, unit.split):
            yield f"{sidecar.shard} does not belong to plan {plan.hash}"
    yield from (f"{missing} is missing: run `a2h prepare` again to build it" for missing in units)
    places: dict[str, set[str]] = {}
    for sidecar in sidecars:
        for identity in sidecar.identities.values():
            places.setdefault(identity, set()).add(sidecar.split)
    yield from (f"{identity} is in {' and '.join(sorted(splits))}" for identity, splits in places.items() if len(splits) > 1)


def against_tar(dataset: Storage, sidecar: Sidecar) -> Iterator[str]:
    """Hash and size of the tar, and its members at the places that the index names."""
    if not dataset.exists(sidecar.shard):
        yield f"{sidecar.shard} is missing, but its sidecar is there"
        return
    digest, size = hashlib.sha256(), 0
    with dataset.open(sidecar.shard) as handle:
        while piece := handle.read(CHUNK):
            digest.update(piece)
            size += len(piece)
    if size != sidecar.size:
        yield f"{sidecar.shard} has {size} bytes instead of {sidecar.size}"
    elif digest.hexdigest() != sidecar.sha256:
        yield f"{sidecar.shard} has other content than its sidecar says (sha-256)"
    elif members_of(dataset, sidecar) != {(f"{key}.{ext}", *place) for key, found in sidecar.index.items() for ext, place in found.items()}:
        yield f"{sidecar.shard} holds other members than its sidecar says"
    for key, found in sidecar.index.items():
        if lacking := sorted(set(MEMBERS) - set(found)):
            yield f"{sidecar.shard}: sample {key} lacks {', '.join(lacking)}"


def members_of(dataset: Storage, sidecar: Sidecar) -> set[tuple[str, int, int]]:
    """Name, offset and size of each member, as the tar itself says."""
    with dataset.open(sidecar.shard) as handle, tarfile.open(fileobj=handle) as tar:
        return {(member.name, member.offset_data, member.size) for member in tar}


def against_ledger(dataset: Storage, plan: Plan, sidecars: list[Sidecar]) -> Iterator[str]:
    """The ledger balances, says what the sidecars say, and accepts exactly the samples that are there."""
    try:
        found = ledger.read(dataset)
        ledger.balance(found, inputs=plan.inputs)
    except DatasetError as error:
        yield error.message
        return
    rows = ledger.records(found)
    accepted = {(row["shard"] + ".tar", row["key"]) for row in rows if row["kind"] == ledger.CLIP and row["status"] == Status.ACCEPTED}
    there = {(sidecar.shard, key) for sidecar in sidecars for key in sidecar.keys}
    yield from (f"{shard}: {key} is accepted in the ledger, but not there" for shard, key in sorted(accepted - there))
    yield from (f"{shard}: {key} is there, but not accepted in the ledger" for shard, key in sorted(there - accepted))
    expected = len(plan.dropped) + sum(len(sidecar.ledger) for sidecar in sidecars)
    if len(rows) != expected:
        yield f"{ledger.LEDGER_FILE} has {len(rows)} rows, the plan and the sidecars have {expected}"


def against_dataset_json(dataset: Storage, plan: Plan, sidecars: list[Sidecar]) -> Iterator[str]:
    if not dataset.exists(DATASET_FILE):
        yield f"{DATASET_FILE} is missing: run `a2h prepare` again to finish"
        return
    try:
        values = json.loads(dataset.read(DATASET_FILE))
        said = values["fingerprint"], values["plan"]
    except (ValueError, KeyError, TypeError):
        yield f"{DATASET_FILE} is damaged: run `a2h prepare` again"
        return
    if said != (fingerprint_of({sidecar.shard: sidecar.sha256 for sidecar in sidecars}), plan.hash):
        yield f"{DATASET_FILE} has another fingerprint than the shards"
