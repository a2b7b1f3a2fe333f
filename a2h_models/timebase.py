"""One time base, in integers: 25 frames, 100 feature rows and 16,000 samples a second (method.md §2).

Seconds exist only at the border with a decoder; everything inside counts frames, hops or samples.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


def exact_div(numerator: int, denominator: int) -> int:
    """Divide integers that must divide without a rest.

    Raises:
        ValueError: if they do not.
    """
    quotient, rest = divmod(numerator, denominator)
    if rest:
        raise ValueError(f"{numerator} is not a multiple of {denominator}")
    return quotient


FPS = 25  # frames a second of every clip
SAMPLE_RATE = 16_000  # samples a second of every speech signal
HOP_RATE = 100  # rows of speech features a second

HOPS_PER_FRAME = exact_div(HOP_RATE, FPS)  # 4
SAMPLES_PER_FRAME = exact_div(SAMPLE_RATE, FPS)  # 640
SAMPLES_PER_HOP = exact_div(SAMPLE_RATE, HOP_RATE)  # 160


@dataclass(frozen=True, order=True)
class Span:
    """A half-open stretch [start, stop) of frames."""

    start: int
    stop: int

    def __post_init__(self) -> None:
        if not 0 <= self.start <= self.stop:
            raise ValueError(f"a span needs 0 <= start <= stop, not [{self.start}, {self.stop})")

    def __len__(self) -> int:
        return self.stop - self.start

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.start, self.stop))

    def __contains__(self, frame: int) -> bool:
        return self.start <= frame < self.stop

    def seconds(self) -> tuple[float, float]:
        """Start and end in seconds, for the border with a decoder only."""
        return self.start / FPS, self.stop / FPS
