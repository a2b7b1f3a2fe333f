"""Shared tools of the benchmarks: alternating measurements, medians, ratios, tables.

Times on shared machines are noisy; only ratios within one run are comparable.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

# Read when torch is first imported, so this module must be imported before it. Waiting threads sleep
# instead of spinning, as in pipelines/cli/main.py.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

Work = Callable[[], object]

ADDITIONS = 20_000_000  # in a plain Python loop: shows how fast this machine is at the moment


class Elapsed(NamedTuple):
    wall: float  # s
    cpu: float  # s, of this process and its finished children, on all cores


def timed(work: Work) -> Elapsed:
    wall_start, cpu_start = time.perf_counter(), _cpu()
    work()
    return Elapsed(time.perf_counter() - wall_start, _cpu() - cpu_start)


def _cpu() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def alternate(sides: Mapping[str, Work], *, rounds: int) -> dict[str, list[Elapsed]]:
    """Time every side once a round; the order is reversed in every second round."""
    times: dict[str, list[Elapsed]] = {name: [] for name in sides}
    for number in range(rounds):
        for name in sides if number % 2 == 0 else reversed(list(sides)):
            times[name].append(timed(sides[name]))
    return times


def median_wall(times: Sequence[Elapsed]) -> float:
    return statistics.median(elapsed.wall for elapsed in times)


def median_cpu(times: Sequence[Elapsed]) -> float:
    return statistics.median(elapsed.cpu for elapsed in times)


def ratio(slow: Sequence[float], fast: Sequence[float]) -> str:
    """Format the ratio slow / fast, round by round: median (minimum to maximum)."""
    ratios = sorted(a / b for a, b in zip(slow, fast, strict=True))
    return f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"


def walls(times: Sequence[Elapsed]) -> list[float]:
    return [elapsed.wall for elapsed in times]


def speed_rows(times: Mapping[str, Sequence[Elapsed]], *, amount: float, against: str) -> list[list[str]]:
    """Return a row for each side: name, amount a second, and speed relative to the side `against`."""
    slow = walls(times[against])
    return [[name, f"{amount / median_wall(each):.1f}", ratio(slow, walls(each))] for name, each in times.items()]


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left")
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def arguments(description: str | None, *, rounds: int, speakers: int, seconds: float) -> argparse.ArgumentParser:
    """Create a parser with the arguments of all benchmarks."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--rounds", type=int, default=rounds, help="measurements of each side")
    parser.add_argument(
        "--speakers", type=int, default=speakers, help="synthetic speakers rendered if no videos are given"
    )
    parser.add_argument("--seconds", type=float, default=seconds, help="length of each of their videos")
    return parser


@contextmanager
def cores(count: int) -> Iterator[None]:
    """Keep this process and its children, such as decoders, on some cores.

    Systems without `sched_setaffinity` (macOS) are left unchanged.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(allowed)[-count:])
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def _additions() -> None:
    total = 0
    for number in range(ADDITIONS):
        total += number


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Yield a temporary folder, without warnings; first print how busy and fast the machine is."""
    with tempfile.TemporaryDirectory(prefix="a2h-benchmark-") as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        print(f"{os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f} at the start")
        print(f"{ADDITIONS:,} additions in a Python loop: {timed(_additions).cpu:.2f} s")
        yield Path(folder)


def videos_or_speakers(given: str, folder: Path, *, count: int, seconds: float) -> str:
    """Return the folder of videos: the given one, or one of synthetic speakers."""
    if given:
        return given
    from pipelines.synthetic import SceneConfig, make_speaker_videos

    make_speaker_videos(folder / "speakers", count=count, seed=0, scene=SceneConfig(seconds=seconds))
    return str(folder / "speakers")
