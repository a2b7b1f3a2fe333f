"""A task over many pieces of work on Ray: bounded, retried, with time limits.

The only module besides `pipelines.training.on_ray` that imports Ray.
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
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from a2h_models.errors import ClusterError
from pipelines.config import ClusterConfig
from pipelines.execution.sandbox import CRASHED, TIMED_OUT, Failure, Sandbox
from pipelines.execution.task import Piece, Result, Task

logger = logging.getLogger(__name__)

LOST = "worker_lost"  # the node died, or Ray killed the worker: not the fault of the piece, and never its result
MAX_LOSSES = 3  # of one piece, after Ray's own retries each time
QUEUE = 2  # pieces per worker handed to a Ray of our own, so that no worker waits for the driver
POLL_S = 1.0  # how often a running piece's deadline is looked at
STOP_S = 10.0  # how long cancelled pieces are waited for
OBJECT_STORE_BYTES = 128 * 2**20  # only plans and reports travel through Ray, never media
MAX_TEMP_DIR = 36  # letters: Ray adds some 70 for its sockets, and the system allows 107 in all


@contextmanager
def ray_session(config: ClusterConfig, *, cache: Path | None = None) -> Iterator[None]:
    """Start Ray or join a cluster for the duration of the block, unless a session is already open.

    Args:
        config: `address` joins an existing cluster; empty starts one on this machine with just the
            workers asked for.
        cache: folder for Ray's session files, if its path is short enough for sockets in it; else a
            temporary folder is used.

    Raises:
        ClusterError: if Ray is not installed or does not start.
    """
    ray = _ray()
    if ray.is_initialized():
        yield
        return
    folder = _temp_dir(cache)
    on_sigterm = signal.getsignal(signal.SIGTERM)  # Ray replaces it by its own handler, and leaves that in place
    try:
        _start(ray, config, folder)
        if on_sigterm is not signal.SIG_DFL:
            _restore_sigterm(on_sigterm)
        yield
    finally:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)
        _restore_sigterm(on_sigterm)


def _restore_sigterm(handler: Any) -> None:
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)


@dataclass(frozen=True)
class _RayTask:
    task: Task[Any, Any]
    config: ClusterConfig

    @property
    def in_flight(self) -> int:
        """How many pieces are handed to Ray at a time.

        Only isolated pieces may queue: the time limit of the others starts when they are handed over.
        """
        workers = self.config.workers
        may_queue = self.task.isolated and not self.config.address
        return self.config.max_in_flight or (QUEUE * workers if may_queue else workers)

    def remote(self, ray: Any) -> Any:
        """Return the function as a Ray remote function."""
        config, function = self.config, self.task.function
        retries = config.max_retries if self.task.retries is None else self.task.retries
        plain = (
            _isolated(ray.cloudpickle.dumps(function), config, retries)
            if self.task.isolated
            else _single_threaded(function)
        )
        return ray.remote(
            num_cpus=config.cpus_per_worker,
            num_gpus=config.gpus_per_worker,
            resources=dict(config.resources) or None,
            scheduling_strategy=config.scheduling,
            max_retries=config.max_retries,
        )(plain)


@dataclass(frozen=True)
class _Submission:
    """A piece that was handed to Ray."""

    piece: Any
    deadline: float  # of time.monotonic
    losses: int = 0


def run_on_ray(
    task: Task[Piece, Result], pieces: Iterable[Piece], config: ClusterConfig
) -> Iterator[tuple[Piece, Result | Failure] | None]:
    """Yield pieces with their results, in the order of completion.

    Yields None about once in POLL_S, so that the caller can show progress while nothing ends.
    """
    ray, ray_task = _ray(), _RayTask(task, config)
    limit_s = float("inf") if task.isolated else config.timeout_s
    with ray_session(config):
        remote, running = ray_task.remote(ray), dict[Any, _Submission]()
        waiting = (_Submission(piece, 0.0) for piece in pieces)
        lost: list[_Submission] = []
        try:
            while True:
                for submission in (*lost, *islice(waiting, ray_task.in_flight - len(running) - len(lost))):
                    deadline = time.monotonic() + limit_s
                    running[remote.remote(submission.piece)] = replace(submission, deadline=deadline)
                if not running:
                    return
                lost, (ended, unfinished) = [], _wait(ray, list(running))
                for reference in ended:
                    submission, result = running.pop(reference), _result(reference, isolated=task.isolated)
                    if isinstance(result, Failure) and result.reason == LOST:
                        lost.append(_submit_again(submission, result, task))
                    else:
                        yield submission.piece, result
                for reference in [each for each in unfinished if time.monotonic() > running[each].deadline]:
                    ray.cancel(reference, force=True)
                    piece = running.pop(reference).piece
                    yield piece, Failure(TIMED_OUT, f"{task.key(piece)} took longer than {limit_s:.0f} s")
                yield None
        finally:
            _cancel(ray, list(running))


def _wait(ray: Any, references: list[Any]) -> tuple[list[Any], list[Any]]:
    """Return all that has ended, or else the next to end within POLL_S; and the unfinished rest."""
    ended, unfinished = ray.wait(references, num_returns=len(references), timeout=0)
    return (ended, unfinished) if ended else ray.wait(unfinished, num_returns=1, timeout=POLL_S)


def _submit_again(submission: _Submission, failure: Failure, task: Task[Any, Any]) -> _Submission:
    if submission.losses >= MAX_LOSSES:
        raise ClusterError(
            f"{task.key(submission.piece)}: {failure.message}, {MAX_LOSSES} times after all retries",
            hint="are the nodes healthy? The same command again goes on where it stopped",
        )
    logger.warning("%s: %s; another worker tries again", task.key(submission.piece), failure.message)
    return replace(submission, losses=submission.losses + 1)


def _cancel(ray: Any, references: list[Any]) -> None:
    """Stop running pieces, and wait until they have ended."""
    for reference in references:
        ray.cancel(reference, force=True)
    if references:
        ray.wait(references, num_returns=len(references), timeout=STOP_S)


def _result(reference: Any, *, isolated: bool) -> Any:
    """Return the value behind a reference, or a Failure if the worker died.

    An exception of the function is raised as it was.
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
    """Limit a function to one thread: a worker is one core.

    Libraries that start a thread per core of the machine would slow each other down.
    """

    def work(piece: Piece) -> Result:
        import cv2

        cv2.setNumThreads(1)
        return function(piece)

    return work


def _isolated(packed: bytes, config: ClusterConfig, retries: int) -> Callable[[Any], Any]:
    """Wrap a packed function so that a Ray worker calls it in its sandbox."""

    def work(piece: Any) -> Any:
        for _ in range(1 + retries):
            answer = _sandbox(config.memory_mb_per_worker).call(_unpacked, (packed, piece), timeout_s=config.timeout_s)
            if not isinstance(answer, Failure) or answer.reason == TIMED_OUT:
                break
        return answer

    return work


@functools.cache
def _sandbox(memory_mb: int) -> Sandbox:
    """Return the sandbox of this process."""
    return Sandbox(memory_mb=memory_mb)


def _unpacked(call: tuple[bytes, Any]) -> Any:
    packed, piece = call
    return _function(packed)(piece)


@functools.lru_cache(maxsize=1)
def _function(packed: bytes) -> Callable[[Any], Any]:
    """Unpack, in the sandbox, a function that the driver packed as Ray packs functions."""
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
