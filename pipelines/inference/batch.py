"""Many pairs from a table, on a cluster.

Again, it goes on: what is there, made from just this, is left.
"""

from __future__ import annotations

import csv
import functools
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from a2h_models.errors import A2HError, FailedError, InputError
from pipelines import registry
from pipelines.config import GenerateCommand
from pipelines.core.storage import Storage
from pipelines.execution import cluster
from pipelines.inference.generation import check_format, load, origin_of, target_of, write
from pipelines.inference.model import load_animator
from pipelines.inference.provenance import made_before

if TYPE_CHECKING:
    from a2h_models.inference.animator import Animator

COLUMNS = ("portrait", "speech")  # of the table; `ref_pose` and `name` may stand beside them
REPORT = "generated.csv"  # beside the results
DONE, THERE, FAILED = "generated", "there already", "failed"


@dataclass(frozen=True)
class Pair:
    """One row of the table."""

    portrait: str
    speech: str
    ref_pose: str = ""


@dataclass(frozen=True)
class BatchRow:
    """What became of a pair."""

    portrait: str
    speech: str
    file: str
    status: str  # generated | there already | failed
    error_message: str = ""


def generate_pairs(command: GenerateCommand) -> str:
    """Make every pair's video into `result_dir`; what went wrong stands in `generated.csv`, and
    stops no other.

    Raises:
        InputError: for a table without pairs, or two pairs with one name.
        FailedError: if a pair failed; all others are done.
    """
    check_format(command.generate.format)
    pairs = read_pairs(Path(command.pairs))
    orders = [
        replace(command, source_image=pair.portrait, driven_audio=pair.speech, ref_pose=pair.ref_pose) for pair in pairs
    ]
    _refuse_same_names(command.pairs, orders)
    if command.model.startswith(registry.SCHEME):  # one version for all, whatever happens to the alias meanwhile
        found = str(registry.find(command.model, command.logger))
        orders = [replace(order, model=found) for order in orders]
    rows = [_row(order, outcome) for order, outcome in _run(orders, command)]
    rows.sort(key=lambda row: row.file)
    _report(Path(command.result_dir), rows)
    counts = Counter(row.status for row in rows)
    told = ", ".join(f"{counts[status]} {status}" for status in (DONE, THERE, FAILED))
    if counts[FAILED]:
        raise FailedError(
            f"{len(rows)} pairs: {told}",
            hint=f"{Path(command.result_dir) / REPORT} says why; the same command tries them again",
        )
    return f"{len(rows)} pairs: {told}; see {Path(command.result_dir) / REPORT}"


def read_pairs(table: Path) -> list[Pair]:
    """The rows of a CSV with the columns portrait and speech (and ref_pose); paths are relative to
    the table.

    Raises:
        InputError: naming what is missing.
    """
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            if missing := [column for column in COLUMNS if column not in (reader.fieldnames or ())]:
                raise InputError(f"{table} has no column {missing[0]}", hint="its first line must be portrait,speech")
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"{table} cannot be read as a table ({error})", hint="pairs= takes a CSV file in UTF-8"
        ) from None
    if not rows:
        raise InputError(f"{table} lists no pairs")
    return [_pair(table, number, row) for number, row in enumerate(rows, start=2)]


def _pair(table: Path, line: int, row: dict[str, str | None]) -> Pair:
    if empty := [column for column in COLUMNS if not row.get(column)]:
        raise InputError(f"{table}, line {line}: {empty[0]} is empty")
    values = {field.name: row.get(field.name) or "" for field in fields(Pair)}
    return Pair(**{name: str(table.parent / value) if value else "" for name, value in values.items()})


def _refuse_same_names(table: str, orders: list[GenerateCommand]) -> None:
    twice = [str(target) for target, count in Counter(map(target_of, orders)).items() if count > 1]
    if twice:
        raise InputError(
            f"{table}: {len(twice)} file(s) would be written more than once, such as {twice[0]}",
            hint="give other file names",
        )


def _run(
    orders: list[GenerateCommand], command: GenerateCommand
) -> Iterator[tuple[GenerateCommand, str | cluster.Failure]]:
    yield from cluster.run(
        make,
        orders,
        command.cluster,
        describe="generate",
        key=lambda order: str(target_of(order)),
        tally=lambda outcome: {outcome if outcome in {DONE, THERE} else FAILED: 1},
    )


def make(order: GenerateCommand) -> str:
    """One pair on a worker: its status, or else the message of what went wrong."""
    try:
        animator, model = _animator(order.model, order.generate.precision, order.generate.compile, _Shared(order))
        if made_before(target_of(order), origin_of(order, model)):
            return THERE
        portrait, wave = load(order)
        write(target_of(order), portrait, wave, animator, origin_of(order, model), order)
    except (A2HError, OSError) as error:
        return f"{FAILED}: {error}"
    return DONE


class _Shared:
    """The command behind the cached model; equal to any other, for it is no part of the key."""

    def __init__(self, command: GenerateCommand) -> None:
        self.command = command

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Shared)

    def __hash__(self) -> int:
        return 0


@functools.lru_cache(maxsize=1)
def _animator(_model: str, _precision: str, _compile: bool, shared: _Shared) -> tuple[Animator, str]:
    """Loaded once by each worker."""
    return load_animator(shared.command)


def _row(order: GenerateCommand, outcome: str | cluster.Failure) -> BatchRow:
    said = f"{FAILED}: {outcome.message}" if isinstance(outcome, cluster.Failure) else outcome
    status, _, message = said.partition(": ")
    return BatchRow(order.source_image, order.driven_audio, str(target_of(order)), status, message)


def _report(folder: Path, rows: list[BatchRow]) -> None:
    with Storage(folder).writer(REPORT) as file:
        lines = [[field.name for field in fields(BatchRow)], *(list(map(str, asdict(row).values())) for row in rows)]
        file.write("".join(_line(line) for line in lines).encode())


def _line(values: list[str]) -> str:
    import io

    text = io.StringIO(newline="")
    csv.writer(text).writerow(values)
    return text.getvalue()
