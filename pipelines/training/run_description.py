"""What a training's page in the tracking store says before its numbers."""

from __future__ import annotations

from pipelines.config.training import TrainCommand
from pipelines.dataset.external import ExternalShards
from pipelines.dataset.index import Index

DESCRIPTION = "mlflow.note.content"  # the tag that a run's page shows as its description, in Markdown
PARENTS = ("init_from", "teacher", "head_pose")  # keys of a stage that name other networks
METRICS = """
* `train/…`: loss terms before their weights; `discriminator` is the adversary's own loss
* `val/…`, `test/…`: metrics on people who are not in the training data, beside their baselines (`_copy`, `_repeat`, `_constant`, `_mean`)
  or the truth's own value (`_truth`)
* `pictures/` and `films/`: what the network makes of the first validation batch; a file's name is its step
"""


def describe(command: TrainCommand, *, train: Index | ExternalShards, val: Index, test: Index) -> str:
    """Markdown: what is trained, on what, from what, and how to read the rest of the page."""
    stage, steps, size = command.stage, command.trainer.max_steps, command.networks.image_size
    parents = [f"* {key}: `{uri}`" for key in PARENTS if (uri := getattr(stage, key, ""))]
    people = f"{train.summary} to learn from, {len(val)} to validate on, {len(test)} to test on"
    lines = [
        f"**{stage.name}**, {steps} batches of {command.dataset.batch_size} at {size} pixels",
        "",
        f"* data: `{command.dataset.path}`, fingerprint `{train.fingerprint}`: {people}",
        *parents,
    ]
    return "\n".join(lines) + METRICS
