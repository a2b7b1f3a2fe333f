"""One stage, trained: config → stage + data + Trainer → weights, registered. The same function
here, under torchrun and in Ray Train.

A run has a folder, `paths.runs/<run_name>`: checkpoints, sample pictures, weights, and
`result.json`, which is written last. The same command goes on from the last checkpoint, or gives
the result of a run that is finished.
"""

from __future__ import annotations

from pipelines.config.training import TrainCommand
from pipelines.training.fit import fit, tested
from pipelines.training.on_ray import train_on_ray
from pipelines.training.runs import TrainResult, finished, run_folder
from pipelines.training.trainer import is_first

__all__ = ["TrainResult", "is_first", "train"]


def train(command: TrainCommand) -> TrainResult:
    """Train one stage, or go on with it, or return what came of it.

    Raises:
        ConfigError: for settings that contradict each other, or a run_name that is taken.
        InputError: if the dataset has no training clips.
        FailedError: if the loss is not a number any more; the last good checkpoint stays.
    """
    folder = run_folder(command)
    done = finished(command, folder)
    if done is not None:
        return tested(command, done) if command.test else done
    if command.cluster.name == "ray":
        return train_on_ray(command, folder)
    return fit(command, folder)
