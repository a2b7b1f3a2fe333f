"""The wheel, built from what the Docker image copies: all data files inside, and commands run."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.paths import ROOT

NOT_PACKAGED = {".py", ".md"}  # modules are no data files; notes beside data are for readers of the repository
SKIPPED = shutil.ignore_patterns("__pycache__")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The contents of the wheel."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if line.startswith("!"):
            path = ROOT / line.removeprefix("!")
            if path.is_dir():
                shutil.copytree(path, source / path.name, ignore=SKIPPED)
            else:
                shutil.copy(path, source)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", ".", "-w", target]
    subprocess.run(build, check=True, cwd=source)
    (wheel,) = target.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target / "content")
    return target / "content"


def data_files(root: Path, *folders: str) -> set[Path]:
    return {
        path.relative_to(root)
        for folder in folders
        for path in (root / folder).rglob("*")
        if path.is_file() and path.suffix not in NOT_PACKAGED and "__pycache__" not in path.parts
    }


def test_the_wheel_holds_every_data_file_of_the_tree(unpacked: Path) -> None:
    settings = {Path("pipelines") / path for path in data_files(ROOT, "conf")}  # conf/ becomes pipelines/conf
    packages = data_files(ROOT, "a2h_models", "pipelines")
    assert {path for path in packages if "templates" in path.parts}
    assert data_files(unpacked, "a2h_models", "pipelines") == packages | settings


@pytest.mark.parametrize("command", [["--help"], ["talkers", "out", "--count", "1", "--seconds", "1", "--size", "96"]])
def test_commands_run_from_the_wheel(unpacked: Path, tmp_path: Path, command: list[str]) -> None:
    code = (
        "import sys, pathlib, pipelines\n"
        "assert pathlib.Path(pipelines.__file__).is_relative_to(sys.argv[1]), pipelines.__file__\n"
        "from pipelines.cli.main import main\n"
        "sys.exit(main(sys.argv[2:]))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(unpacked)}
    run = [sys.executable, "-c", code, str(unpacked), *command]
    answer = subprocess.run(run, check=False, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    if command[0] == "talkers":
        assert {path.suffix for path in (tmp_path / "out").iterdir()} == {".mp4", ".json", ".npz"}
    else:
        assert "\n  generate " in answer.stdout
