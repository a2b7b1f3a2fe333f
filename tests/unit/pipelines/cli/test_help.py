"""Help pages are read off the configuration dataclasses."""

from typing import Any

import pytest

from pipelines.cli.command import Command
from pipelines.cli.help import command_help, default_text, groups_of, overview, page, type_name
from pipelines.config import compose


def run(_: object) -> int:
    return 0


VERIFY = Command("verify", run, positional=("dataset",))
FORGET = Command("forget", run, positional=("dataset",), flags={"tracking_uri": "logger.tracking_uri"})


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (str, "text"),
        (bool, "yes/no"),
        (int | None, "whole number"),
        (float, "number"),
        (list[str], "list"),
        (tuple[int, ...], "list"),
        (dict[str, float], "mapping"),
    ],
)
def test_types_have_plain_names(kind: Any, name: str) -> None:
    assert type_name(kind) == name


@pytest.mark.parametrize(
    ("default", "text"),
    [
        ("???", "required"),
        (True, "true"),
        (None, "null"),
        ("", '""'),
        ([1, 2.5], "[1,2.5]"),
        ("${oc.env:PLACE,'runs'}", "$PLACE or runs"),
        ("${paths.cache}/ray", "{cache}/ray"),
    ],
)
def test_defaults_are_written_as_the_command_line_takes_them(default: Any, text: str) -> None:
    assert default_text(default) == text


def test_a_key_has_its_flag_limits_and_meaning() -> None:
    keys = {key.key: key for key in command_help(FORGET).keys}
    assert keys["dry_run"].flag == "dry_run"
    assert keys["dataset"].default == "required"
    assert keys["logger.tracking_uri"].flag == "tracking_uri"  # declared by the command
    assert {key.flag for name, key in keys.items() if name.startswith("paths.")} == {""}
    share = next(key for key in command_help(VERIFY).keys if key.key == "share")
    assert (share.type, share.default) == ("number", "1.0")
    assert share.meaning.endswith("[> 0 and ≤ 1]")


def test_the_short_page_counts_the_keys_that_it_hides() -> None:
    hidden = [key for key in command_help(FORGET).keys if not key.important]
    assert hidden
    short, whole = (page(FORGET, (), everything=everything) for everything in (False, True))
    assert short.splitlines()[2] == "a2h forget [DATASET] [key=value …]"
    assert short.splitlines()[-1].startswith(f"{len(hidden)} more keys")
    assert all(key.key in whole for key in hidden)
    assert "more keys" not in whole


def test_the_overview_has_a_line_for_each_command() -> None:
    lines = overview({"verify": VERIFY, "forget": FORGET}).splitlines()
    assert f"  verify {VERIFY.help}" in lines
    assert f"  forget {FORGET.help}" in lines


def test_groups_are_those_that_the_commands_yaml_chooses_from() -> None:
    assert groups_of("verify") == {}
    stages = groups_of("train")["stage"]
    assert set(stages) > set(compose.STAGES)  # some stages have variants
    assert list(stages) == sorted(stages)
