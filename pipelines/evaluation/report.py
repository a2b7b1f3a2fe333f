"""What an evaluation leaves to look at: a table, a picture of the worst and the best clips, and
files for other programs.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
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
    *("clips.png", "report.html", "timings.json"),  # the last is not the same on every machine, and so stands apart
)
NOT_MEASURED = "not_measured"  # key of metrics.parquet's metadata: JSON, metrics → why they have no number
TABLE_WIDTH = 160  # letters


def draw_table(summary: Mapping[str, Any]) -> str:
    """Metrics down, ground truth, copied portrait and protocols across; what is not measured says
    why.
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
    """The worst clips, then the best: truth above, the model's below."""
    worst, best = extremes([result for result in results if result.strip.size], config)
    return np.concatenate([result.strip for result in worst + best])


def extremes(results: Sequence[ClipResult], config: EvaluateConfig) -> tuple[list[ClipResult], list[ClipResult]]:
    """The worst and the best clips, by SSIM under the first protocol; a clip is never both."""
    # videos have one of them
    row = next((name for name in config.protocols if results and name in results[0].rows), "")
    ranked = sorted(results, key=lambda result: (result.rows[row]["ssim"], result.key))
    worst = ranked[: config.pictured_clips]
    return worst, ranked[len(worst) :][-config.pictured_clips :]


def write(
    summary: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    table: str,
    sheet: UInt8[np.ndarray, "h w 3"],
    page: str,
    timings: Mapping[str, Any],
    out: Path,
) -> None:
    """Write `FILES`; the summary last, so that where it stands everything stands."""
    from PIL import Image

    picture = io.BytesIO()
    Image.fromarray(sheet).save(picture, format="PNG")
    text = json.dumps(summary, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    storage = Storage(out)
    storage.publish(CLIPS_FILE, _parquet(rows, summary["not_measured"]))
    storage.publish(PICTURE_FILE, picture.getvalue())
    storage.publish(PAGE_FILE, page.encode())
    storage.publish(TIMINGS_FILE, f"{json.dumps(timings, indent=1, sort_keys=True)}\n".encode())
    storage.publish(TABLE_FILE, f"{table}\n".encode())
    storage.publish(SUMMARY_FILE, f"{text}\n".encode())


def _parquet(rows: Sequence[Mapping[str, Any]], reasons: Mapping[str, str]) -> bytes:
    """One row a clip and row of the table; what no clip has is a column of nulls, and the file's
    own metadata say why.
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
