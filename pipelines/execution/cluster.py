"""A function over many pieces of work, on Ray: bounded, retried, timed, with progress, and each
piece alone with its accidents.

The only Ray outside training. The functions know nothing of it: with `workers=0` they run in a
plain loop in this process and give the same results; there nothing protects the run from a piece
that crashes, hangs or eats memory.
"""

from __future__ import annotations

import functools
import importlib.util
import logging
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from a2h_models.errors import ClusterError
from pipelines.config import ClusterConfig
from pipelines.core.progress import Progress, Watch, shown
from pipelines.execution.sandbox import CRASHED, TIMED_OUT, Failure, Sandbox

__all__ = ["CRASHED", "LOST", "TIMED_OUT", "Failure", "run", "session"]

logger = logging.getLogger(__name__)

Piece = TypeVar("Piece")
Result = TypeVar("Result")

LOST = "worker_lost"  # the node died, or Ray killed the worker: the piece is innocent, and never ends so
MAX_LOSSES = 3  # of one piece, after Ray's own retries each time
QUEUE = 2  # pieces handed to a Ray of our own for each worker, so that none waits for the driver
POLL_S = 1.0  # how often a running piece's deadline is looked at
STOP_S = 10.0  # patience with pieces that are cancelled
OBJECT_STORE_BYTES = 128 * 2**20  # only plans and reports travel through Ray, never media
MAX_TEMP_DIR = 36  # letters: Ray adds some 70 for its sockets, and the system allows 107 in all


@contextmanager
def session(config: ClusterConfig, *, cache: Path | None = None) -> Iterator[None]:
    """Keep one Ray session for several calls of `run`. Nothing happens without workers, or where a
    session is already open.

    Args:
        config: `address` joins an existing cluster; empty starts one on this machine with just the
            workers asked for.
        cache: where Ray's session files go, if its path is short enough for the sockets in it; else
            a short temporary folder.

    Raises:
        ClusterError: if Ray is not installed or does not start.
    """
    if config.workers == 0:
        yield
        return
    ray = _ray()
    if ray.is_initialized():
        yield
        return
    folder = _temp_dir(cache)
    on_sigterm = signal.getsignal(signal.SIGTERM)  # Ray puts its own in its place, and leaves it there
    try:
        _start(ray, config, folder)
        if on_sigterm is not signal.SIG_DFL:
            _answer_sigterm_with(on_sigterm)
        yield
    finally:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)
        _answer_sigterm_with(on_sigterm)


def _answer_sigterm_with(answer: Any) -> None:
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, answer)


def run(
    function: Callable[[Piece], Result],
    pieces: Iterable[Piece],
    config: ClusterConfig,
    *,
    describe: str,
    key: Callable[[Piece], str],
    tally: Callable[[Result], Mapping[str, int]] | None = None,
    hours: Callable[[Piece], float] | None = None,
    isolated: bool = False,
    retries: int | None = None,
    watch: Watch | None = None,
) -> Iterator[tuple[Piece, Result | Failure]]:
    """Run a function over pieces of work and give each piece with its result, in the order in which
    they end.

    A bounded number of pieces is under way, so the driver's memory does not grow with their number.
    A piece whose worker or node is lost is tried again `config.max_retries` times, also on another
    node; what stays lost is a `Failure`. An exception that the function raises is raised here, and
    the rest is cancelled.

    Args:
        function: plain and picklable; it gets one piece.
        pieces: small values; they travel through Ray.
        config: cluster/; `workers=0` is a plain loop in this process.
        describe: what is done, for the progress.
        key: a piece's name, for messages.
        tally: what of a result is counted beside the progress, by name.
        hours: of video in a piece.
        isolated: each worker runs the function in a process of its own
            (pipelines/execution/sandbox.py), which may crash, exceed `config.memory_mb_per_worker`,
            or say nothing for `config.timeout_s`: a Failure that names what was worked on.
            Otherwise the worker itself dies, and `timeout_s` is the limit of a whole piece.
        retries: of an isolated piece that crashed; None: `config.max_retries`.
        watch: is told of the progress.
    """
    listed = list(pieces)
    progress = Progress(describe=describe, total=len(listed))
    if config.workers == 0:
        outcomes: Iterator[Any] = ((piece, function(piece)) for piece in listed)
    else:
        outcomes = _on_ray(
            _Work(function, config, key, isolated, config.max_retries if retries is None else retries), listed
        )
    with shown(progress, watch) as changed:
        for ended in outcomes:
            if ended is not None:
                _count(progress, ended, key, tally, hours)
                yield ended
            changed()


