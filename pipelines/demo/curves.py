"""Draw the plots of the demo's page: head pose over time, and learning curves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from a2h_models.timebase import FPS
from pipelines.demo.results import DemoResults, held_out_sample
from pipelines.reporting.html_page import plot

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from a2h_models.data_types import Sample

ROTATIONS = ("pitch", "yaw", "roll")  # components of the rotation vector around x, y and z
COLOURS = ("#2457a7", "#c05621", "#1a7f4b")
TRUTH_COLOUR = "#9aa5b1"


def pose_curves(results: DemoResults) -> str:
    """Plot rotation over time: of a held-out clip, and as predicted from its speech."""
    import matplotlib.pyplot as plt

    sample = held_out_sample(results.paths.dataset)
    predicted = _predicted_pose(results, sample)
    figure, axes = plt.subplots(len(ROTATIONS), 1, figsize=(6, 4.2), sharex=True)
    for number, (axis, name) in enumerate(zip(axes, ROTATIONS, strict=True)):
        _pose_curve(axis, np.degrees(sample.pose[:, number]), np.degrees(predicted[:, number]), name, COLOURS[number])
    axes[-1].set_xlabel("seconds")
    image = plot(figure)
    plt.close(figure)
    return image


def _pose_curve(axis: Axes, true: np.ndarray, predicted: np.ndarray, name: str, colour: str) -> None:
    axis.plot(np.arange(len(true)) / FPS, true, color=TRUTH_COLOUR, linewidth=1.5)
    axis.plot(np.arange(len(predicted)) / FPS, predicted, color=colour, linewidth=1.8)
    axis.set_ylabel(f"{name}, °")
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)


def _predicted_pose(results: DemoResults, sample: Sample) -> np.ndarray:
    from a2h_models.inference.animator import Animator
    from pipelines.config.compose import compose
    from pipelines.registry import ModelRegistry

    config = compose("register", results.paths.overrides("paths", "logger")).logger
    return Animator.load(ModelRegistry.from_config(config).fetch(results.model)).predict_pose(
        sample.frames[0], sample.speech
    )


def learning_curves(results: DemoResults) -> Iterator[dict[str, str]]:
    """Plot training losses and validation metrics of each stage."""
    from pipelines.config.compose import compose
    from pipelines.tracking import Tracker

    tracker = Tracker(compose("register", results.paths.overrides("paths", "logger")).logger)
    for stage, version in results.versions.items():
        history = {
            name: points
            for name, points in tracker.read_history(version["run_id"]).items()
            if name.startswith(("train/", "val/"))
        }
        if history:
            yield {
                "image": _learning_curve(history),
                "caption": f"{stage}: training losses, and validation metrics on people outside of the training split; dashed: a baseline",
            }


def _learning_curve(history: dict[str, list[tuple[int, float]]]) -> str:
    import matplotlib.pyplot as plt

    groups = _group_curves(sorted(history))
    figure, axes = plt.subplots(1, len(groups), figsize=(4.2 * len(groups), 2.8), squeeze=False, layout="constrained")
    for axis, (title, members) in zip(axes[0], groups.items(), strict=True):
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


def _group_curves(names: list[str]) -> dict[str, list[str]]:
    """Map plot titles to curves: all losses together, each validation metric with its baseline."""
    losses = [name for name in names if name.startswith("train/")]
    metrics = [name for name in names if name.startswith("val/") and not _is_baseline(name, names)]
    return ({"training": losses} if losses else {}) | {name: [name, *_baselines(name, names)] for name in metrics}


def _baselines(name: str, names: list[str]) -> list[str]:
    """Return the baselines of a metric, such as `val/psnr_copy` of `val/psnr`."""
    return [other for other in names if other.startswith(f"{name}_")]


def _is_baseline(name: str, names: list[str]) -> bool:
    return any(name in _baselines(other, names) for other in names)
