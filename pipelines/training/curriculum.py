"""`a2h train pipeline=all`: the stages in the order in which they need each other, each taught by
what the one before has just become.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from a2h_models.errors import ConfigError
from pipelines.config.compose import compose
from pipelines.config.training import MotionFieldStage, TrainCommand
from pipelines.training.launch import TrainResult, train

ORDER = ("image_generator", "head_pose", "motion_field")  # the last one needs the first, and may need the second
OF_ONE_RUN = ("stage", "run_name")  # keys that all stages cannot share


def train_all(overrides: Sequence[str]) -> Iterator[TrainResult]:
    """Train each stage, and give its result; what is finished is not repeated, what was interrupted
    goes on.

    Args:
        overrides: of `a2h train`, for every stage; for one stage only where they begin with its
            name, as in `motion_field.stage.value=10`.

    Raises:
        ConfigError: for a key that stages cannot share.
    """
    # what is wrong with the last is told before the first is trained
    commands = {stage: _command(stage, overrides) for stage in ORDER}
    done: dict[str, TrainResult] = {}
    for stage, command in commands.items():
        _take_from(command, done)
        done[stage] = train(command)
        yield done[stage]


def _command(stage: str, overrides: Sequence[str]) -> TrainCommand:
    own, others = [], tuple(f"{other}." for other in ORDER)
    for override in overrides:
        key = override.partition("=")[0]
        if key in OF_ONE_RUN:
            raise ConfigError(f"{key} belongs to one stage, and pipeline=all trains three", hint=f"leave {key} out")
        if key.startswith(f"{stage}."):
            own.append(override.removeprefix(f"{stage}."))
        elif not key.startswith(others):
            own.append(override)
    command: TrainCommand = compose("train", [f"stage={stage}", *own])
    return command


def _take_from(command: TrainCommand, done: dict[str, TrainResult]) -> None:
    """Name the very versions that were just trained: another teacher makes another run."""
    stage = command.stage
    if isinstance(stage, MotionFieldStage):
        stage.teacher = stage.teacher or _place(done["image_generator"])
        stage.head_pose = stage.head_pose or (_place(done["head_pose"]) if stage.predicted_share else "")


def _place(result: TrainResult) -> str:
    return result.model_uri or str(result.weights)