def _count(progress: Progress, ended: tuple[Any, Any], key: Any, tally: Any, hours: Any) -> None:
    piece, outcome = ended
    progress.done += 1
    progress.hours += hours(piece) if hours else 0.0
    if isinstance(outcome, Failure):
        logger.warning("%s: %s %s", progress.describe, key(piece), outcome.message)
        progress.counts[outcome.reason] += 1
    elif tally:
        progress.counts.update(tally(outcome))


# ------------------------------------------------------------------------------------------- on Ray
@dataclass(frozen=True)
class _Work:
    function: Callable[[Any], Any]
    config: ClusterConfig
    key: Callable[[Any], str]
    isolated: bool
    retries: int

    @property
    def in_flight(self) -> int:
        """Pieces handed to Ray at a time.

        Only isolated ones may queue: the time of the others runs from here.
        """
        workers = self.config.workers
        return self.config.max_in_flight or (QUEUE * workers if self.isolated and not self.config.address else workers)

    def task(self, ray: Any) -> Any:
        """The function as Ray wants it."""
        config = self.config
        plain = (
            _isolated(ray.cloudpickle.dumps(self.function), config, self.retries)
            if self.isolated
            else _single_threaded(self.function)
        )
        return ray.remote(
            num_cpus=config.cpus_per_worker,
            num_gpus=config.gpus_per_worker,
            resources=dict(config.resources) or None,
            scheduling_strategy=config.scheduling,
            max_retries=config.max_retries,
        )(plain)


@dataclass(frozen=True)
class _Flight:
    piece: Any
    deadline: float  # of time.monotonic
    losses: int = 0


def _on_ray(work: _Work, pieces: Iterable[Any]) -> Iterator[tuple[Any, Any] | None]:
    """Pieces with their results; None now and then, while nothing ends."""
    ray = _ray()
    limit_s = float("inf") if work.isolated else work.config.timeout_s
    with session(work.config):
        task, flying = work.task(ray), dict[Any, _Flight]()
        waiting = (_Flight(piece, 0.0) for piece in pieces)
        lost: list[_Flight] = []
        try:
            while True:
                for flight in (*lost, *islice(waiting, work.in_flight - len(flying) - len(lost))):
                    flying[task.remote(flight.piece)] = replace(flight, deadline=time.monotonic() + limit_s)
                if not flying:
                    return
                lost, (ended, running) = [], _wait(ray, list(flying))
                for reference in ended:
                    flight, outcome = flying.pop(reference), _outcome(reference, isolated=work.isolated)
                    if isinstance(outcome, Failure) and outcome.reason == LOST:
                        lost.append(_again(flight, outcome, work))
                    else:
                        yield flight.piece, outcome
                for reference in [late for late in running if time.monotonic() > flying[late].deadline]:
                    ray.cancel(reference, force=True)
                    piece = flying.pop(reference).piece
                    yield piece, Failure(TIMED_OUT, f"{work.key(piece)} took longer than {limit_s:.0f} s")
                yield None
        finally:
            _cancel(ray, list(flying))


def _wait(ray: Any, references: list[Any]) -> tuple[list[Any], list[Any]]:
    """What has ended, all of it, or the next one within a while; and the rest."""
    ended, running = ray.wait(references, num_returns=len(references), timeout=0)
    return (ended, running) if ended else ray.wait(running, num_returns=1, timeout=POLL_S)


def _again(flight: _Flight, failure: Failure, work: _Work) -> _Flight:
    if flight.losses >= MAX_LOSSES:
        raise ClusterError(
            f"{work.key(flight.piece)}: {failure.message}, {MAX_LOSSES} times after all retries",
            hint="are the nodes healthy? The same command again goes on where it stopped",
        )
    logger.warning("%s: %s; it is given to another", work.key(flight.piece), failure.message)
    return replace(flight, losses=flight.losses + 1)


