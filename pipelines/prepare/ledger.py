"""The ledger: one row for every video and every candidate clip, with status, reason and all scores. Nothing is lost: it balances.

Columns `status`, `reason` and `error_message` are named as in video2dataset and datatrove.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from a2h_models.errors import DatasetError
from a2h_models.timebase import Span
from pipelines.prepare.filters import SCORES, Reason, Scores, Status, status_of
from pipelines.prepare.plan import Plan, Unit, Video
from pipelines.storage import Storage

if TYPE_CHECKING:
    import pandas as pd

LEDGER_FILE = "ledger.parquet"
VIDEO, CLIP = "video", "clip"
ORDER = {reason.value: number for number, reason in enumerate(Reason)}


@dataclass(frozen=True, kw_only=True)
class Row:
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
    crop: str = ""  # x, y, side of the crop's square, pixels of the video as shown
    scores: Scores = field(default_factory=Scores)

    def flat(self) -> dict[str, Any]:
        """As columns: the scores beside the rest."""
        values = asdict(self)
        return {**values, **values.pop("scores")}


def printable(name: str) -> str:
    """A file name that can stand in JSON and Parquet, also where it is not UTF-8."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def video_row(video: Video, *, unit: Unit | None, reason: Reason | None, error_message: str = "") -> Row:
    """The row of a video; `reason` None means that it has an accepted clip."""
    return Row(
        kind=VIDEO,
        key="",
        file=printable(video.file),
        sha256=video.sha256,
        identity=printable(video.identity),
        split=unit.split if unit else "",
        shard=unit.shard if unit else "",
        start=0,
        stop=video.frames,
        status=status_of(reason).value,
        reason=reason.value if reason else "",
        error_message=printable(error_message),
        fps=round(video.fps, 3),
        width=video.width,
        height=video.height,
    )


def clip_row(
    video: Video, *, unit: Unit, key: str, span: Span, crop: str, scores: Scores, reason: Reason | None, error_message: str = ""
) -> Row:
    """The row of a candidate clip."""
    return Row(
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
        crop=crop,
        scores=scores,
    )


def outcome(clips: Sequence[Row]) -> Reason | None:
    """What became of a video, from its clips: None if one is accepted; else the reason that cost the most frames.

    Without a single candidate there was no face.
    """
    if any(row.status == Status.ACCEPTED for row in clips):
        return None
    cost: Counter[str] = Counter()
    for row in clips:
        cost[row.reason] += row.stop - row.start
    return Reason(min(cost, key=lambda reason: (-cost[reason], ORDER[reason]))) if cost else Reason.NO_FACE


def collect(plan: Plan, unit_rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The whole ledger: what the plan dropped, and the rows of all units. Videos first, each kind by file and key.

    Raises:
        DatasetError: if it does not balance.
    """
    dropped = [video_row(video, unit=None, reason=Reason(video.reason), error_message=video.error_message).flat() for video in plan.dropped]
    rows = sorted([*dropped, *map(dict, unit_rows)], key=lambda row: (row["kind"] != VIDEO, row["file"], row["key"]))
    balance(rows, inputs=plan.inputs)
    return rows


def balance(rows: Sequence[Mapping[str, Any]], *, inputs: int) -> None:
    """Inputs = accepted + rejected + failed, for videos and for clips.

    Raises:
        DatasetError: naming what does not add up.
    """
    videos = [row for row in rows if row["kind"] == VIDEO]
    clips = [row for row in rows if row["kind"] == CLIP]
    for name, seen, expected in (("videos", videos, inputs), ("clips", clips, len(clips))):
        counts = Counter(row["status"] for row in seen)
        if sum(counts[status] for status in Status) != expected:
            raise DatasetError(f"the ledger does not balance: {expected} {name} went in, {dict(counts)} came out")
    for level, keys in (("video", [row["file"] for row in videos]), ("clip", [row["key"] for row in clips])):
        if twice := [key for key, number in Counter(keys).items() if number > 1]:
            raise DatasetError(f"the ledger holds the {level} {twice[0]} more than once")
    accepted = {row["file"] for row in clips if row["status"] == Status.ACCEPTED}
    claimed = {row["file"] for row in videos if row["status"] == Status.ACCEPTED}
    if accepted != claimed:
        odd = min(accepted ^ claimed)
        raise DatasetError(f"the ledger does not balance: the video {odd} and its clips disagree on whether one was accepted")
    if unknown := {row["reason"] for row in rows if row["status"] != Status.ACCEPTED} - set(ORDER):
        raise DatasetError(f"the ledger gives a reason that nobody knows: {min(unknown)!r}")


def write(dataset: Storage, rows: Sequence[Mapping[str, Any]]) -> None:
    """Publish ledger.parquet. All columns are always there, of the same types."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pylist([dict(row) for row in rows], schema=_schema())
    with dataset.writer(LEDGER_FILE) as handle:
        pq.write_table(table, handle)


def _schema() -> Any:
    import pyarrow as pa

    text = ("kind", "key", "file", "sha256", "identity", "split", "shard", "status", "reason", "error_message", "crop")
    whole = ("start", "stop", "width", "height")
    real = ("fps", *SCORES)
    return pa.schema(
        [(name, pa.string()) for name in text] + [(name, pa.int64()) for name in whole] + [(name, pa.float64()) for name in real]
    )


def read(dataset: Storage) -> pd.DataFrame:
    """The ledger as a table.

    Raises:
        DatasetError: if it is missing or damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not dataset.exists(LEDGER_FILE):
        raise DatasetError(f"{dataset.url} has no {LEDGER_FILE}", hint="run `a2h prepare` to its end")
    try:
        with dataset.open(LEDGER_FILE) as handle:
            table: pd.DataFrame = pq.read_table(handle).to_pandas()
    except pa.ArrowException as error:
        raise DatasetError(f"{dataset.url}/{LEDGER_FILE} is damaged ({error})", hint="run `a2h prepare` again: it is rebuilt") from None
    return table


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """A table's rows as dicts."""
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]
