"""What a plan will take, before it is carried out: a few of its videos are built and thrown away,
and the rest is extrapolated.

The sample is the same on every machine: the videos with the lowest content hashes, a stretch from
the middle of each.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from a2h_models.timebase import FPS
from pipelines.config import ClusterConfig
from pipelines.core.progress import duration
from pipelines.core.storage import Storage
from pipelines.dataset.shard_format import read_sidecars
from pipelines.execution import pool
from pipelines.execution.sandbox import Failure
from pipelines.execution.task import Task
from pipelines.prepare.planning.plan import SPLITS, Plan, Unit, Video, by_split

SAMPLE_VIDEOS = 5
SAMPLE_FRAMES = 150  # of each: 6 s
SECONDS_PER_HOUR = 3600
UNITS_OF_SIZE = ("B", "KB", "MB", "GB", "TB", "PB")

Build = Callable[[Unit, Storage], object]  # build_shard, but for the unit and the store


class MeasuredSample(NamedTuple):
    """What building the sample took."""

    videos: int
    video_s: float  # of the stretches that were built
    accepted_s: float
    work_s: float  # of one worker alone, once it is warm
    size: int  # bytes, of everything that was written


@dataclass(frozen=True)
class Estimate:
    """A plan's needs, if all of it is like the sample."""

    measured: MeasuredSample
    video_s: float  # of the plan
    longest_s: float  # of video in the longest unit, which no number of workers makes shorter
    config: ClusterConfig

    @property
    def work_s(self) -> float:
        return self._rate * self.video_s

    @property
    def wall_s(self) -> float:
        return max(self.work_s / max(1, self.config.workers), self._rate * self.longest_s)

    @property
    def size(self) -> float:
        return self.measured.size / self.measured.video_s * self.video_s

    @property
    def _rate(self) -> float:
        return self.measured.work_s / self.measured.video_s

    def __str__(self) -> str:
        taken, workers, hours = self.measured, max(1, self.config.workers), self.work_s / SECONDS_PER_HOUR
        basis = f"{_some(taken.videos, 'video')}, {taken.video_s:.0f} s of them, built in {taken.work_s:.1f} s by one worker alone"
        lines = [
            f"if all of it is like the sample ({basis}; {taken.accepted_s:.0f} s accepted):",
            f"  time     {duration(self.wall_s)} with {_some(workers, 'worker')} ({self._rate:.2f} s of work for a second of video)",
            f"  storage  {sized(self.size)} ({sized(taken.size / taken.video_s)} for a second of video)",
        ]
        if not taken.accepted_s:
            lines[-1] = "  storage  not known: no clip of the sample was accepted"
        if price := self.config.price_per_worker_hour:
            lines.append(f"  cost     {hours * price:.3g} ({hours:.3g} worker-hours at {price:g})")
        return "\n".join(lines)


def forecast(planned: Plan, build: Build, config: ClusterConfig) -> str:
    """What `--dry-run` says of a plan: its splits, and what they will take."""
    lines = [
        f"  {split:<6} {_some(len(units), 'unit')}, {_some(len(videos), 'video')}, {len({video.identity for video in videos})} people,"
        f" {_seconds(units) / SECONDS_PER_HOUR:.3f} hours"
        for split, units in sorted(by_split(planned).items(), key=lambda item: SPLITS.index(item[0]))
        for videos in [[video for unit in units for video in unit.videos]]
    ]
    return "\n".join([*lines, str(estimate(planned, build, config))])


def estimate(planned: Plan, build: Build, config: ClusterConfig) -> Estimate | str:
    """Build a sample of a plan in a scratch folder and extrapolate; a sentence where that cannot be
    done.
    """
    if not planned.units:
        return "there is nothing to build"
    task = Task(function=partial(measure, build=build), describe="building a sample", key=_name, isolated=True)
    for _, measured in pool.run(task, [sample(planned)], config):
        if isinstance(measured, Failure):
            return f"no estimate: building the sample failed ({measured.message}); a real run leaves such a video out"
        longest = max(_seconds([unit]) for unit in planned.units)
        return Estimate(measured, _seconds(planned.units), longest, config)
    raise AssertionError("a piece of work has an outcome")


def sample(planned: Plan) -> Unit:
    """A unit of a stretch from the middle of each of the videos with the lowest content hashes."""
    chosen = sorted(
        (video for unit in planned.units for video in unit.videos), key=lambda video: (video.sha256, video.start)
    )
    first = {video.sha256: video for video in reversed(chosen)}
    videos = tuple(_middle(first[sha256]) for sha256 in sorted(first)[:SAMPLE_VIDEOS])
    return Unit(id="sample", split=planned.units[0].split, number=0, plan=planned.hash, videos=videos)


def _middle(video: Video) -> Video:
    frames = min(video.frames, SAMPLE_FRAMES)
    start = video.start + (video.frames - frames) // 2
    return video._replace(start=start, stop=start + frames, frames=frames)


def measure(unit: Unit, build: Build) -> MeasuredSample:
    """Build a unit into a scratch folder, after its first video has warmed the worker (imports,
    model files).
    """
    with tempfile.TemporaryDirectory(prefix="a2h-sample-") as folder:
        build(replace(unit, videos=unit.videos[:1]), Storage(Path(folder) / "warm"))
        out = Path(folder) / "out"
        begun = time.perf_counter()
        build(unit, Storage(out))
        work_s = time.perf_counter() - begun
        accepted = sum(sum(sidecar.frames.values()) for sidecar in read_sidecars(Storage(out)))
        size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    return MeasuredSample(len(unit.videos), unit.frames / FPS, accepted / FPS, work_s, size)


def sized(count: float) -> str:
    """Bytes in the unit that leaves a number below a thousand."""
    place = 0
    while count >= 1000 and place < len(UNITS_OF_SIZE) - 1:  # noqa: PLR2004  as disks are sold: powers of ten
        count, place = count / 1000, place + 1
    return f"{count:.3g} {UNITS_OF_SIZE[place]}"


def _seconds(units: list[Unit] | tuple[Unit, ...]) -> float:
    return sum(unit.frames for unit in units) / FPS


def _some(number: int, word: str) -> str:
    return f"{number} {word}{'s' * (number != 1)}"


def _name(unit: Unit) -> str:
    return unit.id
