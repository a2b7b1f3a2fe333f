"""The ledger: one row for every video and every candidate clip, with status, reason and all scores.
Nothing is lost: it balances.

Columns `status`, `reason` and `error_message` are named as in video2dataset and datatrove.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, get_type_hints

from a2h_models.errors import DatasetError
from a2h_models.timebase import Span
from pipelines.core.storage import Storage
from pipelines.prepare.planning.plan import Plan, Unit, Video
from pipelines.prepare.reasons import Reason, Status, status_of
from pipelines.prepare.scores import SCORES, Scores

if TYPE_CHECKING:
    import pyarrow as pa

LEDGER_FILE = "ledger.parquet"
VIDEO, CLIP = "video", "clip"
CONSENT = {True: "yes", False: "no", None: ""}
SORTED_BY = ("file", "key", "start", "stop", "identity")  # within each kind
BALANCED = ("kind", "key", "file", "shard", "start", "status", "reason")  # the columns that must add up
MAX_DIFFERENCES = 10  # that are told
ROWS_A_GROUP = 100_000  # of the Parquet file
ORDER = {reason.value: number for number, reason in enumerate(Reason)}


@dataclass(frozen=True, kw_only=True)
class LedgerRow:
    """One video or one candidate clip. Frames count at 25 fps."""

    kind: str  # video | clip
    key: str  # of the clip's sample; empty for a video
    file: str
    sha256: str  # of the video
    identity: str
    split: str  # empty for what never came into a unit
    shard: str
    start: int  # frames of the video
    stop: int
    status: str
    reason: str  # empty where accepted
    error_message: str
    fps: float  # of the video
    width: int
    height: int
    licence: str = ""  # as the manifest or the table of identities said; and so the next two
    consent: str = ""  # yes | no; empty: not stated
    extra: str = ""  # the manifest's further columns, as JSON
    crop: str = ""  # x, y, side of the crop's square, pixels of the video as shown
    scores: Scores = field(default_factory=Scores)

    def flat(self) -> dict[str, Any]:
        """As columns: the scores beside the rest."""
        values = asdict(self)
        return {**values, **values.pop("scores")}


def printable(name: str) -> str:
    """A file name that can stand in JSON and Parquet, also where it is not UTF-8."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def video_row(video: Video, *, unit: Unit | None, reason: Reason | None, error_message: str = "") -> LedgerRow:
    """The row of a video; `reason` None means that it has an accepted clip."""
    return LedgerRow(
        kind=VIDEO,
        key="",
        file=printable(video.file),
        sha256=video.sha256,
        identity=printable(video.identity),
        split=unit.split if unit else "",
        shard=unit.shard if unit else "",
        start=video.start,
        stop=video.start + video.frames,
        status=status_of(reason).value,
        reason=reason.value if reason else "",
        error_message=printable(error_message),
        fps=round(video.fps, 3),
        width=video.width,
        height=video.height,
        licence=printable(video.licence),
        consent=CONSENT[video.consent],
        extra=printable(video.extra),
    )


def clip_row(
    video: Video,
    *,
    unit: Unit,
    key: str,
    span: Span,
    crop: str,
    scores: Scores,
    reason: Reason | None,
    error_message: str = "",
) -> LedgerRow:
    """The row of a candidate clip."""
    return LedgerRow(
        kind=CLIP,
        key=key,
        file=printable(video.file),
        sha256=video.sha256,
        identity=printable(video.identity),
        split=unit.split,
        shard=unit.shard,
        start=span.start,
        stop=span.stop,
        status=status_of(reason).value,
        reason=reason.value if reason else "",
        error_message=printable(error_message),
        fps=round(video.fps, 3),
        width=video.width,
        height=video.height,
        licence=printable(video.licence),
        consent=CONSENT[video.consent],
        extra=printable(video.extra),
        crop=crop,
        scores=scores,
    )


