"""`report.html` of an evaluation: one page that loads nothing from outside."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from a2h_models.metrics import DEFINITIONS
from pipelines.config import EvaluateConfig
from pipelines.config.compose import CONF_DIR
from pipelines.evaluation.clips import ClipResult
from pipelines.evaluation.protocols import CHAMPION_PREFIX, GROUND_TRUTH, PROTOCOLS
from pipelines.evaluation.report import extremes
from pipelines.reporting.charts import signed, ticks
from pipelines.reporting.html_page import picture, render

PUBLISHED = CONF_DIR / "published.yaml"
MAX_GROUPS = 12  # of a breakdown that are shown
JPEG_QUALITY = 82
WIDTH, LEFT, RIGHT, TOP, LINE, BOTTOM = 360, 162, 12, 8, 22, 24  # of a chart, in units of its own
NAME_DOWN, DOT = 4, 3.5


class Bar(NamedTuple):
    """One line of a chart: a mean, and the ends of its interval where it has one."""

    name: str
    mean: float
    low: float | None
    high: float | None


def render_page(
    summary: Mapping[str, Any], timings: Mapping[str, Any], results: Sequence[ClipResult], config: EvaluateConfig
) -> str:
    """Render the page as HTML."""
    worst, best = extremes([result for result in results if result.strip.size], config)
    return render(
        "evaluation.html",
        summary=summary,
        dataset=Path(summary["dataset"]).name,
        facts=list(_facts(summary, timings)),
        rows=[row_name(row) for row in summary["rows"]],
        table=list(_table(summary["rows"])),
        charts=list(_charts(summary["rows"])),
        breakdown=list(_breakdown(summary["breakdown"])),
        published=published_results(),
        timings=[(name.partition("/")[2].replace("_", " "), value) for name, value in timings.items() if "/" in name],
        counted=timings["counted"],
        device=timings["device"],
        worst=[_picture(result, config) for result in worst],
        best=[_picture(result, config) for result in best],
        protocols=[protocol.replace("_", " ") for protocol in config.protocols],
    )


def row_name(row: str) -> str:
    """A row of the table for people: whose videos, under which protocol."""
    if row in PROTOCOLS:
        return f"candidate, {row.replace('_', ' ')}"
    if row.startswith(CHAMPION_PREFIX):
        return f"champion, {row.removeprefix(CHAMPION_PREFIX).replace('_', ' ')}"
    return row.replace("_", " ")


def published_results() -> list[dict[str, Any]]:
    """Numbers that papers report for the released model: where, and what."""
    from omegaconf import OmegaConf

    rows: Any = OmegaConf.to_container(OmegaConf.load(PUBLISHED))
    return list(rows["figures"])


def _facts(summary: Mapping[str, Any], timings: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    yield {"name": "clips", "value": f"{summary['clips']:,}"}
    yield {"name": "frames (N)", "value": f"{summary['frames']:,}"}
    yield {"name": "people", "value": f"{len(summary['identities']):,}"}
    yield {"name": "evaluation set" + (", frozen" if summary["frozen"] else ""), "value": summary["set_id"]}
    if "fps" in timings:
        yield {"name": f"frames a second ({timings['device']})", "value": f"{timings['fps']:.1f}"}
        yield {"name": "real-time factor", "value": f"{timings['real_time_factor']:.2f}"}
    if summary["failed"]:
        yield {"name": "clips not measured", "value": f"{len(summary['failed']):,}"}


def _table(rows: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for metric, definition in DEFINITIONS.items():
        if any(metric in values for values in rows.values()):
            cells = [_cell(values.get(metric)) for values in rows.values()]
            best = {"higher": "↑", "lower": "↓", "truth": "≈ truth"}[definition.best]
            yield {
                "name": definition.label,
                "unit": definition.unit,
                "meaning": definition.meaning,
                "best": best,
                "cells": cells,
            }


def _cell(values: Mapping[str, float | None] | None) -> tuple[str, str]:
    if values is None or values["mean"] is None:
        return "–", ""
    return f"{values['mean']:.4g}", "" if values["low"] is None else f"{values['low']:.3g} … {values['high']:.3g}"


# ------------------------------------------------------------------------------------------- charts
def _charts(rows: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    """One chart for each metric; without the truth where it trivially wins."""
    for metric, definition in DEFINITIONS.items():
        bars = [
            Bar(row_name(row), values[metric]["mean"], values[metric]["low"], values[metric]["high"])
            for row, values in rows.items()
            if values.get(metric, {}).get("mean") is not None and (row != GROUND_TRUTH or definition.best == "truth")
        ]
        if len({bar.mean for bar in bars}) > 1:  # else there is nothing to compare
            name = f"{definition.label} ({definition.unit})" if definition.unit else definition.label
            yield {"name": name, "svg": draw_intervals(bars, title=name)}


def draw_intervals(bars: Sequence[Bar], *, title: str) -> str:
    """Draw means as dots and 95 % intervals as lines, one below the other; SVG."""
    ends = [end for bar in bars for end in (bar.mean, bar.low, bar.high) if end is not None]
    low, high = min(ends), max(ends)
    room = max((high - low) * 0.06, abs(high) * 1e-3, 1e-6)
    low, high = low - room, high + room
    height = TOP + LINE * len(bars) + BOTTOM

    def x(value: float) -> float:
        return LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    parts = [f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{title}">']
    for tick in ticks(low, high, 3):
        parts.append(f'<path class="grid" d="M{x(tick):.1f} {TOP}V{height - BOTTOM}"/>')
        parts.append(
            f'<text x="{x(tick):.1f}" y="{height - BOTTOM + 14}" text-anchor="middle">{signed(float(f"{tick:.4g}"))}</text>'
        )
    for number, bar in enumerate(bars):
        y = TOP + LINE * (number + 0.5)
        parts.append(f'<text x="{LEFT - 8}" y="{y + NAME_DOWN}" text-anchor="end">{bar.name}</text>')
        if bar.low is not None and bar.high is not None:
            parts.append(f'<path class="interval" d="M{x(bar.low):.1f} {y}H{x(bar.high):.1f}"/>')
        parts.append(f'<circle class="dot" cx="{x(bar.mean):.1f}" cy="{y}" r="{DOT}"/>')
    return "".join([*parts, "</svg>"])


# ------------------------------------------------------------------------------------ groups, clips
def _breakdown(breakdown: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for name, groups in breakdown.items():
        shown = dict(list(groups.items())[:MAX_GROUPS])
        rows = [row for row in next(iter(shown.values()))["rows"] if row != GROUND_TRUTH]
        metrics = [
            metric
            for metric in DEFINITIONS
            if any(metric in part["rows"][row] for part in shown.values() for row in rows)
        ]
        lines = [
            {
                "name": group,
                "clips": part["clips"],
                "cells": [[_cell(part["rows"][row].get(metric)) for metric in metrics] for row in rows],
            }
            for group, part in shown.items()
        ]
        labels = [DEFINITIONS[metric].label for metric in metrics]
        yield {
            "name": name,
            "rows": [row_name(row) for row in rows],
            "metrics": labels,
            "lines": lines,
            "all": len(groups),
        }


def _picture(result: ClipResult, config: EvaluateConfig) -> dict[str, str]:
    from PIL import Image

    data = io.BytesIO()
    Image.fromarray(result.strip).save(data, format="JPEG", quality=JPEG_QUALITY)
    row = next(name for name in config.protocols if name in result.rows)
    values = result.rows[row]
    caption = f"{row.replace('_', ' ')}: SSIM {values['ssim']:.3f}, PSNR {values['psnr']:.1f} dB"
    return {"image": picture(data.getvalue()), "key": result.key, "identity": result.identity, "caption": caption}
