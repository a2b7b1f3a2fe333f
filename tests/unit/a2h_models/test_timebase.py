"""Frames, hops and samples are counted in integers."""

import pytest

from a2h_models.timebase import FPS, HOPS_PER_FRAME, SAMPLE_RATE, SAMPLES_PER_FRAME, SAMPLES_PER_HOP, Span, exact_div


def test_a_frame_is_four_hops_and_640_samples() -> None:
    assert (HOPS_PER_FRAME, SAMPLES_PER_HOP, SAMPLES_PER_FRAME) == (4, 160, 640)
    assert HOPS_PER_FRAME * SAMPLES_PER_HOP == SAMPLES_PER_FRAME
    assert SAMPLES_PER_FRAME * FPS == SAMPLE_RATE


def test_exact_division_refuses_a_remainder() -> None:
    assert exact_div(16_000, 25) == 640
    with pytest.raises(ValueError, match="100 is not a multiple of 30"):
        exact_div(100, 30)


def test_a_span_is_half_open() -> None:
    span = Span(3, 6)
    assert list(span) == [3, 4, 5]
    assert len(span) == 3
    assert [frame in span for frame in (2, 3, 5, 6)] == [False, True, True, False]
    assert Span(50, 75).seconds() == (2.0, 3.0)


@pytest.mark.parametrize(("start", "stop"), [(-1, 2), (5, 4)])
def test_a_span_that_is_negative_or_backwards_is_refused(start: int, stop: int) -> None:
    with pytest.raises(ValueError, match="a span needs"):
        Span(start, stop)


def test_spans_are_ordered_by_start_then_stop() -> None:
    assert sorted([Span(2, 3), Span(0, 9), Span(0, 4)]) == [Span(0, 4), Span(0, 9), Span(2, 3)]
