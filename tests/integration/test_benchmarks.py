"""The benchmarks stay runnable: each still finds what it imports, and answers `--help`.

No time is asserted anywhere.
"""

import subprocess
import sys
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

from tests.paths import ROOT

BENCHMARKS = ROOT / "benchmarks"
NAMES = ("prepare", "train", "generate", "identity", "scale")


def test_all_benchmarks_are_known_here() -> None:
    assert {path.stem for path in BENCHMARKS.glob("*.py")} == {"measurement", *NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_imports(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    spec = spec_from_file_location(f"benchmark_{name}", BENCHMARKS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    assert callable(module.main)


def test_sides_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    measurement = import_module("measurement")
    calls: list[str] = []
    found = measurement.alternate({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, rounds=2)
    assert calls == ["a", "b", "b", "a"]
    assert {name: len(times) for name, times in found.items()} == {"a": 2, "b": 2}


def test_ratio_is_taken_round_by_round(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    assert import_module("measurement").ratio([2.0, 40.0, 9.0], [1.0, 10.0, 3.0]) == "3.00 (2.00 to 4.00)"


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_help(name: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, BENCHMARKS / f"{name}.py", "--help"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert f"usage: {name}.py" in done.stdout


@pytest.mark.slow
def test_the_memory_of_a_generation_is_measured(tmp_path: Path) -> None:
    command = [sys.executable, BENCHMARKS / "generate.py", "--hour-of", "10"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) > 0
