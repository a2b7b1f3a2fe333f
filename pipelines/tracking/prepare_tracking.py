"""A preparation as a run of the tracking server: its settings, progress over time, and report.

Only on request (`track=true`).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING

from a2h_models.errors import RegistryError
from pipelines.config import PrepareCommand
from pipelines.core.progress import Progress
from pipelines.core.storage import Storage
from pipelines.tracking.tracker import Tracker

if TYPE_CHECKING:
    from pipelines.dataset.summary import DatasetSummary

logger = logging.getLogger(__name__)

LOG_INTERVAL_S = 30.0  # between two points of a curve
REPORT_FILE = "report.html"


class PreparationRun:
    """One run. A server that goes away while videos are prepared is a warning, not the end.

    Args:
        tracker: the server.
        run_id: of the run, which is open.
    """

    def __init__(self, tracker: Tracker, run_id: str) -> None:
        self._tracker, self._run_id = tracker, run_id
        self._last_logged_s, self._step = -LOG_INTERVAL_S, 0

    def log_progress(self, progress: Progress) -> None:
        """Log the progress, unless the last point is less than `LOG_INTERVAL_S` old.

        The last point of a preparation is always logged.
        """
        now = time.monotonic()
        if now - self._last_logged_s < LOG_INTERVAL_S and progress.done < progress.total:
            return
        self._last_logged_s = now
        self._log(progress_metrics(progress))

    def log_summary(self, summary: DatasetSummary) -> None:
        """Log the totals, the report and the dataset that was written.

        Raises:
            RegistryError: if the server refuses the report or the dataset.
        """
        hours = {f"hours/{split}": hours for split, hours in summary.hours.items()}
        self._log({"samples": summary.accepted, "shards": summary.shards, **hours})
        with Storage(summary.path).local_copy(REPORT_FILE) as report:
            self._tracker.log_artifacts(self._run_id, report)
        self._tracker.log_dataset(self._run_id, summary.path, summary.fingerprint, context="preparation")
        self._tracker.set_tags(self._run_id, {"plan": summary.plan})

    def _log(self, metrics: dict[str, float]) -> None:
        self._step += 1
        try:
            self._tracker.log_metrics(self._run_id, metrics, step=self._step)
        except RegistryError as error:
            logger.warning("%s", error.message)


def progress_metrics(progress: Progress) -> dict[str, float]:
    """A progress as metrics: `units/done`, `video_hours/per_hour`, `clips/<reason>` and others."""
    return {
        "units/done": progress.done,
        "units/total": progress.total,
        "units/per_second": progress.per_second,
        "video_hours/done": progress.hours,
        "video_hours/per_hour": progress.hours_per_hour,
        **{f"clips/{name}": count for name, count in progress.counts.items()},
    }


@contextmanager
def track_preparation(command: PrepareCommand) -> Iterator[PreparationRun]:
    """Open a run for a preparation and close it: as failed, if the block raises.

    Raises:
        RegistryError: if the server cannot be reached at the start or at the end.
    """
    tracker = Tracker(command.logger)
    settings = {
        "videos": command.videos,
        "out": command.out,
        "prepare": asdict(command.prepare),
        "cluster": asdict(command.cluster),
    }
    run_id = tracker.open_run(f"prepare {command.out}", tags={"command": "prepare"}, params=settings)
    try:
        yield PreparationRun(tracker, run_id)
    except BaseException:
        tracker.close_run(run_id, failed=True)
        raise
    tracker.close_run(run_id)
