"""The demo's page: what went in, what was learnt, what was measured, what was decided, and the
video.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from a2h_models.timebase import FPS
from pipelines.reporting.html_page import picture, plot, render

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from a2h_models.data_types import Sample

SHEETS = 6  # people whose crops are shown
FRAMES_SHOWN = 8  # of the video
ROTATIONS = ("pitch", "yaw", "roll")  # components of the rotation vector around x, y and z
ROW_TITLES = {
    "ground_truth": "Ground truth",
    "copy_portrait": "Copied portrait",
    "true_pose": "Model, true pose",
    "predicted_pose": "Model, predicted pose",
}
COLOURS = ("#2457a7", "#c05621", "#1a7f4b")


@dataclass(frozen=True)
class DemoPaths:
    """Where a demo keeps what it makes."""

    root: Path

    @property
    def talkers(self) -> Path:
        return self.root / "talkers"

    @property
    def dataset(self) -> Path:
        return self.root / "dataset"

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    @property
    def evaluation(self) -> Path:
        return self.root / "evaluation"

    @property
    def portrait(self) -> Path:
        return self.root / "portrait.png"

    @property
    def page(self) -> Path:
        return self.root / "index.html"

    def overrides(self, *groups: str) -> list[str]:
        """What makes a command write below the demo's folder."""
        known = {
            "paths": [f"paths.runs={self.runs}", f"paths.cache={self.root / '.cache'}"],
            "logger": [
                f"logger.tracking_uri=sqlite:///{self.runs / 'mlflow.db'}",
                f"logger.artifacts={self.runs / 'artifacts'}",
            ],
        }
        return [override for group in groups for override in known[group]]


@dataclass(frozen=True, kw_only=True)
class DemoResults:
    """What the steps of a demo left behind."""

    places: DemoPaths
    scale: str
    videos: Path
    versions: dict[str, dict[str, Any]]  # stage → uri, run_id, folder
    model: str  # URI of the bundle
    decision: dict[str, Any]
    portrait: Path
    speech: Path
    video: Path
    seconds: dict[str, float]
    next_commands: list[str]


def write_page(story: DemoResults) -> None:
    """Write `index.html`; everything but the video and the portrait stands inside it."""
    import pandas as pd

    places = story.places
    ledger = pd.read_parquet(places.dataset / "ledger.parquet")
    summary = json.loads((places.evaluation / "metrics.json").read_text())
    page = render(
        "demo.html",
        scale=story.scale,
        videos=int((ledger["kind"] == "video").sum()),
        minutes=max(1, round(sum(story.seconds.values()) / 60)),
        facts=list(_facts(ledger, story)),
        video=story.video.name,
        portrait=os.path.relpath(story.portrait, places.root),
        version=story.model.rsplit("/", 1)[-1],
        frames=picture(_strip(story.video)),
        pose_curves=_pose_curves(story),
        sheets=list(_sheets(places.dataset)),
        ledger=list(_ledger_rows(ledger)),
        report="dataset/report.html",
        curves=list(_learning_curves(story)),
        promoted=story.decision["accepted"],
        gates=story.decision["gates"],
        times=[(name, round(seconds)) for name, seconds in story.seconds.items()],
        next=story.next_commands,
        **_numbers(summary),
    )
    places.page.write_text(page, encoding="utf-8")


def _facts(ledger: Any, story: DemoResults) -> Iterator[dict[str, str]]:
    clips = ledger[ledger["kind"] == "clip"]
    accepted = clips[clips["status"] == "accepted"]
    hours = float((accepted["stop"] - accepted["start"]).sum()) / FPS / 60
    yield {"name": "videos", "value": str(int((ledger["kind"] == "video").sum()))}
    yield {"name": "accepted clips", "value": str(len(accepted))}
    yield {"name": "minutes of talking faces", "value": f"{hours:.1f}"}
    yield {"name": "people", "value": str(accepted["identity"].nunique())}
    yield {"name": "shards", "value": str(accepted["shard"].nunique())}
    yield {"name": "version of audio2head", "value": story.model.rsplit("/", 1)[-1]}


def _ledger_rows(ledger: Any) -> Iterator[dict[str, Any]]:
    videos = ledger[ledger["kind"] == "video"].sort_values("file")
    for row in videos.to_dict("records"):
        yield {**row, "seconds": f"{(row['stop'] - row['start']) / FPS:.1f}"}


def _sheets(dataset: Path) -> Iterator[dict[str, str]]:
    """A strip of crops for each of the first few people, pose box and landmarks drawn."""
    from pipelines.core.storage import Storage
    from pipelines.dataset.shard_format import read_sidecars
    from pipelines.prepare.output.previews import sample_strip

    store = Storage(dataset)
    seen: set[str] = set()
    for sidecar in read_sidecars(store):
        for key in sidecar.keys:
            identity = sidecar.identities[key]
            if identity in seen or len(seen) == SHEETS:
                continue
            seen.add(identity)
            seconds = sidecar.frames[key] / FPS
            yield {
                "image": picture(sample_strip(store, sidecar, key)),
                "caption": f"{identity} ({sidecar.split}), {seconds:.1f} s",
            }


