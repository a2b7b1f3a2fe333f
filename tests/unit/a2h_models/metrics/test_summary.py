"""Means over clips, and their bootstrap intervals."""

import numpy as np
import pytest

from a2h_models.metrics.summary import bootstrap


def test_bootstrap_of_equal_clips_is_a_point() -> None:
    assert bootstrap([2.0, 2.0, 2.0], samples=50) == (2.0, 2.0, 2.0, 3)


def test_bootstrap_interval_is_that_of_the_normal_distribution() -> None:
    """95 % of the means of n values of deviation s lie within 1.96 s / √n."""
    values = np.random.default_rng(0).normal(5, 1, 400)
    found = bootstrap(values, samples=4000)
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * values.std() / 20, rel=0.05)
    assert found == bootstrap(values, samples=4000)


def test_one_clip_has_a_mean_and_no_interval() -> None:
    found = bootstrap([3.0], samples=10)
    assert (found.mean, found.clips) == (3.0, 1)
    assert np.isnan([found.low, found.high]).all()


def test_bootstrap_leaves_out_what_was_not_measured() -> None:
    assert bootstrap([1.0, np.nan, 3.0], samples=10).clips == 2
    assert np.isnan(bootstrap([np.nan], samples=10).mean)
