"""Rows of a table that a user wrote: CSV, JSON Lines or Parquet, on any store, read piece by piece.

Every row comes with the words that name its place, so that a complaint about it can be found with
an editor.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from a2h_models.errors import InputError
from pipelines.core.storage import Storage

MAX_FIELD = 2**20  # letters of one value of a CSV; Python's own limit is 131,072
ROWS_AT_ONCE = 4096  # of a Parquet file, in memory


class TableRow(NamedTuple):
    """One row; `values` by column. What is empty or null is not there."""

    place: str  # for messages: "people.csv, line 7"
    values: dict[str, Any]


def is_table(url: str) -> bool:
    """Whether a name is one of a table, by its suffix."""
    return _suffix(url) in READERS


def read_table(url: str) -> Iterator[TableRow]:
    """All rows, in their order; columns without a name and empty values are left out.

    Raises:
        InputError: if the file is missing, is no table of the kind that its suffix promises, or a
            row does not fit its columns.
    """
    folder, slash, name = url.rpartition("/")
    store = Storage(folder or slash or ".")
    if not store.is_file(name):
        raise InputError(f"{url} does not exist")
    reader = READERS.get(_suffix(url))
    if reader is None:
        raise InputError(f"{url} is no table", hint=f"give a file that ends in {', '.join(sorted(READERS))}")
    for place, values in reader(store, name, url):
        yield TableRow(place, {column: value for column, value in values.items() if not is_empty(value)})


def is_empty(value: Any) -> bool:
    """Null, not a number (pandas' null), or text without a letter."""
    return value is None or value != value or (isinstance(value, str) and not value.strip())  # noqa: PLR0124  only NaN differs from itself


def _suffix(url: str) -> str:
    return PurePosixPath(url.rpartition("/")[2]).suffix.lower()


# -------------------------------------------------------------------------------- one reader a kind
def _csv(store: Storage, name: str, url: str) -> Iterator[tuple[str, dict[str, Any]]]:
    csv.field_size_limit(MAX_FIELD)
    with store.open(name) as raw, io.TextIOWrapper(raw, encoding="utf-8-sig", newline="") as text:
        rows = csv.reader(text)
        try:
            columns = [column.strip() for column in next(rows, [])]
            for row in rows:
                if not row:  # an empty line
                    continue
                if len(row) != len(columns):
                    raise InputError(f"{url}, line {rows.line_num} has {len(row)} values for {len(columns)} columns")
                yield f"{url}, line {rows.line_num}", dict(zip(columns, row, strict=True))
        except UnicodeDecodeError as error:
            raise InputError(f"{url} is not UTF-8 text ({error.reason} at byte {error.start})") from None
        except csv.Error as error:
            raise InputError(f"{url}, line {rows.line_num}: {error}") from None


def _jsonl(store: Storage, name: str, url: str) -> Iterator[tuple[str, dict[str, Any]]]:
    with store.open(name) as raw:
        for number, line in enumerate(raw, start=1):
            if not line.strip():
                continue
            try:
                values = json.loads(line)
            except ValueError as error:
                raise InputError(f"{url}, line {number} is not JSON ({error})") from None
            if not isinstance(values, dict):
                raise InputError(
                    f"{url}, line {number} is not a JSON object",
                    hint='write one a line: {"url": "a.mp4", "identity": "ann"}',
                )
            yield f"{url}, line {number}", values


def _parquet(store: Storage, name: str, url: str) -> Iterator[tuple[str, dict[str, Any]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    with store.open(name) as handle:
        try:
            for batch in pq.ParquetFile(handle).iter_batches(batch_size=ROWS_AT_ONCE):
                for values in batch.to_pylist():
                    number += 1
                    yield f"{url}, row {number}", values
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{url} is not a Parquet file ({error})") from None


READERS: dict[str, Callable[[Storage, str, str], Iterator[tuple[str, dict[str, Any]]]]] = {
    ".csv": _csv,
    ".jsonl": _jsonl,
    ".ndjson": _jsonl,
    ".parquet": _parquet,
}
