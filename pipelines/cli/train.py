"""`a2h train`: one stage, all in order, or one run for each combination of values."""

from __future__ import annotations

from a2h_models.errors import ConfigError
from pipelines import config
from pipelines.cli.command import Command, to_overrides
from pipelines.config import compose

MULTIRUN, PIPELINE = "--multirun", "pipeline=all"


def train(command: config.TrainCommand) -> int:
    from pipelines.training import launch

    result = launch.train(command)
    if launch.is_first():
        print(result)
    return 0


def train_words(words: list[str]) -> int:
    """Train one stage; with pipeline=all the three in order; with --multirun one run for each
    combination of values that stand behind commas.
    """
    show_config, overrides = to_overrides(TRAIN, [word for word in words if word not in {MULTIRUN, PIPELINE}])
    jobs = compose.sweep("train", overrides) if MULTIRUN in words else [overrides]
    if len(jobs) > 1 and any(override.startswith("run_name=") for override in overrides):
        raise ConfigError(
            "run_name cannot be shared by the runs of a --multirun",
            hint="leave it out: each run gets a name of its own",
        )
    if show_config and PIPELINE in words:
        raise ConfigError(
            "--cfg job shows one stage, and pipeline=all trains three", hint="say stage=… instead of pipeline=all"
        )
    for job in jobs:
        _run_job(job, whole_pipeline=PIPELINE in words, show_config=show_config)
    return 0


def _run_job(job: list[str], *, whole_pipeline: bool, show_config: bool) -> None:
    if show_config:
        print(compose.to_yaml("train", job), end="")
    elif whole_pipeline:
        from pipelines.training.curriculum import train_all

        for result in train_all(job):
            print(result, flush=True)
    else:
        train(compose.compose("train", job))


def is_special(words: list[str]) -> bool:
    """Tell whether words ask for more than one run."""
    return bool({MULTIRUN, PIPELINE} & set(words))


TRAIN = Command("train", train)
COMMANDS: tuple[Command, ...] = (TRAIN,)
