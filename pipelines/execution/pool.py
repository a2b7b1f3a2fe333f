"""Run a function over many pieces of work, with progress: in this process or on Ray.

The function knows nothing of where it runs, and gives equal results in both.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipelines.config import ClusterConfig
from pipelines.core.progress import Progress, Watch, shown
from pipelines.execution.local import run_locally
from pipelines.execution.ray_cluster import ray_session, run_on_ray
from pipelines.execution.sandbox import Failure
from pipelines.execution.task import Piece, Result, Task

logger = logging.getLogger(__name__)


@contextmanager
def session(config: ClusterConfig, *, cache: Path | None = None) -> Iterator[None]:
    """Keep one Ray session for several calls of `run`; without workers, do nothing.

    Args:
        config: cluster/, as for `run`.
        cache: folder for Ray's session files, if its path is short enough for sockets in it; else a
            temporary folder is used.

    Raises:
        ClusterError: if Ray is not installed or does not start.
    """
    if config.workers == 0:
        yield
        return
    with ray_session(config, cache=cache):
        yield


def run(
    task: Task[Piece, Result], pieces: Iterable[Piece], config: ClusterConfig, *, watch: Watch | None = None
) -> Iterator[tuple[Piece, Result | Failure]]:
    """Run a task over pieces of work; yield each piece with its result, in the order of completion.

    On Ray a bounded number of pieces is under way, so the driver's memory does not grow with their
    number. A piece whose worker or node is lost is tried again `config.max_retries` times, also on
    another node; if it stays lost, its result is a `Failure`. An exception of the function is raised
    here, and the rest is cancelled.

    Args:
        task: the function, and how it is run.
        pieces: small values, because they travel through Ray.
        config: cluster/; `workers=0` is a plain loop in this process.
        watch: is called with the progress.
    """
    listed = list(pieces)
    progress = Progress(describe=task.describe, total=len(listed))
    outcomes: Iterator[Any] = run_locally(task, listed) if config.workers == 0 else run_on_ray(task, listed, config)
    with shown(progress, watch) as changed:
        for outcome in outcomes:
            if outcome is not None:
                _count(progress, task, *outcome)
                yield outcome
            changed()


def _count(progress: Progress, task: Task[Piece, Result], piece: Piece, result: Result | Failure) -> None:
    progress.done += 1
    progress.hours += task.hours(piece) if task.hours else 0.0
    if isinstance(result, Failure):
        logger.warning("%s: %s %s", task.describe, task.key(piece), result.message)
        progress.counts[result.reason] += 1
    elif task.tally:
        progress.counts.update(task.tally(result))
