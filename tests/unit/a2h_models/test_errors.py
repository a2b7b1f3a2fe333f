"""Errors keep what they carry when they are pickled, and their exit codes."""

import pickle

import pytest

from a2h_models.errors import (
    A2HError,
    ClusterError,
    ConfigError,
    DatasetError,
    InputError,
    MediaError,
    RegistryError,
    first_line,
)


@pytest.mark.parametrize("kind", [A2HError, ConfigError, DatasetError])
def test_an_error_survives_pickling_with_its_hint(kind: type[A2HError]) -> None:
    error = kind("stage is missing", hint="say stage=head_pose")
    error.__notes__ = ["in a worker"]
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert (str(copy), copy.message, copy.hint) == ("stage is missing", "stage is missing", "say stage=head_pose")
    assert copy.__notes__ == ["in a worker"]


def test_a_media_error_survives_pickling_with_its_reason() -> None:
    copy = pickle.loads(pickle.dumps(MediaError("a.mp4 has no sound", hint="record again", reason="no_audio")))
    assert (copy.message, copy.hint, copy.reason) == ("a.mp4 has no sound", "record again", "no_audio")
    assert MediaError("a.mp4 ends early").reason == "unreadable"


def test_wrong_use_exits_with_2_and_failure_with_1() -> None:
    assert [kind.exit_code for kind in (ConfigError, InputError)] == [2, 2]
    assert [kind.exit_code for kind in (MediaError, DatasetError, RegistryError, ClusterError)] == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("\n first \nsecond"), "first "),
        (ValueError("  \n"), "ValueError"),
        (KeyError(), "KeyError"),
    ],
)
def test_first_line_is_the_message_or_else_the_type(error: Exception, line: str) -> None:
    assert first_line(error) == line
