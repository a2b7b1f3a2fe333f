"""Charts of the report, as SVG that takes its colours from the page: readable on a phone, in the
light and in the dark.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

BINS = 30  # of a histogram
# percentiles; what lies beyond stands in the outermost bars, so that one odd clip does not squeeze
# the rest
TRIM = (0.5, 99.5)
STEPS = (1, 2, 2.5, 5, 10)  # of ticks, times a power of ten
WIDTH, HEIGHT = 320, 170  # of a histogram, in units of its own
WIDEST = 24  # of a bar, in these units: one number alone would fill the picture
LEFT, RIGHT, TOP, BOTTOM = 34, 10, 18, 34  # margins
CELL_DEG, YAW_DEG, PITCH_DEG = 5, 60, 45  # of the pose map: cell, and how far it reaches to each side
CELL = 20  # its units a cell
FAINTEST = 0.12  # opacity of a cell that holds anything


class Histogram(NamedTuple):
    """Accepted and dropped clips over one score."""

    edges: np.ndarray  # (n + 1,)
    accepted: np.ndarray  # (n,) counts
    dropped: np.ndarray


def count(accepted: np.ndarray, dropped: np.ndarray) -> Histogram:
    """Bins over the bulk of the values; a bin for each number where they are few whole numbers."""
    values = np.concatenate([accepted, dropped])
    low, high = np.percentile(values, TRIM)
    if np.array_equal(values, np.round(values)) and high - low < BINS:
        edges = np.arange(math.floor(low) - 0.5, math.ceil(high) + 1)
    else:
        room = max(high - low, abs(low) * 1e-3, 1e-6)
        edges = np.linspace(low, low + room, BINS + 1)
    return Histogram(
        edges, *(np.histogram(np.clip(part, edges[0], edges[-1]), edges)[0] for part in (accepted, dropped))
    )


def ticks(low: float, high: float, about: int = 4) -> list[float]:
    """Round numbers in [low, high], `about` so many."""
    if not high > low:
        return [low]
    rough = (high - low) / about
    power = 10 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in STEPS if factor * power >= rough)
    first = math.ceil(low / step - 1e-9)
    return [number * step for number in range(first, math.floor(high / step + 1e-9) + 1)]


def draw_histogram(found: Histogram, *, axis: str, bounds: Sequence[float], title: str) -> str:
    """Stacked bars with the thresholds as dashed lines.

    Args:
        found: the counts.
        axis: what is measured, with its unit; plain text of ours.
        bounds: thresholds.
        title: for those who cannot see it.
    """
    low, high = span_of(found, bounds)
    most = max(1, int((found.accepted + found.dropped).max()))

    def x(value: float) -> float:
        return LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def y(number: float) -> float:
        return HEIGHT - BOTTOM - number / most * (HEIGHT - TOP - BOTTOM)

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}">']
    for number in ticks(0, most, 3):
        if number == int(number):
            parts.append(f'<path class="grid" d="M{LEFT} {y(number):.1f}H{WIDTH - RIGHT}"/>')
            parts.append(f'<text x="{LEFT - 4}" y="{y(number) + 3:.1f}" text-anchor="end">{number:,.0f}</text>')
    for start, stop, good, bad in zip(found.edges, found.edges[1:], found.accepted, found.dropped, strict=False):
        parts += _bar(x(start), x(stop), y(0), y(good), "good")
        parts += _bar(x(start), x(stop), y(good), y(good + bad), "bad")
    parts += (
        f'<text x="{x(value):.1f}" y="{HEIGHT - BOTTOM + 12}" text-anchor="middle">{signed(value)}</text>'
        for value in ticks(low, high)
    )
    for bound in bounds:
        parts.append(f'<path class="bound" d="M{x(bound):.1f} {TOP - 4}V{HEIGHT - BOTTOM}"/>')
        parts.append(
            f'<text class="bound" x="{x(bound):.1f}" y="{TOP - 7}" text-anchor="{_anchor(x(bound))}">{signed(bound)}</text>'
        )
    parts.append(
        f'<text class="axis" x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 6}" text-anchor="middle">{axis}</text></svg>'
    )
    return "".join(parts)


def signed(value: float) -> str:
    """With a minus that is as wide as a plus."""
    return f"{value:g}".replace("-", "−")


def span_of(found: Histogram, bounds: Sequence[float]) -> tuple[float, float]:
    """What the axis shows: all bars and all bounds."""
    return float(min(found.edges[0], *bounds, found.edges[0])), float(max(found.edges[-1], *bounds, found.edges[-1]))


def near(found: Histogram, bounds: Sequence[float]) -> list[float]:
    """The bounds that lie anywhere near the bars: others would squeeze them."""
    low, high = float(found.edges[0]), float(found.edges[-1])
    room = high - low
    return sorted(bound for bound in bounds if low - room <= bound <= high + room)


def _bar(left: float, right: float, bottom: float, top: float, kind: str) -> Iterator[str]:
    if bottom > top:
        width = min(max(right - left - 0.6, 0.6), WIDEST)
        yield f'<rect class="{kind}" x="{(left + right - width) / 2:.1f}" y="{top:.1f}" width="{width:.1f}" height="{bottom - top:.1f}"/>'


def _anchor(x: float) -> str:
    """Which way a label grows, so that it stays in the picture."""
    margin = 2 * LEFT
    return "start" if x < margin else "end" if x > WIDTH - margin else "middle"


def draw_poses(yaw: np.ndarray, pitch: np.ndarray, *, max_yaw: float, max_pitch: float) -> str:
    """Where heads look: frames by yaw (across) and pitch (down), darker where there are more, with
    the limits as a dashed frame.

    Args:
        yaw: of each frame, degrees.
        pitch: likewise.
        max_yaw: limit to each side.
        max_pitch: likewise.
    """
    across, down = (np.arange(-reach, reach + 1, CELL_DEG) for reach in (YAW_DEG, PITCH_DEG))
    counts, _, _ = np.histogram2d(
        np.clip(pitch, -PITCH_DEG, PITCH_DEG), np.clip(yaw, -YAW_DEG, YAW_DEG), (down, across)
    )
    width, height = CELL * (len(across) - 1), CELL * (len(down) - 1)
    scale = CELL / CELL_DEG
    parts = [f'<svg viewBox="-48 -8 {width + 60} {height + 60}" role="img" aria-label="frames by yaw and pitch">']
    parts += (
        f'<path class="grid" d="M{(value + YAW_DEG) * scale:g} 0V{height}"/>' for value in ticks(-YAW_DEG, YAW_DEG, 8)
    )
    parts += (
        f'<path class="grid" d="M0 {(value + PITCH_DEG) * scale:g}H{width}"/>'
        for value in ticks(-PITCH_DEG, PITCH_DEG, 6)
    )
    for row, column in zip(*np.nonzero(counts), strict=True):
        # the eye tells tens from hundreds from thousands: opacity grows with the logarithm
        shade = FAINTEST + (1 - FAINTEST) * math.log1p(counts[row, column]) / math.log1p(counts.max())
        parts.append(
            f'<rect class="cell" x="{column * CELL}" y="{row * CELL}" width="{CELL}" height="{CELL}" opacity="{shade:.2f}"/>'
        )
    for value in ticks(-YAW_DEG, YAW_DEG, 8):
        parts.append(
            f'<text x="{(value + YAW_DEG) * scale:g}" y="{height + 16}" text-anchor="middle">{signed(value)}°</text>'
        )
    for value in ticks(-PITCH_DEG, PITCH_DEG, 6):
        parts.append(f'<text x="-6" y="{(value + PITCH_DEG) * scale + 4:g}" text-anchor="end">{signed(value)}°</text>')
    x, y = min(max_yaw, YAW_DEG), min(max_pitch, PITCH_DEG)
    frame = f'x="{(YAW_DEG - x) * scale:g}" y="{(PITCH_DEG - y) * scale:g}" width="{2 * x * scale:g}" height="{2 * y * scale:g}"'
    parts.append(f'<rect class="bound" {frame}/>')
    parts.append(f'<text class="axis" x="{width / 2}" y="{height + 40}" text-anchor="middle">yaw</text>')
    parts.append(
        f'<text class="axis" transform="rotate(-90)" x="{-height / 2}" y="-36" text-anchor="middle">pitch</text></svg>'
    )
    return "".join(parts)
