"""Commands on videos and datasets: their words, and what they refuse by themselves."""

from pathlib import Path

import pytest

from a2h_models.errors import ConfigError
from pipelines.cli import data
from pipelines.cli.command import to_overrides
from pipelines.config import ForgetCommand, SplitCommand, compose

COMMANDS = {command.name: command for command in data.COMMANDS}


@pytest.mark.parametrize(("identity", "source"), [("", ""), ("anna", "0" * 64)])
def test_forget_takes_a_person_or_a_video_and_not_both(tmp_path: Path, identity: str, source: str) -> None:
    with pytest.raises(ConfigError, match="either a person or a video"):
        data.forget(ForgetCommand(dataset=str(tmp_path), identity=identity, source=source))
    assert list(tmp_path.iterdir()) == []


def test_the_registry_that_forget_asks_has_a_short_flag() -> None:
    words = ["there", "--identity", "anna", "--tracking-uri", "sqlite:///runs.db"]
    command = compose.compose("forget", to_overrides(COMMANDS["forget"], words)[1])
    assert isinstance(command, ForgetCommand)
    assert (command.dataset, command.identity) == ("there", "anna")
    assert command.logger.tracking_uri == "sqlite:///runs.db"


def test_shares_that_are_not_given_to_split_stay_open() -> None:
    words = ["there", "--out", "here", "--val-share", "0.25"]
    command = compose.compose("split", to_overrides(COMMANDS["split"], words)[1])
    assert isinstance(command, SplitCommand)
    assert (command.dataset, command.out) == ("there", "here")
    assert (command.val_share, command.test_share, command.seed) == (0.25, None, None)


@pytest.mark.parametrize(("sound", "code"), [(True, 0), (False, 1)])
@pytest.mark.parametrize(("words", "share"), [([], 0.0), (["--deep"], 1.0), (["--deep", "--share", "0.5"], 0.5)])
def test_verify_decodes_a_share_only_if_deep_and_fails_for_an_unsound_dataset(
    monkeypatch: pytest.MonkeyPatch, words: list[str], share: float, sound: bool, code: int
) -> None:
    from pipelines.maintenance import verify

    class Report:
        def __init__(self) -> None:
            self.sound = sound

    shares: list[float] = []

    def check(_: str, *, clean: bool, deep: float) -> Report:
        assert not clean
        shares.append(deep)
        return Report()

    monkeypatch.setattr(verify, "verify", check)
    command = compose.compose("verify", to_overrides(COMMANDS["verify"], ["there", *words])[1])
    assert data.verify(command) == code
    assert shares == [share]
