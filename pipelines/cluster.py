"""A function over many pieces of work, on Ray: bounded, retried, timed, with progress and poison isolation.

The only Ray outside training. The functions know nothing of it: with `workers=0` they run in a plain loop in this process
and give the same results.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import shutil
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from a2h_models.errors import ClusterError
from pipelines.config import ClusterConfig

logger = logging.getLogger(__name__)

Piece = TypeVar("Piece")
Item = TypeVar("Item")
Result = TypeVar("Result")

CRASHED, TIMED_OUT = "decoder_crashed", "timed_out"  # names of pipelines.prepare.filters.Reason
POLL_S = 1.0  # how often a running piece's deadline is looked at
MIN_TIMEOUT_S = 120.0  # of the smallest part of a piece while a culprit is searched: a worker's start and imports are in it
OBJECT_STORE_BYTES = 128 * 2**20  # only plans and reports travel through Ray, never media
MAX_TEMP_DIR = 36  # letters: Ray adds some 70 for its sockets, and the system allows 107 in all


@dataclass(frozen=True)
class Failure:
    """What came instead of a result: the worker died or did not end, also when tried again."""

    reason: str
    message: str


@contextmanager
def session(config: ClusterConfig, *, cache: Path | None = None) -> Iterator[None]:
    """Keep one Ray session for several calls of `run`. Nothing happens without workers, or where a session is already open.

    Args:
        config: `address` joins an existing cluster; empty starts one on this machine with just the workers asked for.
        cache: where Ray's session files go, if its path is short enough for the sockets in it; else a short temporary folder.

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
        ray.init(**_init_options(config, folder))
    except (RuntimeError, ConnectionError, OSError, ValueError) as error:
        raise ClusterError(f"Ray did not start: {error}", hint="cluster.workers=0 works without Ray") from error
    try:
        yield
    finally:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, on_sigterm)


def run(
    function: Callable[[Piece], Result],
    pieces: Iterable[Piece],
    config: ClusterConfig,
    *,
    describe: str,
    key: Callable[[Piece], str],
    tally: Callable[[Result], Mapping[str, int]] | None = None,
) -> Iterator[tuple[Piece, Result | Failure]]:
    """Run a function over pieces of work and give each piece with its result, in the order in which they end.

    At most `config.workers` pieces are under way, so the driver's memory does not grow with their number. A piece whose worker
    dies is tried again `config.max_retries` times, also on another node; one that takes longer than `config.timeout_s` is
    stopped. Either ends as a `Failure`. An exception that the function raises is raised here, and the rest is cancelled.

    Args:
        function: plain and picklable; it gets one piece.
        pieces: small values; they travel through Ray.
        config: cluster/; `workers=0` is a plain loop in this process.
        describe: what is done, for the progress bar.
        key: a piece's name, for messages.
        tally: what of a result is counted beside the progress bar, by name.
    """
    listed = list(pieces)
    with _progress(describe, len(listed)) as advance:
        outcomes = _loop(function, listed) if config.workers == 0 else _on_ray(function, listed, config, key)
        for piece, outcome in outcomes:
            if isinstance(outcome, Failure):
                logger.warning("%s: %s %s", describe, key(piece), outcome.message)
                advance({outcome.reason: 1})
            else:
                advance(tally(outcome) if tally else {})
            yield piece, outcome


