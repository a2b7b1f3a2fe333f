"""How far a long piece of work is: a bar on a terminal, a line now and then in a log, and numbers
for whoever asks.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console

LINE_EVERY_S = 30.0  # in a log, where a bar would be thousands of lines
SECONDS_PER_MINUTE, SECONDS_PER_HOUR = 60, 3600
PERCENT = 100


@dataclass(kw_only=True)
class Progress:
    """A snapshot that moves."""

    describe: str
    total: int  # pieces of work
    done: int = 0
    counts: Counter[str] = field(default_factory=Counter)  # of what came out, by name
    hours: float = 0.0  # of video that are done
    started: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        return max(time.monotonic() - self.started, 1e-9)

    @property
    def per_second(self) -> float:
        """Pieces a second, since the start."""
        return self.done / self.seconds

    @property
    def hours_per_hour(self) -> float:
        """Hours of video in an hour of work."""
        return self.hours / (self.seconds / SECONDS_PER_HOUR)

    @property
    def left_s(self) -> float | None:
        """Seconds to go at the mean pace so far; None while that is unknown."""
        return (self.total - self.done) / self.per_second if self.done else None

    def __str__(self) -> str:
        parts = [
            f"{self.describe}: {self.done}/{self.total} ({PERCENT * self.done / max(self.total, 1):.0f} %)",
            f"{self.per_second:.3g}/s",
        ]
        if self.hours:
            parts.append(f"{self.hours_per_hour:.1f} h of video an hour")
        if self.left_s:
            parts.append(f"{duration(self.left_s)} left")
        return ", ".join(parts) + (f"; {counted(self.counts)}" if self.counts else "")


Watch = Callable[[Progress], None]


def counted(counts: Mapping[str, int]) -> str:
    return " ".join(f"{name} {number}" for name, number in sorted(counts.items()))


def duration(seconds: float) -> str:
    """As people say it: 45 s, 12 min, 3.4 h."""
    if seconds < 2 * SECONDS_PER_MINUTE:
        return f"{seconds:.0f} s"
    return (
        f"{seconds / SECONDS_PER_MINUTE:.0f} min"
        if seconds < 2 * SECONDS_PER_HOUR
        else f"{seconds / SECONDS_PER_HOUR:.1f} h"
    )


@contextmanager
def shown(progress: Progress, watch: Watch | None = None) -> Iterator[Callable[[], None]]:
    """Show a progress on stderr while the block lasts; what it yields is called whenever something
    may have changed.

    Args:
        progress: the block moves it.
        watch: is told as well, each time.
    """
    console = Console(stderr=True, soft_wrap=True)
    with (_bar if console.is_terminal else _lines)(progress, console) as show:

        def changed() -> None:
            show()
            if watch:
                watch(progress)

        yield changed


@contextmanager
def _bar(progress: Progress, console: Console) -> Iterator[Callable[[], None]]:
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Bar(*columns, TextColumn("{task.fields[rest]}"), console=console) as bar:
        task = bar.add_task(progress.describe, total=progress.total, rest="")

        def show() -> None:
            speed = f"{progress.hours_per_hour:.1f} h/h " if progress.hours else ""
            bar.update(task, completed=progress.done, rest=speed + counted(progress.counts))

        yield show


@contextmanager
def _lines(progress: Progress, console: Console) -> Iterator[Callable[[], None]]:
    last = time.monotonic()

    def show() -> None:
        nonlocal last
        if time.monotonic() - last >= LINE_EVERY_S:
            last = time.monotonic()
            console.print(str(progress), highlight=False, markup=False)

    yield show
    console.print(str(progress), highlight=False, markup=False)
