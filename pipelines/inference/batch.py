"""Generate many videos from a table of portraits and recordings, on a cluster.

A repeated command continues: outputs that were made from exactly these inputs are left alone.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from a2h_models.errors import A2HError, FailedError, InputError
from pipelines.config import GenerateCommand
from pipelines.core.storage import Storage
from pipelines.execution import pool
from pipelines.execution.sandbox import Failure
from pipelines.execution.task import Task
from pipelines.inference.generation import (
    load_inputs,
    origin_of_command,
    output_path,
    validate_format,
    write_output,
)
from pipelines.inference.model import LoadedModel, load_animator
from pipelines.inference.provenance import is_up_to_date
from pipelines.registry import ModelRegistry

COLUMNS = ("portrait", "speech")  # required columns of the table; `ref_pose` is optional
REPORT = "generated.csv"  # in the folder of the results
GENERATED, UP_TO_DATE, FAILED = "generated", "there already", "failed"


@dataclass(frozen=True)
class BatchInput:
    """One row of the table; paths."""

    portrait: str
    speech: str
    ref_pose: str = ""


@dataclass(frozen=True)
class BatchResult:
    """One row of the report."""

    portrait: str
    speech: str
    file: str
    status: str  # generated | there already | failed
    error_message: str = ""


def generate_pairs(command: GenerateCommand) -> str:
    """Generate a video for every row of the table `command.pairs` and return a summary.

    A row that fails does not stop the others; the report `generated.csv` in `result_dir` gives the
    reason.

    Raises:
        InputError: for a table without rows, or two rows with the same output file.
        FailedError: if a row failed; all others are done.
    """
    validate_format(command.generate.format)
    rows = read_pairs(Path(command.pairs))
    commands = [
        replace(command, source_image=row.portrait, driven_audio=row.speech, ref_pose=row.ref_pose) for row in rows
    ]
    _refuse_duplicate_outputs(command.pairs, commands)
    # one version for all rows, even if the alias moves meanwhile
    model = ModelRegistry.from_config(command.logger).pin(command.model)
    commands = [replace(each, model=model) for each in commands]
    results = sorted((_result(each, outcome) for each, outcome in _run(commands, command)), key=lambda row: row.file)
    _write_report(Path(command.result_dir), results)
    counts = Counter(row.status for row in results)
    summary = f"{len(results)} pairs: " + ", ".join(
        f"{counts[status]} {status}" for status in (GENERATED, UP_TO_DATE, FAILED)
    )
    report = Path(command.result_dir) / REPORT
    if counts[FAILED]:
        raise FailedError(summary, hint=f"{report} says why; the same command tries them again")
    return f"{summary}; see {report}"


def read_pairs(table: Path) -> list[BatchInput]:
    """Read a CSV with the columns portrait, speech and optionally ref_pose.

    Paths are relative to the folder of the table.

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
    return [_parse_row(table, line, row) for line, row in enumerate(rows, start=2)]


def _parse_row(table: Path, line: int, row: dict[str, str | None]) -> BatchInput:
    if empty := [column for column in COLUMNS if not row.get(column)]:
        raise InputError(f"{table}, line {line}: {empty[0]} is empty")
    values = {field.name: row.get(field.name) or "" for field in fields(BatchInput)}
    return BatchInput(**{name: str(table.parent / value) if value else "" for name, value in values.items()})


def _refuse_duplicate_outputs(table: str, commands: list[GenerateCommand]) -> None:
    duplicates = [str(path) for path, count in Counter(map(output_path, commands)).items() if count > 1]
    if duplicates:
        raise InputError(
            f"{table}: {len(duplicates)} file(s) would be written more than once, such as {duplicates[0]}",
            hint="give other file names",
        )


def _run(commands: list[GenerateCommand], command: GenerateCommand) -> Iterator[tuple[GenerateCommand, str | Failure]]:
    task = Task(
        function=generate_one,
        describe="generate",
        key=lambda each: str(output_path(each)),
        tally=lambda outcome: {outcome if outcome in {GENERATED, UP_TO_DATE} else FAILED: 1},
    )
    yield from pool.run(task, commands, command.cluster)


def generate_one(command: GenerateCommand) -> str:
    """Generate one video on a worker; return its status, or `failed: ` and the error message."""
    try:
        model = _load_model_once(command)
        if is_up_to_date(output_path(command), origin_of_command(command, model.name)):
            return UP_TO_DATE
        write_output(command, load_inputs(command), model)
    except (A2HError, OSError) as error:
        return f"{FAILED}: {error}"
    return GENERATED


_loaded_models: dict[tuple[str, str, bool, str], LoadedModel] = {}  # at most one for each worker process


def _load_model_once(command: GenerateCommand) -> LoadedModel:
    """Return the model of the last call in this process, or load it if another is asked for."""
    settings = command.generate
    key = (command.model, settings.precision, settings.compile, settings.backend)
    if key not in _loaded_models:
        _loaded_models.clear()
        _loaded_models[key] = load_animator(command)
    return _loaded_models[key]


def _result(command: GenerateCommand, outcome: str | Failure) -> BatchResult:
    text = f"{FAILED}: {outcome.message}" if isinstance(outcome, Failure) else outcome
    status, _, message = text.partition(": ")
    return BatchResult(command.source_image, command.driven_audio, str(output_path(command)), status, message)


def _write_report(folder: Path, results: list[BatchResult]) -> None:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, [field.name for field in fields(BatchResult)])
    writer.writeheader()
    writer.writerows(asdict(row) for row in results)
    with Storage(folder).writer(REPORT) as file:
        file.write(text.getvalue().encode())
