"""What an evaluation writes: a table, the worst and the best clips, and files for other programs."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from a2h_models.metrics import DEFINITIONS, OF_SETS
from pipelines.config import EvaluateConfig
from pipelines.core.storage import Storage
from pipelines.core.text_table import text_table
from pipelines.evaluation.clips import ClipResult

SUMMARY_FILE, CLIPS_FILE, TABLE_FILE, PICTURE_FILE, PAGE_FILE, TIMINGS_FILE = FILES = (
    *("metrics.json", "metrics.parquet", "table.txt"),
    *("clips.png", "report.html", "timings.json"),  # the last depends on the machine, so it is a file of its own
)
NOT_MEASURED = "not_measured"  # key of metrics.parquet's metadata: JSON, metrics → why they have no number
TABLE_WIDTH = 160  # characters


def draw_results(summary: Mapping[str, Any]) -> str:
    """Draw a table of text: a line for each metric, a column for each row of the summary.

    Below it, a line says why a metric was not measured.
    """
    rows = summary["rows"]
    title = f"{summary['model']} on {summary['clips']} clips of {Path(summary['dataset']).name} ({summary['split']}), mean [95 % interval]"
    columns = ("metric", "best", *(name.replace("_", " ") for name in rows))
    lines = []
    for metric, definition in DEFINITIONS.items():
        if any(metric in values for values in rows.values()):
            label = f"{definition.label} ({definition.unit})" if definition.unit else definition.label
            lines.append((label, definition.best, *(_cell(values.get(metric)) for values in rows.values())))
    return text_table(title, columns, lines, width=TABLE_WIDTH) + "\n".join(
        f"{name}: {why}" for name, why in summary["not_measured"].items()
    )


def _cell(values: Mapping[str, float | None] | None) -> str:
    if values is None or values["mean"] is None:
        return "–"
    interval = "" if values["low"] is None else f" [{values['low']:.3g}, {values['high']:.3g}]"
    return f"{values['mean']:.3g}{interval}"


def contact_sheet(results: Sequence[ClipResult], config: EvaluateConfig) -> UInt8[np.ndarray, "h w 3"]:
    """Frames of the worst clips, then of the best: the truth above, the generated below."""
    worst, best = extremes([result for result in results if result.strip.size], config)
    return np.concatenate([result.strip for result in worst + best])


def extremes(results: Sequence[ClipResult], config: EvaluateConfig) -> tuple[list[ClipResult], list[ClipResult]]:
    """The worst and the best clips, by SSIM under the first protocol; a clip is never both."""
    # videos have one of them
    row = next((name for name in config.protocols if results and name in results[0].rows), "")
    ranked = sorted(results, key=lambda result: (result.rows[row]["ssim"], result.key))
    worst = ranked[: config.pictured_clips]
    return worst, ranked[len(worst) :][-config.pictured_clips :]


@dataclass(frozen=True, kw_only=True)
class Report:
    """What is written of an evaluation."""

    summary: Mapping[str, Any]  # metrics.json
    rows: list[dict[str, Any]]  # metrics.parquet: one for each clip and row of the table
    table: str  # table.txt
    sheet: UInt8[np.ndarray, "h w 3"]  # clips.png
    page: str  # report.html
    timings: Mapping[str, Any]  # timings.json

    def write(self, out: Path) -> None:
        """Write `FILES`; the summary last, so that where it exists everything exists."""
        from PIL import Image

        sheet = io.BytesIO()
        Image.fromarray(self.sheet).save(sheet, format="PNG")
        summary = json.dumps(self.summary, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
        storage = Storage(out)
        storage.publish(CLIPS_FILE, _parquet(self.rows, self.summary["not_measured"]))
        storage.publish(PICTURE_FILE, sheet.getvalue())
        storage.publish(PAGE_FILE, self.page.encode())
        storage.publish(TIMINGS_FILE, f"{json.dumps(self.timings, indent=1, sort_keys=True)}\n".encode())
        storage.publish(TABLE_FILE, f"{self.table}\n".encode())
        storage.publish(SUMMARY_FILE, f"{summary}\n".encode())


def _parquet(rows: Sequence[Mapping[str, Any]], reasons: Mapping[str, str]) -> bytes:
    """A row for each clip and row of the table.

    A metric that no clip has is a column of nulls; the metadata of the file say why.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    labels = [name for name in rows[0] if name not in DEFINITIONS]
    schema = [*(pa.field(name, pa.array([rows[0][name]]).type) for name in labels)]
    schema += [pa.field(metric, pa.float64()) for metric in DEFINITIONS if metric not in OF_SETS]
    table = pa.Table.from_pylist(
        list(rows), schema=pa.schema(schema, metadata={NOT_MEASURED: json.dumps(dict(reasons))})
    )
    data = io.BytesIO()
    pq.write_table(table, data)
    return data.getvalue()