def outcome(clips: Sequence[LedgerRow]) -> Reason | None:
    """What became of a video, from its clips: None if one is accepted; else the reason that cost
    the most frames.

    Without a single candidate there was no face.
    """
    if any(row.status == Status.ACCEPTED for row in clips):
        return None
    cost: Counter[str] = Counter()
    for row in clips:
        cost[row.reason] += row.stop - row.start
    return Reason(min(cost, key=lambda reason: (-cost[reason], ORDER[reason]))) if cost else Reason.NO_FACE


# --------------------------------------------------------------------------- all rows, as one table
def collect(plan: Plan, batches: Iterable[Sequence[Mapping[str, Any]]]) -> pa.Table:
    """The whole ledger: what the plan dropped, and the rows of all units. Videos first, each kind
    by file and key.

    Batches become columns as they come, so that a million rows need some hundred megabytes.

    Raises:
        DatasetError: if it does not balance.
    """
    rows = join(plan, map(table, batches))
    balance(rows, inputs=plan.inputs)
    return rows


def join(plan: Plan, units: Iterable[pa.Table]) -> pa.Table:
    """What the plan dropped, and the tables of all units, in the order of the ledger.

    Columns are put in order one after the other: a sorted copy of the whole would double the
    memory.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    dropped = [
        video_row(video, unit=None, reason=Reason(video.reason), error_message=video.error_message).flat()
        for video in plan.dropped
    ]
    joined = pa.concat_tables([table(dropped), *units])
    order = pc.sort_indices(joined, sort_keys=[("kind", "descending"), *((name, "ascending") for name in SORTED_BY)])
    schema, columns = joined.schema, joined.columns
    del joined
    for number, column in enumerate(columns):
        columns[number] = column.combine_chunks().take(order)
    return pa.table(columns, schema=schema)


def table(rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    """Rows as columns. All columns are always there, of the same types."""
    import pyarrow as pa

    return pa.Table.from_pylist(list(rows), schema=_schema())


def _schema() -> pa.Schema:
    import pyarrow as pa

    # large: the texts of a column may be more than 2 GB
    kinds = {str: pa.large_string(), int: pa.int64(), float: pa.float64()}
    hints = get_type_hints(LedgerRow)
    plain = [(entry.name, kinds[hints[entry.name]]) for entry in fields(LedgerRow) if entry.name != "scores"]
    return pa.schema([*plain, *((score, pa.float64()) for score in SCORES)])


def records(rows: pa.Table) -> list[dict[str, Any]]:
    """A table's rows as dicts: for few."""
    found: list[dict[str, Any]] = rows.to_pylist()
    return found


def where(rows: pa.Table, **values: str) -> pa.Table:
    """The rows in which each of the columns has that value."""
    import pyarrow.compute as pc

    for name, value in values.items():
        rows = rows.filter(pc.equal(rows[name], value))
    return rows


def counts(column: pa.ChunkedArray) -> dict[str, int]:
    """How often each value stands in a column, the most frequent first."""
    found = [(str(entry["values"]), int(entry["counts"])) for entry in column.value_counts().to_pylist()]
    return dict(sorted(found, key=lambda item: (-item[1], item[0])))


def frames(rows: pa.Table) -> int:
    """The frames of all rows together."""
    import pyarrow.compute as pc

    return int(pc.sum(pc.subtract(rows["stop"], rows["start"])).as_py() or 0)


def balance(rows: pa.Table, *, inputs: int) -> None:
    """Inputs = accepted + rejected + failed, for videos and for clips.

    Raises:
        DatasetError: naming what does not add up.
    """
    rows = rows.select(BALANCED)  # a filter copies every column that there is
    videos, clips = where(rows, kind=VIDEO), where(rows, kind=CLIP)
    for name, seen, expected in (("videos", videos, inputs), ("clips", clips, len(clips))):
        found = counts(seen["status"])
        if sum(found.get(status, 0) for status in Status) != expected:
            raise DatasetError(f"the ledger does not balance: {expected} {name} went in, {found} came out")
    for level, column in (("video", _places(videos)), ("clip", clips["key"])):
        if len(column) != len(column.unique()):
            twice = next(value for value, number in counts(column).items() if number > 1)
            raise DatasetError(f"the ledger holds the {level} {twice} more than once")
    _agree(videos, clips)
    if unknown := set(counts(rows["reason"])) - set(ORDER) - {""}:
        raise DatasetError(f"the ledger gives a reason that nobody knows: {min(unknown)!r}")
    if silent := len(where(rows, reason="")) - len(where(rows, status=Status.ACCEPTED)):
        raise DatasetError(
            f"the ledger does not balance: {abs(silent)} rows have a status and a reason that contradict each other"
        )


