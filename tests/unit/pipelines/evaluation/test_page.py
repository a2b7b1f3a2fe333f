"""The page of an evaluation."""

import pytest

from pipelines.evaluation.page import Bar, draw_intervals, published_results, row_name


def test_a_chart_puts_means_between_the_ends_of_their_intervals() -> None:
    import re

    svg = draw_intervals([Bar("a", 1.0, 0.0, 2.0), Bar("b", 3.0, None, None)], title="t")
    ((left, right),) = re.findall(r'class="interval" d="M([\d.]+) [\d.]+H([\d.]+)"', svg)
    dots = [float(x) for x in re.findall(r'cx="([\d.]+)"', svg)]
    assert dots[0] == pytest.approx((float(left) + float(right)) / 2, abs=0.2)
    assert float(right) < dots[1] < 360
    assert draw_intervals([Bar("a", 1.0, 1.0, 1.0)], title="t").count("circle") == 1


def test_published_figures_have_a_place_and_a_text() -> None:
    assert all(set(figure) == {"where", "what"} for figure in published_results())
    assert any("PSNR 26.529" in figure["what"] for figure in published_results())


def test_rows_are_named_by_system_and_protocol() -> None:
    rows = ("ground_truth", "copy_portrait", "true_pose", "predicted_pose", "champion_true_pose")
    named = [
        "ground truth",
        "copy portrait",
        "candidate, true pose",
        "candidate, predicted pose",
        "champion, true pose",
    ]
    assert [row_name(row) for row in rows] == named
