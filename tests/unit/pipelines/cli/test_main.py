"""The command line as a user meets it: words in, exit code and sentences out."""

import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.cli.main import NOT_READ, main
from tests.paths import ROOT


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    for name in ("prepare", "train", "evaluate", "promote", "generate", "demo", "talkers", "verify"):
        assert f"\n  {name} " in shown


@pytest.mark.parametrize(
    "name", ["prepare", "train", "evaluate", "register", "promote", "rollback", "models", "generate", "app", "demo"]
)
def test_each_command_shows_its_keys_and_groups(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    assert "Keys and their defaults" in capsys.readouterr().out


def test_a_bare_first_word_names_the_model(capsys: pytest.CaptureFixture[str]) -> None:
    import yaml

    for words in (["audio2head/3"], ["model=audio2head/3"], ["--model", "audio2head/3"]):
        assert main(["promote", *words, "--alias", "best", "--dry-run", "--cfg", "job"]) == 0
        shown = yaml.safe_load(capsys.readouterr().out)
        assert (shown["model"], shown["alias"], shown["dry_run"]) == ("audio2head/3", "best", True)


def test_cfg_job_prints_the_whole_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    import yaml

    assert main(["generate", "--source_image", "a b.png", "--driven_audio=c.wav", "--still", "--cfg", "job"]) == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert shown["source_image"] == "a b.png"
    assert shown["driven_audio"] == "c.wav"
    assert shown["generate"]["still"] is True


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["prepair"], 2, "did you mean prepare?"),
        (["generate", "--source_image", "a.png"], 2, "needs a value for driven_audio"),
        (["generate"], 2, "needs a value for source_image"),
        (["generate", "a.png"], 2, "is not key=value"),
        (["prepare", "videos=/nowhere", "out=/nowhere-else"], 2, "/nowhere"),
        (["promote", "modl=audio2head/1"], 2, "did you mean model?"),
        (["verify", "/nowhere"], 2, "/nowhere"),
        (["promote", "audio2head"], 2, "names no version"),
        (["promote", "audio2head/1", "audio2head/2"], 2, "is not key=value"),
        (["card"], 2, "needs a value for model"),
        (["copy", "audio2head/1"], 2, "needs a value for to"),
        (["train", "--cfg", "all"], 2, "--cfg job"),
    ],
)
def test_a_mistake_is_told_in_sentences(
    words: list[str], code: int, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == code
    told = capsys.readouterr().err
    assert sentence in told
    assert "Traceback" not in told
    assert len(told.splitlines()) <= 2


def test_verbose_shows_the_traceback() -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "pipelines.cli.main", "prepair", "--verbose"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert "Traceback" in answer.stderr


def test_a_reader_that_has_enough_is_no_bug() -> None:
    command = [
        sys.executable,
        "-c",
        "import sys; from pipelines.cli import main; sys.stdin.read(); sys.exit(main.main(['train', '--help']))",
    ]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        assert program.stderr is not None
        program.stdout.close()
        program.stdin.close()  # now it begins to print
        assert program.stderr.read() == ""
    assert program.returncode == NOT_READ


def test_the_installed_program_starts() -> None:
    program = Path(sys.executable).with_name("a2h")
    answer = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    assert answer.stdout.startswith("a2h ")
