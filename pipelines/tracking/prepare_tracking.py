"""A preparation as a run of the tracker: how far it is over time, its settings, and its report.

On request.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING

from a2h_models.errors import RegistryError
from pipelines.config import PrepareCommand, TrackingConfig
from pipelines.core.progress import Progress
from pipelines.core.storage import Storage

if TYPE_CHECKING:
    from pipelines.prepare.output.summary import DatasetSummary

logger = logging.getLogger(__name__)

EVERY_S = 30.0  # between two points of a curve
REPORT_FILE = "report.html"


class Tracked:
    """One run. A tracker that goes away while videos are prepared is a warning, not the end.

    Args:
        run_id: of the tracker.
        config: where it is.
    """

    def __init__(self, run_id: str, config: TrackingConfig) -> None:
        self._run_id, self._config = run_id, config
        self._last, self._step = -EVERY_S, 0

    def watch(self, progress: Progress) -> None:
        """Log a progress, if the last time is long enough ago or it has ended."""
        now = time.monotonic()
        if now - self._last < EVERY_S and progress.done < progress.total:
            return
        self._last, self._step = now, self._step + 1
        self._log(numbers(progress))

    def finish(self, summary: DatasetSummary) -> None:
        """Log what came out, and the report."""
        from pipelines import tracking

        totals = {
            "samples": summary.accepted,
            "shards": summary.shards,
            **{f"hours/{split}": h for split, h in summary.hours.items()},
        }
        self._step += 1
        self._log(totals)
        with Storage(summary.path).local_copy(REPORT_FILE) as report:
            tracking.log_artifacts(self._run_id, report, logger=self._config)
        tracking.log_dataset(
            self._run_id, summary.path, summary.fingerprint, logger=self._config, context="preparation"
        )
        tracking.set_tags(self._run_id, {"plan": summary.plan}, logger=self._config)

    def _log(self, metrics: dict[str, float]) -> None:
        from pipelines import tracking

        try:
            tracking.log_metrics(self._run_id, metrics, logger=self._config, step=self._step)
        except RegistryError as error:
            logger.warning("%s", error.message)


def numbers(progress: Progress) -> dict[str, float]:
    """A progress as metrics: `units/done`, `units/per_second`, `video_hours/per_hour`,
    `clips/<reason>`.
    """
    return {
        "units/done": progress.done,
        "units/total": progress.total,
        "units/per_second": progress.per_second,
        "video_hours/done": progress.hours,
        "video_hours/per_hour": progress.hours_per_hour,
        **{f"clips/{name}": count for name, count in progress.counts.items()},
    }


@contextmanager
def tracked(command: PrepareCommand) -> Iterator[Tracked]:
    """Open a run for a preparation, and close it: failed, if the block fails.

    Raises:
        RegistryError: if the tracker cannot be reached at the start or at the end.
    """
    from pipelines import tracking

    settings = {
        "videos": command.videos,
        "out": command.out,
        "prepare": asdict(command.prepare),
        "cluster": asdict(command.cluster),
    }
    run_id = tracking.open_run(
        command.logger, run_name=f"prepare {command.out}", tags={"command": "prepare"}, params=settings
    )
    try:
        yield Tracked(run_id, command.logger)
    except BaseException:
        tracking.close_run(run_id, logger=command.logger, failed=True)
        raise
    tracking.close_run(run_id, logger=command.logger)
