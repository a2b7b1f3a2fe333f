"""The command line as a user meets it: words in, exit code and sentences out."""

import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.cli.help import command_help
from pipelines.cli.main import COMMANDS, NOT_READ, main
from tests.paths import ROOT


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    for name in ("prepare", "train", "evaluate", "promote", "generate", "demo", "talkers", "verify"):
        assert f"\n  {name} " in shown


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_each_key_on_a_line_with_type_default_and_meaning(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([name, "--help"]) == 0
    short = capsys.readouterr().out
    assert main([name, "--help-all"]) == 0
    whole = capsys.readouterr().out.splitlines()
    keys = [key.key for key in command_help(COMMANDS[name]).keys]
    assert keys == [
        line.split()[0] for line in whole[next(i for i, line in enumerate(whole) if line.startswith("key ")) + 1 :]
    ]
    assert all(
        any(line.startswith(group) for line in map(str.strip, whole)) for group in command_help(COMMANDS[name]).groups
    )
    assert len(short.splitlines()) <= len(whole)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_key_has_a_meaning(name: str) -> None:
    assert [key.key for key in command_help(COMMANDS[name]).keys if not key.meaning] == []


def test_every_key_has_one_flag_or_none() -> None:
    for name, command in COMMANDS.items():
        flags = [key.flag for key in command_help(command).keys if key.flag]
        assert len(flags) == len(set(flags)), name


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["generate", "--batch_size", "0"], "generate.batch_size is 0, and must be ≥ 1"),
        (["generate", "--seed", "-1"], "generate.seed is -1, and must be ≥ 0"),
        (["generate", "--pose_scale", "nan"], "generate.pose_scale is nan, and must be ≥ 0"),
        (["train", "stage=head_pose", "stage.optimiser.lr=-1"], "stage.optimiser.lr is -1, and must be > 0"),
        (["verify", "there", "--deep", "--share", "0"], "share is 0, and must be > 0 and ≤ 1"),
        (["talkers", "there", "--count", "0"], "count is 0, and must be ≥ 1"),
    ],
)
def test_a_value_outside_its_range_is_refused_before_anything_heavy_is_imported(
    words: list[str], sentence: str
) -> None:
    code = f"import sys; from pipelines.cli.main import main; code = main({words!r}); print(code, {{'torch', 'ray', 'mlflow', 'cv2'}} & set(sys.modules))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert answer.stdout.strip() == "2 set()"
    assert sentence in answer.stderr


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
