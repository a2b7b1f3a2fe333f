"""Ctrl-C and SIGTERM end a real run cleanly: nobody left, nothing half-written, and the way on is
said.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

from pipelines.core.files import PART_SUFFIX
from pipelines.prepare.pipeline import prepare

pytestmark = pytest.mark.slow

PATIENCE_S = 90.0
MARK = "A2H_TEST_RUN"  # in the environment of everything that the run starts


def alive(mark):
    """Processes that the run started."""
    for environment in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"{MARK}={mark}".encode() in environment.read_bytes():
                yield environment.parent.name, (environment.parent / "cmdline").read_bytes().replace(b"\0", b" ")
        except OSError:
            continue


def until(condition, process):
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        assert process.poll() is None, process.communicate()[1].decode()
        time.sleep(0.02)


@pytest.fixture
def _ctrl_c_means_something():
    """A shell's background jobs ignore Ctrl-C, and hand that down to what they start."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_ctrl_c_means_something")
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_run_leaves_nobody_and_nothing_half_and_says_how_to_go_on(
    talks, prepared, tmp_path, make_command, sent, code
):
    out, mark = tmp_path / "it's out", uuid.uuid4().hex
    words = ["prepare", f"videos={talks}", f"out={out}", "cluster.workers=2", f"paths.cache={tmp_path / 'cache'}"]
    run = subprocess.Popen(
        [sys.executable, "-m", "pipelines.cli.main", *words],
        env={**os.environ, MARK: mark},
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    until(lambda: list(out.glob(f"*{PART_SUFFIX}")), run)
    run.send_signal(sent)
    _, told = run.communicate(timeout=PATIENCE_S)
    assert run.returncode == code, told.decode()
    assert f"""'out={tmp_path}/it'"'"'s out'""" in told.decode()
    assert "a2h prepare" in told.decode()
    assert list(alive(mark)) == []
    assert not list(out.rglob(f"*{PART_SUFFIX}"))
    prepare(make_command(talks, out))
    assert {path.name: path.read_bytes() for path in out.glob("a2h-*")} == {
        path.name: path.read_bytes() for path in prepared.glob("a2h-*")
    }
