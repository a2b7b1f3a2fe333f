"""report.html: what became of the videos, in numbers and pictures. One file that needs nothing
beside it.

Whatever the dataset's size, it reads columns and not rows, a bounded number of clips, and stays
below `MAX_BYTES`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.config import FiltersConfig
from pipelines.core.storage import Storage
from pipelines.dataset.fingerprints import DATASET_FILE
from pipelines.dataset.shard_format import decode_npy, read_members, sidecar_names
from pipelines.prepare.output import gallery, ledger, timings
from pipelines.prepare.output.previews import spread
from pipelines.prepare.output.summary import FRAMES_PER_HOUR
from pipelines.prepare.planning.plan import PLAN_FILE, SPLITS, Plan
from pipelines.prepare.reasons import Status
from pipelines.prepare.scores import SCORE_LIST, Score
from pipelines.prepare.steps.order import STEPS
from pipelines.prepare.steps.score import angles
from pipelines.reporting import charts, html_page

if TYPE_CHECKING:
    import pyarrow as pa

REPORT_FILE = "report.html"
MAX_BYTES = 10_000_000  # of the page; gallery.MAX_BYTES of it are pictures
MAX_VIDEOS = 200  # rows of the table of videos without a sample
MAX_SLOWEST = 15  # videos
MAX_TEXT = 200  # letters of a file name or message
POSED_CLIPS = 300  # whose poses are read, evenly drawn
SECONDS_PER_HOUR = 3600


def write_report(path: str | Path | Storage, *, fingerprint: str = "", price_per_worker_hour: float = 0.0) -> None:
    """Write report.html of a dataset from its ledger, shards, previews and timings.

    Args:
        path: the dataset's folder.
        fingerprint: of the dataset; empty: as dataset.json says.
        price_per_worker_hour: in the user's currency; 0: not known.

    Raises:
        DatasetError: if the dataset is not whole.
    """
    from markupsafe import Markup

    dataset = path if isinstance(path, Storage) else Storage(path)
    rows = ledger.read(dataset)
    plan = Plan.from_bytes(dataset.read(PLAN_FILE), name=f"{dataset.url}/{PLAN_FILE}")
    config = FiltersConfig(**plan.config["filters"])
    videos, clips = ledger.where(rows, kind=ledger.VIDEO), ledger.where(rows, kind=ledger.CLIP)
    good, bad = _accepted(clips), _dropped(clips)
    del rows, clips  # a filter copies: a million rows need not be there three times
    useless = _dropped(videos)
    taken = timings.read(dataset)
    pictures = gallery.Gallery(dataset)
    html = html_page.render(
        "report.html",
        name=Path(dataset.url).name,
        fingerprint=fingerprint or json.loads(dataset.read(DATASET_FILE))["fingerprint"],
        plan=plan.hash,
        facts=headline(videos, good),
        funnel=funnel(videos, good, bad),
        splits=split_table(good, sidecar_names(dataset)),
        scores=[{**chart, "svg": Markup(chart["svg"])} for chart in score_charts(good, bad, config)],  # noqa: S704  numbers and words of ours
        poses=Markup(pose_map(dataset, good, config)),  # noqa: S704  likewise
        posed=min(POSED_CLIPS, len(good)),
        time=time_table(taken, ledger.frames(videos), price_per_worker_hour),
        slowest=slowest(taken, videos),
        accepted=pictures.accepted(good),
        accepted_count=len(good),
        dropped=pictures.dropped(bad),
        videos=[
            shortened(row)
            for row in ledger.records(
                useless.select(["file", "status", "reason", "error_message"]).slice(0, MAX_VIDEOS)
            )
        ],
        videos_left_out=max(0, len(useless) - MAX_VIDEOS),
    )
    dataset.publish(REPORT_FILE, html.encode())


# -------------------------------------------------------------------------------- numbers
def _accepted(rows: pa.Table) -> pa.Table:
    return ledger.where(rows, status=Status.ACCEPTED)


def _dropped(rows: pa.Table) -> pa.Table:
    import pyarrow.compute as pc

    return rows.filter(pc.not_equal(rows["status"], Status.ACCEPTED.value))


def headline(videos: pa.Table, good: pa.Table) -> list[dict[str, Any]]:
    return [
        {"name": "videos", "value": f"{len(videos):,}"},
        {"name": "of video", "value": duration(ledger.frames(videos))},
        {"name": "samples", "value": f"{len(good):,}"},
        {"name": "of samples", "value": duration(ledger.frames(good))},
        {"name": "people", "value": f"{len(good['identity'].unique()):,}"},
        {"name": "videos without a sample", "value": f"{len(_dropped(videos)):,}"},
    ]


def duration(frames: float) -> str:
    """In the unit that reads best."""
    hours = frames / FRAMES_PER_HOUR
    if hours >= 1:
        return f"{hours:,.1f} h"
    return f"{60 * hours:.1f} min" if 60 * hours >= 1 else f"{SECONDS_PER_HOUR * hours:.0f} s"


def funnel(videos: pa.Table, good: pa.Table, bad: pa.Table) -> list[dict[str, Any]]:
    """All video, then what came of it: accepted clips, and what each reason cost, the most first.

    A reason is a video's where no clip came of it, else the clips'. What is left over lay between
    clips: no face, or none for long enough.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    files = pa.concat_tables([good.select(["file"]), bad.select(["file"])])["file"].unique()
    with_clips = pc.is_in(videos["file"], value_set=files)
    barren = _dropped(videos.filter(pc.invert(with_clips)))
    lost = {
        reason: (ledger.where(barren, reason=reason), ledger.where(bad, reason=reason))
        for reason in _reasons(barren, bad)
    }
    steps = [
        ("all video", ledger.frames(videos), _number(videos, "video"), "all"),
        ("accepted", ledger.frames(good), _number(good, "clip"), "accepted"),
    ]
    for reason, (files, pieces) in lost.items():
        counted = ", ".join(_number(rows, word) for rows, word in ((files, "video"), (pieces, "clip")) if len(rows))
        steps.append((reason, ledger.frames(files) + ledger.frames(pieces), counted, "dropped"))
    between = ledger.frames(videos.filter(with_clips)) - ledger.frames(good) - ledger.frames(bad)
    ordered = steps[:2] + sorted(steps[2:], key=lambda step: (-step[1], step[0]))
    if between > 0:
        ordered.append(("between clips", between, "", "dropped"))
    total = max(1, ledger.frames(videos))
    return [
        {
            "name": name.replace("_", " "),
            "time": duration(frames),
            "count": what,
            "kind": kind,
            "percent": round(100 * frames / total, 1),
        }
        for name, frames, what, kind in ordered
    ]


