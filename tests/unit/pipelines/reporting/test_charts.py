"""Charts bin, scale and label their numbers, and stay inside of the picture."""

import re

import numpy as np
import pytest

from pipelines.reporting import charts


def test_ticks_are_round_and_within() -> None:
    assert charts.ticks(0, 100) == [0, 25, 50, 75, 100]
    assert charts.ticks(-6, 6) == [-5, 0, 5]
    assert charts.ticks(3, 3) == [3]


def test_few_whole_numbers_have_a_bar_each() -> None:
    found = charts.count(np.array([1.0, 1.0, 2.0]), np.array([4.0]))
    assert found.edges.tolist() == [0.5, 1.5, 2.5, 3.5, 4.5]
    assert (found.accepted.tolist(), found.dropped.tolist()) == ([2, 1, 0, 0], [0, 0, 0, 1])


def test_one_number_alone_does_not_fill_the_picture() -> None:
    found = charts.count(np.ones(6), np.zeros(0))
    ((x, width),) = re.findall(
        r'class="good" x="([\d.]+)".*? width="([\d.]+)"', charts.draw_histogram(found, axis="", bounds=[], title="")
    )
    assert float(width) == charts.WIDEST
    assert float(x) + float(width) / 2 == pytest.approx((charts.LEFT + charts.WIDTH - charts.RIGHT) / 2, abs=0.1)


def test_one_odd_clip_does_not_squeeze_the_rest() -> None:
    values = np.append(np.random.default_rng(0).uniform(0, 1, 999), 1e9)
    found = charts.count(values, np.zeros(0))
    assert found.edges[-1] < 2
    assert found.accepted.sum() == 1000  # it stands in the last bar


def test_the_axis_shows_all_bounds_and_far_bounds_are_left_out() -> None:
    bars = charts.count(np.array([0.0, 1.0, 2.0]), np.zeros(0))  # from -0.5 to 2.5: 3 wide
    assert charts.span_of(bars, [-2.0, 1.0]) == (-2.0, 2.5)
    assert charts.span_of(bars, [9.0]) == (-0.5, 9.0)
    assert charts.near(bars, [5.5, -3.6, 1.0, -3.5, 5.6]) == [-3.5, 1.0, 5.5]


def test_negative_numbers_have_a_wide_minus() -> None:
    assert [charts.signed(value) for value in (-2.5, 0.0, 3.0)] == ["\N{MINUS SIGN}2.5", "0", "3"]


def test_poses_beyond_the_map_stand_at_its_edge_and_more_frames_are_darker() -> None:
    yaw, pitch = np.array([0.0, 0.0, 0.0, 170.0]), np.array([0.0, 0.0, 0.0, -80.0])
    picture = charts.draw_poses(yaw, pitch, max_yaw=30, max_pitch=90)
    cells = re.findall(r'class="cell" x="(\d+)" y="(\d+)".*? opacity="([\d.]+)"', picture)
    # 24 columns and 18 rows of 20 units; the frontal frames stand right of and below the middle
    assert {(int(x), int(y)) for x, y, _ in cells} == {(240, 180), (460, 0)}
    opacity = {int(x): float(value) for x, _, value in cells}
    assert opacity[240] == 1.0
    assert charts.FAINTEST < opacity[460] < 1.0
    # 4 units a degree: the yaw limit inside of the map, the pitch limit cut off at its edge
    assert '<rect class="bound" x="120" y="0" width="240" height="360"/>' in picture
