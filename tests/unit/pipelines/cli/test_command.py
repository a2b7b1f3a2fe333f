"""Words of a command line become `key=value`."""

import pytest

from a2h_models.errors import ConfigError
from pipelines.cli.command import Command, is_override, key_of_flag, to_overrides, type_of
from pipelines.config import AssetsCommand, GenerateCommand


def run(_: object) -> int:
    return 0


GENERATE = Command(
    "generate", run, flags={"face": "generate.face", "still": "generate.still"}, words={"paste_back": "a.b=full"}
)
VERIFY = Command("verify", run, positional=("dataset",))
ASSETS = Command("assets", run, positional=("action",), rest="names")


@pytest.mark.parametrize(
    ("words", "overrides"),
    [
        (["--source_image", "a b.png"], ["source_image=a b.png"]),
        (["--source-image=a=b.png"], ["source_image=a=b.png"]),
        (["--face", "2", "--still", "generate.seed=3"], ["generate.face=2", "generate.still=true", "generate.seed=3"]),
        (["--still", "false"], ["generate.still=false"]),
        (["--paste-back"], ["a.b=full"]),
        (["--generate.seed", "-1"], ["generate.seed=-1"]),
    ],
)
def test_every_way_to_write_a_flag_is_understood(words: list[str], overrides: list[str]) -> None:
    assert to_overrides(GENERATE, words) == (False, overrides)


def test_words_that_stand_alone_fill_positional_keys_and_then_the_rest() -> None:
    assert to_overrides(VERIFY, ["--deep", "there", "share=0.5"]) == (
        False,
        ["dataset=there", "deep=true", "share=0.5"],
    )
    assert to_overrides(ASSETS, ["fetch", "lpips", "i3d"]) == (False, ["action=fetch", "names=[lpips,i3d]"])
    with pytest.raises(ConfigError, match="'too-many' is not key=value"):
        to_overrides(VERIFY, ["there", "too-many"])


def test_cfg_takes_only_the_word_job() -> None:
    assert to_overrides(VERIFY, ["there", "--cfg", "job"]) == (True, ["dataset=there"])
    for words in (["--cfg"], ["--cfg", "all"]):
        with pytest.raises(ConfigError, match="only the word job"):
            to_overrides(VERIFY, words)


def test_an_unknown_flag_is_answered_with_the_nearest_one() -> None:
    with pytest.raises(ConfigError, match="verify has no flag --shaer") as caught:
        key_of_flag(VERIFY, "shaer")
    assert caught.value.hint == "did you mean --share?"
    with pytest.raises(ConfigError) as caught:
        key_of_flag(VERIFY, "xyzzy")
    assert "a2h verify --help" in caught.value.hint


def test_only_a_key_before_an_equals_sign_makes_an_override() -> None:
    assert all(map(is_override, ["a=1", "a.b_c=", "+a=1", "~a=1", "group@key=x", "a/b=c"]))
    assert not any(map(is_override, ["a", "=1", "a b=1", "my-file=1.mp4", "https://host?q=1"]))


def test_the_type_of_a_key_is_that_of_its_declaration() -> None:
    assert type_of(GenerateCommand, "generate.still") is bool
    assert type_of(GenerateCommand, "source_image") is str
    assert type_of(AssetsCommand, "names") == list[str]
    assert type_of(GenerateCommand, "generate.nothing") is None
