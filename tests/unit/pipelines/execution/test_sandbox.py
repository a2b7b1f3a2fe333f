"""A process of its own dies alone; what it did, why it ended and what it was at is told."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from a2h_models.errors import InputError
from pipelines.execution.sandbox import Failure, Sandbox, resident_mb, working_on

LONG_S = 60.0


@pytest.fixture(scope="module")
def sandbox():
    box = Sandbox(memory_mb=400)
    yield box
    box.stop()


def test_a_call_gives_what_the_function_gives_and_keeps_the_process(sandbox):
    first = sandbox.call(os.getsid, 0, timeout_s=LONG_S)
    assert first == sandbox.call(os.getsid, 0, timeout_s=LONG_S) != os.getsid(0)


def test_errors_of_the_function_are_raised_here(sandbox):
    with pytest.raises(ValueError, match="invalid literal"):
        sandbox.call(int, "x", timeout_s=LONG_S)
    with pytest.raises(InputError):
        sandbox.call(
            exec,
            "from a2h_models.errors import InputError; raise InputError('no video', hint='remove it')",
            timeout_s=LONG_S,
        )


def test_an_error_that_cannot_travel_is_told_in_words(sandbox):
    with pytest.raises(Exception, match="Odd: of its own kind"):
        sandbox.call(exec, "class Odd(Exception): pass\nraise Odd('of its own kind')", timeout_s=LONG_S)


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGKILL])
def test_a_death_by_signal_is_named(sandbox, number):
    found = sandbox.call(signal.raise_signal, number, timeout_s=LONG_S)
    assert found == Failure("decoder_crashed", f"the process was ended by {number.name}")


def test_an_exit_is_a_crash(sandbox):
    assert sandbox.call(os._exit, 7, timeout_s=LONG_S) == Failure("decoder_crashed", "the process ended with 7")


def test_a_sleeper_is_killed_with_the_programs_that_it_started(sandbox, tmp_path):
    program = f"import subprocess, time; open({str(tmp_path / 'pid')!r}, 'w').write(str(subprocess.Popen(['sleep', '600']).pid)); time.sleep(600)"
    assert sandbox.call(exec, program, timeout_s=1.0) == Failure("timed_out", "took longer than 1 s")
    status = Path("/proc") / (tmp_path / "pid").read_text() / "stat"
    assert not status.exists() or status.read_text().split()[2] == "Z"


def test_memory_that_grows_is_stopped(sandbox):
    found = sandbox.call(exec, "import os\nhoard = []\nwhile True: hoard.append(os.urandom(2**20))", timeout_s=LONG_S)
    assert found.reason == "out_of_memory"
    assert "at most 400" in found.message


def test_memory_that_jumps_is_refused(sandbox):
    with pytest.raises(MemoryError):
        sandbox.call(bytearray, 900 * 2**20, timeout_s=LONG_S)


def test_what_was_worked_on_is_told_and_has_its_own_time(sandbox):
    program = """
import time
from pipelines.execution.sandbox import working_on
for name, limit in (("a.mp4", 30), ("b.mp4", 0.5)):
    with working_on(name, limit_s=limit):
        time.sleep(0.1 if name == "a.mp4" else 600)
"""
    found = sandbox.call(exec, program, timeout_s=LONG_S)
    assert (found.reason, found.culprit) == ("timed_out", "b.mp4")


def test_working_on_means_nothing_outside():
    with working_on("a.mp4", limit_s=0.0):
        pass


def test_the_process_does_not_outlive_the_one_that_started_it(tmp_path):
    box = Sandbox()
    program = f"""
import os, signal
from pipelines.execution.sandbox import Sandbox
inner = Sandbox()
inner.call(exec, "import os; open({str(tmp_path / "pid")!r}, 'w').write(str(os.getpid()))", timeout_s=60)
os.kill(os.getpid(), signal.SIGKILL)
"""
    child = os.spawnv(
        os.P_WAIT, __import__("sys").executable, ["python", "-c", f"if __name__ == '__main__': exec({program!r})"]
    )
    box.stop()
    assert child == -signal.SIGKILL
    place = Path("/proc") / (tmp_path / "pid").read_text()
    deadline = time.monotonic() + LONG_S
    while place.exists() and (place / "stat").read_text().split()[2] != "Z":
        assert time.monotonic() < deadline


def test_memory_of_a_process_counts_its_children():
    assert resident_mb(os.getpid()) > 10
    assert resident_mb(2**22 + 1) == 0


def test_scratch_files_of_a_killed_process_are_removed(sandbox):
    program = "import tempfile\nraise ValueError(tempfile.mkdtemp())"
    with pytest.raises(ValueError, match="/") as caught:
        sandbox.call(exec, program, timeout_s=LONG_S)
    left = Path(str(caught.value))
    assert left.is_dir()
    sandbox.call(os._exit, 1, timeout_s=LONG_S)
    assert not left.exists()
