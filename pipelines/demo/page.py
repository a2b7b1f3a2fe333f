"""Write the demo's page: data, training, measurements, the promotion decision and the video."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from a2h_models.timebase import FPS
from pipelines.core.files import write_text
from pipelines.demo.curves import learning_curves, pose_curves
from pipelines.demo.results import DemoResults
from pipelines.reporting.html_page import picture, render

MAX_PEOPLE = 6  # whose crops are shown
FRAMES_SHOWN = 8  # of the video
ROW_TITLES = {
    "ground_truth": "Ground truth",
    "copy_portrait": "Copied portrait",
    "true_pose": "Model, true pose",
    "predicted_pose": "Model, predicted pose",
}


def write_page(results: DemoResults) -> None:
    """Write `index.html`; everything but the video and the portrait is embedded."""
    import pandas as pd

    paths = results.paths
    ledger = pd.read_parquet(paths.dataset / "ledger.parquet")
    summary = json.loads((paths.evaluation / "metrics.json").read_text())
    page = render(
        "demo.html",
        scale=results.scale,
        videos=int((ledger["kind"] == "video").sum()),
        minutes=max(1, round(sum(results.seconds.values()) / 60)),
        facts=list(_facts(ledger, results)),
        video=results.video.name,
        portrait=os.path.relpath(results.portrait, paths.root),
        version=results.model.rsplit("/", 1)[-1],
        frames=picture(_frame_strip(results.video)),
        pose_curves=pose_curves(results),
        sheets=list(_crop_strips(paths.dataset)),
        ledger=list(_ledger_rows(ledger)),
        report="dataset/report.html",
        curves=list(learning_curves(results)),
        promoted=results.decision["accepted"],
        gates=results.decision["gates"],
        times=[(name, round(seconds)) for name, seconds in results.seconds.items()],
        next=results.next_commands,
        **_numbers(summary),
    )
    write_text(paths.page, page)


def _facts(ledger: Any, results: DemoResults) -> Iterator[dict[str, str]]:
    clips = ledger[ledger["kind"] == "clip"]
    accepted = clips[clips["status"] == "accepted"]
    minutes = float((accepted["stop"] - accepted["start"]).sum()) / FPS / 60
    yield {"name": "videos", "value": str(int((ledger["kind"] == "video").sum()))}
    yield {"name": "accepted clips", "value": str(len(accepted))}
    yield {"name": "minutes of talking faces", "value": f"{minutes:.1f}"}
    yield {"name": "people", "value": str(accepted["identity"].nunique())}
    yield {"name": "shards", "value": str(accepted["shard"].nunique())}
    yield {"name": "version of audio2head", "value": results.model.rsplit("/", 1)[-1]}


def _ledger_rows(ledger: Any) -> Iterator[dict[str, Any]]:
    videos = ledger[ledger["kind"] == "video"].sort_values("file")
    for row in videos.to_dict("records"):
        yield {**row, "seconds": f"{(row['stop'] - row['start']) / FPS:.1f}"}


def _crop_strips(dataset: Path) -> Iterator[dict[str, str]]:
    """Yield a strip of crops for each of the first few people, with pose box and landmarks."""
    from pipelines.core.storage import Storage
    from pipelines.dataset.shard_format import read_sidecars
    from pipelines.prepare.output.previews import sample_strip

    store = Storage(dataset)
    shown: set[str] = set()
    for sidecar in read_sidecars(store):
        for key in sidecar.keys:
            identity = sidecar.identities[key]
            if identity in shown or len(shown) == MAX_PEOPLE:
                continue
            shown.add(identity)
            seconds = sidecar.frames[key] / FPS
            yield {
                "image": picture(sample_strip(store, sidecar, key)),
                "caption": f"{identity} ({sidecar.split}), {seconds:.1f} s",
            }


def _frame_strip(video: Path) -> np.ndarray:
    """Return evenly spaced frames of a video beside each other, uint8 (h, n·w, 3)."""
    from pipelines import media

    frames = media.decode_crop(video.read_bytes())
    indices = np.linspace(0, len(frames) - 1, FRAMES_SHOWN).round().astype(int)
    return np.concatenate(list(frames[indices]), axis=1)


# -------------------------------------------------------------------------------- numbers
def _numbers(summary: dict[str, Any]) -> dict[str, Any]:
    """Return the metrics table: a row for each measured metric, a column for each system."""
    from a2h_models.metrics import DEFINITIONS

    rows = {name: summary["rows"][name] for name in ROW_TITLES if name in summary["rows"]}
    names = [name for name in DEFINITIONS if any(name in row for row in rows.values())]
    return {
        "measured_on": (
            f"{summary['clips']} clips of the split {summary['split']}; the decision below says whether the model was trained on anyone in them. "
            "Means over clips, with 95 % bootstrap intervals. ↑ higher is better, ↓ lower is better, ≈ closest to the ground truth is best."
        ),
        "systems": [{"title": ROW_TITLES[name], "ours": name.endswith("_pose")} for name in rows],
        "metrics": [
            {
                "title": _metric_title(name),
                "help": DEFINITIONS[name].meaning,
                "cells": [_cell(row.get(name)) for row in rows.values()],
            }
            for name in names
        ],
        "not_measured": [f"{name}: {reason}." for name, reason in summary["not_measured"].items()],
    }


def _metric_title(name: str) -> str:
    from a2h_models.metrics import DEFINITIONS

    definition = DEFINITIONS[name]
    arrow = {"higher": "↑", "lower": "↓", "truth": "≈"}[definition.best]
    return f"{definition.label} {arrow}" + (f" ({definition.unit})" if definition.unit else "")


def _cell(value: dict[str, Any] | None) -> str:
    if value is None or value["mean"] is None:
        return "–"
    spread = "" if value["low"] is None else f" [{value['low']:.3g}, {value['high']:.3g}]"
    return f"{value['mean']:.3g}{spread}"