def isolate(
    trial: Callable[[tuple[Item, ...]], object],
    items: Sequence[Item],
    config: ClusterConfig,
    failure: Failure,
    *,
    describe: str,
) -> dict[Item, Failure]:
    """Find the items that kill or stall the worker of a piece which is known to fail as a whole, by halving.

    Args:
        trial: does with some of the items what the failed piece did, but publishes nothing.
        items: of the failed piece.
        config: its timeout is shared out over the parts by their number of items.
        failure: of the whole piece; it stands for its only item, where there is just one.
        describe: for the progress bar.

    Returns:
        The culprits; empty if every single item is innocent.
    """
    if len(items) == 1:
        return {items[0]: failure}
    culprits: dict[Item, Failure] = {}
    suspects = [tuple(items)]
    while suspects:
        parts = [part for group in suspects for part in (group[: len(group) // 2], group[len(group) // 2 :])]
        share = max(map(len, parts)) / len(items)
        patience = replace(config, timeout_s=min(config.timeout_s, max(config.timeout_s * share, MIN_TIMEOUT_S)))
        suspects = []
        for part, outcome in run(trial, parts, patience, describe=describe, key=lambda part: f"{len(part)} suspects"):
            if isinstance(outcome, Failure) and len(part) == 1:
                culprits[part[0]] = outcome
            elif isinstance(outcome, Failure):
                suspects.append(part)
    return culprits


# ---------------------------------------------------------------------------------------------------------------- the two engines
def _loop(function: Callable[[Piece], Result], pieces: Iterable[Piece]) -> Iterator[tuple[Piece, Result | Failure]]:
    for piece in pieces:
        yield piece, function(piece)


@dataclass(frozen=True)
class _Flight:
    piece: Any
    deadline: float  # of time.monotonic


def _on_ray(
    function: Callable[[Piece], Result],
    pieces: Iterable[Piece],
    config: ClusterConfig,
    key: Callable[[Piece], str],
) -> Iterator[tuple[Piece, Result | Failure]]:
    ray = _ray()
    with session(config):
        resources = {"num_cpus": config.cpus_per_worker, "num_gpus": config.gpus_per_worker}
        task = ray.remote(**resources, max_retries=config.max_retries)(_single_threaded(function))
        waiting, flying = iter(pieces), dict[Any, _Flight]()
        try:
            while True:
                for piece in islice(waiting, config.workers - len(flying)):
                    flying[task.remote(piece)] = _Flight(piece, time.monotonic() + config.timeout_s)
                if not flying:
                    return
                ended, running = ray.wait(list(flying), num_returns=1, timeout=POLL_S)
                for reference in ended:
                    yield flying.pop(reference).piece, _outcome(reference)
                for reference in [late for late in running if time.monotonic() > flying[late].deadline]:
                    ray.cancel(reference, force=True)
                    piece = flying.pop(reference).piece
                    yield piece, Failure(TIMED_OUT, f"{key(piece)} took longer than {config.timeout_s:.0f} s")
        finally:
            for reference in flying:
                ray.cancel(reference, force=True)


def _outcome(reference: Any) -> Any:
    """The value behind a reference; a Failure where the worker died; the function's own exception is raised as it was."""
    ray = _ray()
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        cause = getattr(error, "cause", None)
        raise (cause if isinstance(cause, Exception) else ClusterError(str(error))) from None
    except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError, ray.exceptions.RaySystemError) as error:
        return Failure(CRASHED, f"the worker died ({type(error).__name__})")
    except (ray.exceptions.NodeDiedError, ray.exceptions.ObjectLostError) as error:
        raise ClusterError(f"a node of the cluster was lost: {error}", hint="run the same command again: it resumes") from error


def _single_threaded(function: Callable[[Piece], Result]) -> Callable[[Piece], Result]:
    """One worker is one core: libraries that would start a thread per core of the machine slow each other down."""

    def work(piece: Piece) -> Result:
        import cv2

        cv2.setNumThreads(1)
        return function(piece)

    return work


# ---------------------------------------------------------------------------------------------------------------- Ray's start
def _ray() -> Any:
    if importlib.util.find_spec("ray") is None:
        raise ClusterError("Ray is not installed", hint='install the extra "prepare", or set cluster.workers=0')
    # read when Ray is imported: no token in the home folder, no statistics sent, no warning about visible GPUs
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


def _init_options(config: ClusterConfig, folder: Path) -> dict[str, Any]:
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    if config.address:
        return {"address": config.address, **quiet}
    return {
        "address": "local",
        "num_cpus": max(1, round(config.workers * config.cpus_per_worker)),
        "num_gpus": round(config.workers * config.gpus_per_worker),
        "include_dashboard": False,
        "object_store_memory": OBJECT_STORE_BYTES,
        "_temp_dir": str(folder),
        **quiet,
    }


# ---------------------------------------------------------------------------------------------------------------- progress
@contextmanager
def _progress(describe: str, total: int) -> Iterator[Callable[[Mapping[str, int]], None]]:
    """A bar with time left and running counts, on a terminal; nothing elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    console = Console(stderr=True)
    counts: Counter[str] = Counter()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, TextColumn("{task.fields[counts]}"), console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(describe, total=total, counts="")

        def advance(more: Mapping[str, int]) -> None:
            counts.update(more)
            bar.update(task, advance=1, counts=" ".join(f"{name} {number}" for name, number in sorted(counts.items())))

        yield advance