def _cancel(ray: Any, references: list[Any]) -> None:
    """Stop what is under way, and wait until it is gone."""
    for reference in references:
        ray.cancel(reference, force=True)
    if references:
        ray.wait(references, num_returns=len(references), timeout=STOP_S)


def _outcome(reference: Any, *, isolated: bool) -> Any:
    """The value behind a reference; a Failure where the worker died; the function's own exception
    is raised as it was.
    """
    ray = _ray()
    lost = (ray.exceptions.NodeDiedError, ray.exceptions.ObjectLostError, ray.exceptions.OutOfMemoryError)
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        cause = getattr(error, "cause", None)
        raise (cause if isinstance(cause, Exception) else ClusterError(str(error))) from None
    except (*lost, ray.exceptions.WorkerCrashedError, ray.exceptions.RaySystemError) as error:
        reason = LOST if isolated or isinstance(error, lost) else CRASHED
        return Failure(reason, f"the worker died ({type(error).__name__})")
    except ray.exceptions.RayError as error:  # the runtime environment, the object store, …: no piece is to blame
        raise ClusterError(f"Ray gave up: {error}", hint="look at cluster.runtime_env and cluster.resources") from error


def _single_threaded(function: Callable[[Piece], Result]) -> Callable[[Piece], Result]:
    """One worker is one core: libraries that would start a thread per core of the machine slow each
    other down.
    """

    def work(piece: Piece) -> Result:
        import cv2

        cv2.setNumThreads(1)
        return function(piece)

    return work


def _isolated(packed: bytes, config: ClusterConfig, retries: int) -> Callable[[Any], Any]:
    """The packed function as work for a Ray worker, which has it done by its sandbox."""

    def work(piece: Any) -> Any:
        for _ in range(1 + retries):
            answer = _sandbox(config.memory_mb_per_worker).call(_unpacked, (packed, piece), timeout_s=config.timeout_s)
            if not isinstance(answer, Failure) or answer.reason == TIMED_OUT:
                break
        return answer

    return work


@functools.cache
def _sandbox(memory_mb: int) -> Sandbox:
    """The one of this process."""
    return Sandbox(memory_mb=memory_mb)


def _unpacked(call: tuple[bytes, Any]) -> Any:
    packed, piece = call
    return _function(packed)(piece)


@functools.lru_cache(maxsize=1)
def _function(packed: bytes) -> Callable[[Any], Any]:
    """What the driver packed, in the sandbox: Ray's own way of sending functions."""
    return _single_threaded(_ray().cloudpickle.loads(packed))


# -------------------------------------------------------------------------------------- Ray's start
def _ray() -> Any:
    if importlib.util.find_spec("ray") is None:
        raise ClusterError("Ray is not installed", hint='install the extra "prepare", or set cluster.workers=0')
    # read when Ray is imported: no token in the home folder, no statistics sent, no warning about
    # visible GPUs
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    return ray


def _temp_dir(cache: Path | None) -> Path:
    wanted = (cache / "ray").resolve() if cache else None
    if wanted and len(str(wanted)) <= MAX_TEMP_DIR:
        wanted.mkdir(parents=True, exist_ok=True)
        return wanted
    return Path(tempfile.mkdtemp(prefix="a2h-ray-"))


def _start(ray: Any, config: ClusterConfig, folder: Path) -> None:
    try:
        ray.init(**_init_options(config, folder))
    except Exception as error:  # Ray raises bare ones when a node does not come up in time
        where = f"the cluster at {config.address} cannot be joined" if config.address else "Ray did not start"
        raise ClusterError(f"{where}: {error}", hint="cluster.workers=0 works without Ray") from error


def _init_options(config: ClusterConfig, folder: Path) -> dict[str, Any]:
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    if config.address:
        return {"address": config.address, "runtime_env": dict(config.runtime_env) or None, **quiet}
    return {
        "address": "local",
        "num_cpus": max(1, round(config.workers * config.cpus_per_worker)),
        "num_gpus": round(config.workers * config.gpus_per_worker),
        "resources": {name: config.workers * amount for name, amount in config.resources.items()} or None,
        "runtime_env": dict(config.runtime_env) or None,
        "include_dashboard": False,
        "object_store_memory": OBJECT_STORE_BYTES,
        "_temp_dir": str(folder),
        **quiet,
    }