def _reasons(*tables: pa.Table) -> list[str]:
    return sorted({reason for table in tables for reason in ledger.counts(table["reason"])})


def _number(rows: pa.Table, word: str) -> str:
    return f"{len(rows):,} {word}{'s' * (len(rows) != 1)}"


def split_table(good: pa.Table, sidecars: Sequence[str]) -> list[dict[str, Any]]:
    rows = {split: ledger.where(good, split=split) for split in SPLITS}
    return [
        {
            "name": split,
            "identities": f"{len(found['identity'].unique()):,}",
            "samples": f"{len(found):,}",
            "time": duration(ledger.frames(found)),
            "shards": sum(name.startswith(f"a2h-{split}-") for name in sidecars),
        }
        for split, found in rows.items()
    ]


def time_table(taken: timings.Timings, frames: int, price: float) -> dict[str, Any]:
    """Worker time by step, beside the length of the video; empty where no time was taken."""
    if not taken.steps or not frames:
        return {}
    hours = frames / FRAMES_PER_HOUR
    cost = taken.total / SECONDS_PER_HOUR / hours
    labels = {step.name: step.label for step in STEPS}
    known = {step: taken.steps.get(step, 0.0) for step in (*labels, *sorted(taken.steps.keys() - labels.keys()))}
    return {
        "steps": [
            {
                "name": labels.get(step, step),
                "time": clock(seconds),
                "percent": round(100 * seconds / max(taken.total, 1e-9), 1),
            }
            for step, seconds in known.items()
        ],
        "total": clock(taken.total),
        "per_hour": f"{cost:.2f}",
        "speed": f"{1 / cost:.1f}" if cost else "–",
        "money": f"{cost * price:.2f}" if price else "",
    }


