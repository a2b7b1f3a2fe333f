"""Commands on models: their words, and their exit codes."""

from dataclasses import dataclass

import pytest

from a2h_models.errors import FailedError, UserError
from pipelines.cli import model
from pipelines.cli.command import to_overrides
from pipelines.config import CardCommand, PromoteCommand

COMMANDS = {command.name: command for command in model.COMMANDS}


@dataclass(frozen=True)
class Outcome:
    """Stands for a decision; the gates are tested in pipelines/promotion."""

    accepted: bool

    def __str__(self) -> str:
        return "accepted" if self.accepted else "refused by the gate psnr"


@pytest.mark.parametrize("accepted", [True, False])
def test_a_refusal_has_an_exit_code_of_its_own(
    accepted: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from pipelines import promotion

    monkeypatch.setattr(promotion, "promote", lambda _: Outcome(accepted))
    code = model.promote(PromoteCommand(model="audio2head/1"))
    assert code == (0 if accepted else 3)
    assert code not in {FailedError.exit_code, UserError.exit_code}
    assert capsys.readouterr().out == f"{Outcome(accepted)}\n"


@pytest.mark.parametrize(("out", "shown"), [("", "# the card\n"), ("card.md", "card.md\n")])
def test_a_card_that_is_written_to_a_file_is_not_printed(
    out: str, shown: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from pipelines import registry

    monkeypatch.setattr(registry, "card", lambda _: "# the card")
    assert model.card(CardCommand(model="audio2head/1", out=out)) == 0
    assert capsys.readouterr().out == shown


@pytest.mark.parametrize(
    ("words", "overrides"),
    [
        (["export", "audio2head/1", "folder"], ["model=audio2head/1", "out=folder"]),
        (["export-release", "audio2head/1", "x.pth.tar"], ["model=audio2head/1", "out=x.pth.tar"]),
        (["import-release", "x.pth.tar", "--champion"], ["file=x.pth.tar", "champion=true"]),
        (["evaluate", "--split", "val"], ["evaluate.split=val"]),
        (["freeze", "there"], ["dataset=there"]),
    ],
)
def test_words_without_a_key_are_models_files_and_datasets(words: list[str], overrides: list[str]) -> None:
    assert to_overrides(COMMANDS[words[0]], words[1:]) == (False, overrides)