def _places(videos: pa.Table) -> pa.ChunkedArray:
    """File and first frame of what came into a unit: a manifest may list several spans of a file,
    and those that were dropped twice.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    looked_at = videos.filter(pc.not_equal(videos["shard"], ""))
    return pc.binary_join_element_wise(
        looked_at["file"], pc.cast(looked_at["start"], pa.large_string()), pa.scalar(" from frame ", pa.large_string())
    )


def _agree(videos: pa.Table, clips: pa.Table) -> None:
    """A video is accepted exactly if one of its clips is."""
    import pyarrow.compute as pc

    accepted = where(clips, status=Status.ACCEPTED)["file"].unique()
    claimed = where(videos, status=Status.ACCEPTED)["file"].unique()
    for one, other in ((accepted, claimed), (claimed, accepted)):
        odd = one.filter(pc.invert(pc.is_in(one, value_set=other)))
        if len(odd):
            raise DatasetError(
                f"the ledger does not balance: the video {odd[0]} and its clips disagree on whether one was accepted"
            )


def differences(found: pa.Table, expected: pa.Table) -> Iterator[str]:
    """How a ledger differs from what the plan and the sidecars say; the first few rows, each with
    the columns.
    """
    if lacking := [
        name
        for name in expected.schema.names
        if name not in found.schema.names and expected[name].null_count < len(expected)
    ]:
        yield f"{LEDGER_FILE} lacks the columns {', '.join(lacking)}"
        return
    # a newer program may know more scores
    shared = [name for name in expected.schema.names if name in found.schema.names]
    if len(found) != len(expected):
        yield f"{LEDGER_FILE} has {len(found)} rows, the plan and the sidecars have {len(expected)}"
        return
    odd = {name: _unequal(found[name], expected[name]) for name in shared if not found[name].equals(expected[name])}
    for row in sorted(set().union(*odd.values()))[:MAX_DIFFERENCES]:
        columns = ", ".join(name for name, rows in odd.items() if row in rows)
        kind, key, file = (expected[name][row].as_py() for name in ("kind", "key", "file"))
        yield f"{LEDGER_FILE} says of the {kind} {key or file} something else than its sidecar: {columns}"


def _unequal(found: pa.ChunkedArray, expected: pa.ChunkedArray) -> set[int]:
    pairs = zip(found.to_pylist(), expected.to_pylist(), strict=True)
    return {number for number, (said, true) in enumerate(pairs) if said != true}


def write(dataset: Storage, rows: pa.Table) -> None:
    """Publish ledger.parquet."""
    import pyarrow.parquet as pq

    with dataset.writer(LEDGER_FILE) as handle:
        pq.write_table(rows, handle, row_group_size=ROWS_A_GROUP)


def read(dataset: Storage, columns: Sequence[str] | None = None) -> pa.Table:
    """The ledger, or some of its columns.

    Raises:
        DatasetError: if it is missing or damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not dataset.exists(LEDGER_FILE):
        raise DatasetError(f"{dataset.url} has no {LEDGER_FILE}", hint="run `a2h prepare` to its end")
    try:
        with dataset.open(LEDGER_FILE) as handle:
            return pq.read_table(handle, columns=columns)
    except (pa.ArrowException, OSError) as error:
        sentence = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DatasetError(
            f"{dataset.url}/{LEDGER_FILE} is damaged ({sentence})", hint="run `a2h prepare` again: it is rebuilt"
        ) from None