def clock(seconds: float) -> str:
    """Of the clock, not of video."""
    if seconds >= SECONDS_PER_HOUR:
        return f"{seconds / SECONDS_PER_HOUR:,.1f} h"
    return f"{seconds / 60:.1f} min" if seconds >= 60 else f"{seconds:.1f} s"  # noqa: PLR2004  seconds of a minute


def slowest(taken: timings.Timings, videos: pa.Table) -> list[dict[str, str]]:
    """The videos that took the most time, with what became of them."""
    import pyarrow as pa
    import pyarrow.compute as pc

    worst = sorted(taken.videos, key=lambda sha256: (-taken.videos[sha256], sha256))[:MAX_SLOWEST]
    found = videos.filter(pc.is_in(videos["sha256"], value_set=pa.array(worst, videos.schema.field("sha256").type)))
    by_hash = {row["sha256"]: row for row in ledger.records(found)}
    return [
        {
            **shortened(by_hash[sha256]),
            "took": clock(taken.videos[sha256]),
            "length": duration(by_hash[sha256]["stop"] - by_hash[sha256]["start"]),
            "size": f"{by_hash[sha256]['width']}×{by_hash[sha256]['height']}",
        }
        for sha256 in worst
        if sha256 in by_hash
    ]


def shortened(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row whose texts fit into a table."""
    return {
        name: f"{value[: MAX_TEXT - 1]}…" if isinstance(value, str) and len(value) > MAX_TEXT else value
        for name, value in row.items()
    }


# -------------------------------------------------------------------------------- charts
def score_charts(good: pa.Table, bad: pa.Table, config: FiltersConfig) -> list[dict[str, str]]:
    """Draw one histogram for each score that was measured, with its thresholds."""
    drawn = []
    for score in SCORE_LIST:
        values = [_values(rows, score.name) for rows in (good, bad)]
        if not sum(map(len, values)):
            continue
        found = charts.count(*values)
        shown = charts.near(found, bounds(score, config))
        svg = charts.draw_histogram(found, axis=score.unit, bounds=shown, title=score.title)
        drawn.append({"name": score.title, "svg": svg})
    return drawn


def _values(rows: pa.Table, score: str) -> np.ndarray:
    values = np.asarray(rows[score].drop_null().to_numpy(), float)
    return np.asarray(values[np.isfinite(values)])


def bounds(score: Score, config: FiltersConfig) -> list[float]:
    """Return the thresholds of a score."""
    settings = [setting for setting in (score.at_least, score.at_most, score.condition) if setting]
    values = {float(getattr(config, setting)) for setting in settings}
    if score.both_sides:
        values |= {-value for value in values}
    return sorted(values)


def pose_map(dataset: Storage, good: pa.Table, config: FiltersConfig) -> str:
    """Yaw and pitch of the frames of some samples, evenly drawn; empty where there is no sample."""
    if not len(good):  # no indices have no type, and Arrow wants one
        return ""
    chosen = ledger.records(good.select(["shard", "key"]).take(spread(len(good), POSED_CLIPS)).sort_by("shard"))
    shards = gallery.Shards(dataset)
    poses = [
        decode_npy(
            read_members(dataset, shards[row["shard"]], row["key"], ["pose.npy"]).members["pose.npy"], key=row["key"]
        )
        for row in chosen
    ]
    pitch, yaw, _ = angles(np.concatenate(poses)).T
    return charts.draw_poses(yaw, pitch, max_yaw=config.max_yaw_deg, max_pitch=config.max_pitch_deg)
