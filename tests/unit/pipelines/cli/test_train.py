"""`a2h train`: one run, one for each combination of values with --multirun, or the whole pipeline."""

import pytest

from a2h_models.errors import ConfigError
from pipelines.cli.main import main
from pipelines.cli.train import is_special, train_words

HEAD_POSE = ["stage=head_pose", "dataset.path=x"]


def test_every_job_is_composed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--multirun", "stage=head_pose", "dataset.path=x", "stage.l1=1,2", "--cfg", "job"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("name: head_pose") == 2
    assert "l1: 2" in printed


def test_a_run_name_cannot_be_shared(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--multirun", "stage=head_pose", "stage.l1=1,2", "run_name=mine"]) == 2
    assert "run_name cannot be shared" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "special"),
    [
        (HEAD_POSE, False),
        ([*HEAD_POSE, "--multirun"], True),
        (["pipeline=all", "dataset.path=x"], True),
        ([*HEAD_POSE, "run_name=pipeline=all"], False),
    ],
)
def test_only_whole_words_ask_for_several_runs(words: list[str], special: bool) -> None:
    assert is_special(words) is special


def test_without_multirun_a_comma_makes_no_second_run() -> None:
    with pytest.raises(ConfigError):
        train_words([*HEAD_POSE, "stage.l1=1,2", "--cfg", "job"])


def test_the_configuration_of_the_whole_pipeline_cannot_be_shown() -> None:
    with pytest.raises(ConfigError, match="pipeline=all trains three"):
        train_words(["pipeline=all", "dataset.path=x", "--cfg", "job"])
