"""`a2h train --multirun`: every combination, each a run of its own."""

import pytest

from a2h_models.errors import ConfigError
from pipelines.cli.main import main
from pipelines.config.compose import sweep


def test_values_behind_commas_make_a_job_each_and_all_combinations() -> None:
    jobs = sweep("train", ["stage=head_pose,motion_field", "stage.optimiser.lr=1e-4,2e-4", "scale=smoke"])
    assert len(jobs) == 4
    assert jobs[0] == ["stage=head_pose", "stage.optimiser.lr=0.0001", "scale=smoke"]


def test_lists_and_paths_are_no_sweeps() -> None:
    words = ["stage.optimiser.milestones=[5,20]", "dataset.path=/a b/[x"]
    assert sweep("train", words) == [words]


def test_a_word_that_is_no_override_is_told() -> None:
    with pytest.raises(ConfigError, match="--multirun"):
        sweep("train", ["stage.optimiser.lr=[1"])


def test_every_job_is_composed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--multirun", "stage=head_pose", "dataset.path=x", "stage.l1=1,2", "--cfg", "job"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("name: head_pose") == 2
    assert "l1: 2" in printed


def test_a_run_name_cannot_be_shared(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--multirun", "stage=head_pose", "stage.l1=1,2", "run_name=mine"]) == 2
    assert "run_name cannot be shared" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("choice", "key", "value"),
    [
        ("overfit", "overfit_batches", 1),
        ("fast_dev_run", "fast_dev_run", True),
        ("limit", "max_steps", 20),
        ("profiler", "profiler", "simple"),
    ],
)
def test_a_debug_choice_stands_above_the_recipe(choice: str, key: str, value: object) -> None:
    from pipelines.config.compose import compose

    command = compose("train", ["stage=head_pose", "scale=smoke", "dataset.path=x", f"debug={choice}"])
    assert getattr(command.trainer, key) == value
    assert not command.register
