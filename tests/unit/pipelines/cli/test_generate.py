"""Commands that generate videos: flags, and what `a2h inspect` prints."""

from dataclasses import fields

import pytest

from pipelines.cli import generate
from pipelines.cli.command import key_of_flag, to_overrides
from pipelines.config import GenerateConfig, InspectCommand, compose

COMMANDS = {command.name: command for command in generate.COMMANDS}
INPUTS = ["--source_image", "a.png", "--driven_audio", "a.wav"]


@pytest.mark.parametrize("name", [field.name for field in fields(GenerateConfig)])
def test_every_key_of_generate_has_a_flag_of_its_own_name(name: str) -> None:
    assert key_of_flag(COMMANDS["generate"], name.replace("_", "-")) == f"generate.{name}"


def test_the_app_has_a_longest_speech_of_its_own() -> None:
    assert key_of_flag(COMMANDS["app"], "max_speech_s") == "max_speech_s"
    assert key_of_flag(COMMANDS["app"], "still") == "generate.still"


def test_paste_back_is_the_full_picture() -> None:
    words = [*INPUTS, "--paste-back", "--still", "--pose-scale", "0.5"]
    command = compose.compose("generate", to_overrides(COMMANDS["generate"], words)[1])
    assert (command.source_image, command.driven_audio) == ("a.png", "a.wav")
    assert command.generate.preprocess == "full"
    assert command.generate.still
    assert command.generate.pose_scale == 0.5


def test_inspect_prints_a_line_a_key_with_booleans_as_yaml(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from pipelines import inference

    provenance = {"synthetic": True, "consent": False, "model": "audio2head/1", "seed": 0}
    monkeypatch.setattr(inference, "read_provenance", lambda _: provenance)
    assert generate.inspect(InspectCommand(file="a.mp4")) == 0
    assert capsys.readouterr().out == "synthetic: true\nconsent: false\nmodel: audio2head/1\nseed: 0\n"


@pytest.mark.parametrize(("pairs", "way"), [("", "one"), ("pairs.csv", "many")])
def test_a_table_of_pairs_makes_many_videos(
    pairs: str, way: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from pipelines import inference

    monkeypatch.setattr(inference, "generate", lambda _: "one")
    monkeypatch.setattr(inference, "generate_pairs", lambda _: "many")
    command = compose.compose("generate", to_overrides(COMMANDS["generate"], INPUTS)[1])
    command.pairs = pairs
    assert generate.generate(command) == 0
    assert capsys.readouterr().out == f"{way}\n"
