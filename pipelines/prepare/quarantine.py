"""Who is to blame when the process that built a unit was lost: the video that it was at, if that
happens again or could be no accident.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from a2h_models.errors import ClusterError
from a2h_models.timebase import FPS
from pipelines.config import ClusterConfig
from pipelines.execution import pool
from pipelines.execution.sandbox import CRASHED, Failure
from pipelines.execution.task import Task
from pipelines.prepare.output.ledger import printable
from pipelines.prepare.planning.plan import Unit, Video


@dataclass(frozen=True)
class TimeLimit:
    """How long a video may take. The defaults are cluster/'s."""

    base_s: float = ClusterConfig.video_timeout_s
    factor: float = ClusterConfig.video_timeout_factor  # seconds for each second of video

    def of(self, video: Video) -> float:
        return self.base_s + self.factor * video.frames / FPS


class CrashTriage:
    """Which videos took their workers down. Time and memory convict at once; a crash may be
    somebody else's, and is tried again.

    Args:
        config: cluster/.
        rehearse: does with a suspect alone what was done when it crashed.
    """

    def __init__(self, config: ClusterConfig, rehearse: Callable[[tuple[Unit, Video]], None]) -> None:
        self.guilty: dict[str, Failure] = {}  # content hash → how it ended
        self._config, self._rehearse = config, rehearse
        self._strikes: Counter[tuple[str, str]] = Counter()  # unit and culprit → how often

    def judge(self, broken: Sequence[tuple[Unit, Failure]]) -> None:
        """Convict who is to blame for these units.

        Raises:
            ClusterError: if one of them failed too often and no video is to blame.
        """
        doubtful: list[tuple[Unit, Video]] = []
        for unit, failure in broken:
            self._strikes[unit.id, failure.culprit] += 1
            strikes = self._strikes[unit.id, failure.culprit]
            if not failure.culprit and strikes > self._config.max_retries:
                raise ClusterError(
                    f"{unit.shard} cannot be built: {failure.message}", hint="the same command again tries it again"
                )
            if failure.culprit and failure.reason == CRASHED and strikes == 1 and self._config.max_retries:
                doubtful += [(unit, video) for video in unit.videos if video.sha256 == failure.culprit]
            elif failure.culprit:
                self.guilty[failure.culprit] = failure
        task = Task(
            function=self._rehearse,
            describe="trying again",
            key=lambda suspect: printable(suspect[1].file),
            isolated=True,
            retries=self._config.max_retries - 1,
        )
        again = pool.run(task, doubtful, self._config)
        self.guilty |= (
            {video.sha256: outcome for (_, video), outcome in again if isinstance(outcome, Failure)} if doubtful else {}
        )
