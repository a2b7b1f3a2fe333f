"""A process of its own for work that may crash natively, hang or eat memory: it is lost, and only
the work at hand with it.

The process is kept from one call to the next, so that its imports are paid once. The work says what
it is at (`working_on`), so that nobody has to search for the culprit.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import resource
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

from a2h_models.errors import ClusterError

# names of pipelines.prepare.reasons.Reason
CRASHED, TIMED_OUT, OUT_OF_MEMORY = "decoder_crashed", "timed_out", "out_of_memory"
POLL_S = 0.2  # how often time and memory are looked at
MIB = 2**20
PAGES_PER_MIB = MIB / resource.getpagesize()
HARD_LIMIT = 2  # times the memory that is allowed: where the kernel refuses more, for what grows faster than we look
GONE_S = 10.0  # patience with a killed process; one that waits for a dead disk is left behind
PR_SET_PDEATHSIG: Final = 1  # of Linux's prctl: the signal that a process gets when its parent ends


@dataclass(frozen=True)
class Failure:
    """What came instead of a result."""

    reason: str
    message: str
    culprit: str = ""  # what was being worked on, where the work said so


@dataclass(frozen=True)
class _At:
    item: str  # empty: nothing in particular
    limit_s: float  # 0: the limit of the whole call


@dataclass(frozen=True)
class _Ended:
    result: Any


@dataclass(frozen=True)
class _Raised:
    error: Exception


# ------------------------------------------------------------------------------------------- inside
_outside: Connection | None = None  # in an isolated process: the way to the process that watches over it


@contextmanager
def working_on(item: str, *, limit_s: float) -> Iterator[None]:
    """Say what is being worked on, and how many seconds that may take.

    Means nothing in a process that is not isolated.
    """
    if _outside is None:
        yield
        return
    _outside.send(_At(item, limit_s))
    yield
    _outside.send(_At("", 0.0))


def _serve(pipe: Connection, memory_mb: int, parent: int, scratch: str) -> None:
    """The life of an isolated process: calls, one after the other, until the other side is gone."""
    global _outside  # noqa: PLW0603  one way out per process
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before it could be watched
        return
    os.setsid()  # Ctrl-C is for the driver; and what we start can be killed with us
    if memory_mb:
        resource.setrlimit(resource.RLIMIT_DATA, (HARD_LIMIT * memory_mb * MIB,) * 2)
    _outside = pipe
    tempfile.tempdir = scratch  # what a killed process leaves there is removed from outside
    with suppress(EOFError, BrokenPipeError):
        while True:
            function, argument = pipe.recv()
            pipe.send(_answer(function, argument))


def _answer(function: Callable[[Any], Any], argument: Any) -> _Ended | _Raised:
    try:
        return _Ended(function(argument))
    except Exception as error:  # noqa: BLE001  raised again on the other side
        with suppress(Exception):
            multiprocessing.reduction.ForkingPickler.dumps(error)
            return _Raised(error)
        return _Raised(ClusterError(f"{type(error).__name__}: {error}"))  # an error that cannot travel


# ------------------------------------------------------------------------------------------ outside
class Sandbox:
    """An isolated process, started when it is first needed and again after it was lost.

    Args:
        memory_mb: resident memory that it and the programs it starts may have; 0 is no limit.
    """

    def __init__(self, *, memory_mb: int = 0) -> None:
        self.memory_mb = memory_mb
        self._context = multiprocessing.get_context("spawn")  # a fork would inherit threads and locks
        self._process: Any = None
        self._pipe: Connection | None = None
        self._scratch: tempfile.TemporaryDirectory[str] | None = None

    def call(self, function: Callable[[Any], Any], argument: Any, *, timeout_s: float) -> Any:
        """`function(argument)` in the isolated process; a Failure if that was lost. Its exceptions
        are raised here.

        Args:
            function: of a module, so that it travels by name.
            argument: picklable.
            timeout_s: without any word of the work; `working_on` sets limits of its own.
        """
        pipe = self._running()
        try:
            pipe.send((function, argument))
            answer = self._watch(pipe, timeout_s)
        # the caller was stopped, or the arguments cannot travel: what runs there is not wanted any
        # more
        except BaseException:
            self.stop()
            raise
        if isinstance(answer, _Raised):
            raise answer.error
        return answer.result if isinstance(answer, _Ended) else answer

    def stop(self) -> None:
        """Kill the process, and the programs that it started, and remove the scratch files that
        they left.
        """
        if self._process is None:
            return
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.kill()
        self._process.join(GONE_S)
        if self._pipe:
            self._pipe.close()
        if self._scratch:
            self._scratch.cleanup()
        self._process, self._pipe, self._scratch = None, None, None

    def _running(self) -> Connection:
        if self._process is not None and not self._process.is_alive():
            self.stop()
        if self._pipe is None:
            self._pipe, theirs = self._context.Pipe()
            self._scratch = tempfile.TemporaryDirectory(prefix="a2h-", ignore_cleanup_errors=True)
            arguments = (theirs, self.memory_mb, os.getpid(), self._scratch.name)
            self._process = self._context.Process(target=_serve, args=arguments, daemon=True)
            self._process.start()
            theirs.close()
        return self._pipe

    def _watch(self, pipe: Connection, timeout_s: float) -> _Ended | _Raised | Failure:
        at, since = _At("", timeout_s), time.monotonic()
        while True:
            try:
                message = pipe.recv() if pipe.poll(POLL_S) else None
            except (EOFError, ConnectionResetError):
                return self._lost(CRASHED, self._how_it_ended(), at)
            if isinstance(message, _At):
                at, since = _At(message.item, message.limit_s or timeout_s), time.monotonic()
            elif isinstance(message, _Ended | _Raised):
                return message
            elif time.monotonic() - since > at.limit_s:
                return self._lost(TIMED_OUT, f"took longer than {at.limit_s:.0f} s", at)
            elif self.memory_mb and (taken := resident_mb(self._process.pid)) > self.memory_mb:
                return self._lost(OUT_OF_MEMORY, f"took {taken:.0f} MB of memory, at most {self.memory_mb}", at)

    def _lost(self, reason: str, message: str, at: _At) -> Failure:
        self.stop()
        return Failure(reason, message, at.item)

    def _how_it_ended(self) -> str:
        self._process.join(GONE_S)
        code = self._process.exitcode
        if code is not None and code < 0:
            return f"the process was ended by {signal.Signals(-code).name}"
        return f"the process ended with {code}"


def resident_mb(pid: int) -> float:
    """Memory of a process and all its descendants, as far as they still live, in MB."""
    pages, family = 0, [pid]
    while family:
        place = Path("/proc") / str(family.pop())
        with suppress(OSError, IndexError):
            pages += int((place / "statm").read_text().split()[1])
            for children in place.glob("task/*/children"):
                family += map(int, children.read_text().split())
    return pages / PAGES_PER_MIB
