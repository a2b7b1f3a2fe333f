"""How the benchmarks measure: the sides in turns within one run, medians, ratios.

These machines are noisy; only ratios mean something.
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

# Read when torch is first imported, so this module comes before it. Threads that wait sleep, as in
# pipelines/cli/main.py.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

Work = Callable[[], object]

ADDITIONS = 20_000_000  # of a plain loop: what says how fast this machine is just now


class Elapsed(NamedTuple):
    wall: float  # s
    cpu: float  # s, of this process and the ended ones that it started, on all cores


def timed(work: Work) -> Elapsed:
    begun, spent = time.perf_counter(), _cpu()
    work()
    return Elapsed(time.perf_counter() - begun, _cpu() - spent)


def _cpu() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def alternate(sides: Mapping[str, Work], *, rounds: int) -> dict[str, list[Elapsed]]:
    """Time every side once a round; every second round goes backwards, so that none is always the
    first.
    """
    found: dict[str, list[Elapsed]] = {name: [] for name in sides}
    for number in range(rounds):
        for name in sides if number % 2 == 0 else reversed(list(sides)):
            found[name].append(timed(sides[name]))
    return found


def median_wall(times: Sequence[Elapsed]) -> float:
    return statistics.median(elapsed.wall for elapsed in times)


def median_cpu(times: Sequence[Elapsed]) -> float:
    return statistics.median(elapsed.cpu for elapsed in times)


def ratio(slow: Sequence[float], fast: Sequence[float]) -> str:
    """How many times longer, round by round: the median, and from where to where it went."""
    each = sorted(a / b for a, b in zip(slow, fast, strict=True))
    return f"{statistics.median(each):.2f} ({each[0]:.2f} to {each[-1]:.2f})"


def walls(times: Sequence[Elapsed]) -> list[float]:
    return [elapsed.wall for elapsed in times]


def speed_rows(found: Mapping[str, Sequence[Elapsed]], *, amount: float, against: str) -> list[list[str]]:
    """For each side: its name, how much it does in a second, and how many times as much as the side
    `against`.
    """
    slow = walls(found[against])
    return [[name, f"{amount / median_wall(times):.1f}", ratio(slow, walls(times))] for name, times in found.items()]


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left")
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def arguments(description: str | None, *, rounds: int, talkers: int, seconds: float) -> argparse.ArgumentParser:
    """What all benchmarks take."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--rounds", type=int, default=rounds, help="how often each side is measured")
    parser.add_argument(
        "--talkers", type=int, default=talkers, help="synthetic talkers made, where nothing real is given"
    )
    parser.add_argument("--seconds", type=float, default=seconds, help="length of each")
    return parser


@contextmanager
def cores(count: int) -> Iterator[None]:
    """Keep this process, and those that it starts, on so many cores: a decoder beside it is work,
    too.

    Nothing is changed where the system cannot do that (macOS).
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
def workplace() -> Iterator[Path]:
    """A temporary folder, and no warnings: they are the tests' business.

    First says what else the machine is doing.
    """
    with tempfile.TemporaryDirectory(prefix="a2h-benchmark-") as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        print(f"{os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f} at the start")
        print(f"{ADDITIONS:,} additions in a Python loop: {timed(_additions).cpu:.2f} s")
        yield Path(folder)


def videos_or_talkers(given: str, folder: Path, *, count: int, seconds: float) -> str:
    """Where the videos are: those given, or talkers made here."""
    if given:
        return given
    from pipelines.synthetic import SceneConfig, make_speaker_videos

    make_speaker_videos(folder / "talkers", count=count, seed=0, scene=SceneConfig(seconds=seconds))
    return str(folder / "talkers")