def _strip(video: Path) -> np.ndarray:
    """Frames of the video beside each other, evenly spaced, uint8 (h, n·w, 3)."""
    from pipelines import media

    frames = media.decode_crop(video.read_bytes())
    chosen = np.linspace(0, len(frames) - 1, FRAMES_SHOWN).round().astype(int)
    return np.concatenate(list(frames[chosen]), axis=1)


# -------------------------------------------------------------------------------- curves
def _pose_curves(story: DemoResults) -> str:
    """Rotation over time in degrees: the held-out clip's own, and what the champion predicts from
    its speech.
    """
    import matplotlib.pyplot as plt

    sample = held_out_sample(story.places.dataset)
    predicted = _predicted_pose(story, sample)
    figure, axes = plt.subplots(len(ROTATIONS), 1, figsize=(6, 4.2), sharex=True)
    for number, (axis, name) in enumerate(zip(axes, ROTATIONS, strict=True)):
        _pose_curve(axis, np.degrees(sample.pose[:, number]), np.degrees(predicted[:, number]), name, COLOURS[number])
    axes[-1].set_xlabel("seconds")
    image = plot(figure)
    plt.close(figure)
    return image


def _pose_curve(axis: Axes, true: np.ndarray, predicted: np.ndarray, name: str, colour: str) -> None:
    axis.plot(np.arange(len(true)) / FPS, true, color="#9aa5b1", linewidth=1.5)
    axis.plot(np.arange(len(predicted)) / FPS, predicted, color=colour, linewidth=1.8)
    axis.set_ylabel(f"{name}, °")
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)


def held_out_sample(dataset: Path) -> Sample:
    """The first clip of the test split, else of val, else of train."""
    from pipelines.core.storage import Storage
    from pipelines.dataset.shard_format import decode, read_members, read_sidecars

    store = Storage(dataset)
    sidecars = sorted(read_sidecars(store), key=lambda sidecar: ("test", "val", "train").index(sidecar.split))
    sidecar = next(sidecar for sidecar in sidecars if sidecar.keys)
    return decode(read_members(store, sidecar, sidecar.keys[0]))


def _predicted_pose(story: DemoResults, sample: Sample) -> np.ndarray:
    from a2h_models.inference.animator import Animator
    from pipelines.config.compose import compose
    from pipelines.registry import fetch

    logger = compose("register", story.places.overrides("paths", "logger")).logger
    return Animator.load(fetch(story.model, logger)).predict_pose(sample.frames[0], sample.speech)


def _learning_curves(story: DemoResults) -> Iterator[dict[str, str]]:
    """For each stage, its losses and what validation saw, from the tracking server."""
    from pipelines.config.compose import compose
    from pipelines.tracking import read_history

    logger = compose("register", story.places.overrides("paths", "logger")).logger
    for stage, version in story.versions.items():
        history = {
            name: points
            for name, points in read_history(version["run_id"], logger=logger).items()
            if name.startswith(("train/", "val/"))
        }
        if history:
            yield {
                "image": _learning_curve(history),
                "caption": f"{stage}: training losses, and what validation saw on people who were not trained on; dashed: its baseline",
            }


def _learning_curve(history: dict[str, list[tuple[int, float]]]) -> str:
    import matplotlib.pyplot as plt

    families = _families(sorted(history))
    figure, axes = plt.subplots(
        1, len(families), figsize=(4.2 * len(families), 2.8), squeeze=False, layout="constrained"
    )
    for axis, (title, members) in zip(axes[0], families.items(), strict=True):
        for name in members:
            steps, values = zip(*history[name], strict=True)
            axis.plot(
                steps,
                values,
                label=name,
                linewidth=1.6,
                linestyle="--" if _is_baseline(name, list(history)) else "-",
                marker=".",
            )
        axis.set_title(title, fontsize=10, loc="left")
        axis.set_xlabel("step")
        axis.grid(alpha=0.25)
        axis.legend(fontsize=7, frameon=False)
        axis.spines[["top", "right"]].set_visible(False)
    image = plot(figure)
    plt.close(figure)
    return image


def _families(names: list[str]) -> dict[str, list[str]]:
    """Title of a picture → the curves in it: all losses together, each validation metric with its
    baseline.
    """
    losses = [name for name in names if name.startswith("train/")]
    measured = [name for name in names if name.startswith("val/") and not _is_baseline(name, names)]
    return ({"training": losses} if losses else {}) | {name: [name, *_baselines(name, names)] for name in measured}


def _baselines(name: str, names: list[str]) -> list[str]:
    """`val/psnr_copy` stands beside `val/psnr`: it is drawn into the same picture."""
    return [other for other in names if other.startswith(f"{name}_")]


def _is_baseline(name: str, names: list[str]) -> bool:
    return any(name in _baselines(other, names) for other in names)


# -------------------------------------------------------------------------------- numbers
def _numbers(summary: dict[str, Any]) -> dict[str, Any]:
    """The metrics table: a row for each metric that at least one system has, a column for each
    system.
    """
    from a2h_models.metrics import DEFINITIONS

    rows = {name: summary["rows"][name] for name in ROW_TITLES if name in summary["rows"]}
    names = [name for name in DEFINITIONS if any(name in row for row in rows.values())]
    return {
        "measured_on": (
            f"{summary['clips']} clips of the split {summary['split']}; the decision below says whether anybody in them was trained on. "
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
