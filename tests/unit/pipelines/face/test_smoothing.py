"""Landmarks and head poses over time."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipelines.face.smoothing import fill_gaps, smooth_pose


@given(st.lists(st.booleans(), min_size=1, max_size=40))
def test_gaps_are_filled_from_their_borders(found):
    found = np.array(found)
    truth = np.arange(len(found), dtype=np.float32)[:, None, None] * np.ones((1, 468, 3), np.float32)
    holed = np.where(found[:, None, None], truth, 0)
    filled = fill_gaps(holed, found)
    assert filled.shape == holed.shape
    np.testing.assert_array_equal(filled[found], truth[found])
    if found.any():
        known = np.flatnonzero(found)
        inner = slice(known[0], known[-1] + 1)
        np.testing.assert_allclose(filled[inner], truth[inner], rtol=1e-5)  # float32
        assert (filled[: known[0]] == known[0]).all()
        assert (filled[known[-1] :] == known[-1]).all()


def test_smoothing_keeps_a_still_head_and_softens_a_jump():
    still = np.ones((20, 6), np.float32)
    np.testing.assert_allclose(smooth_pose(still, 1.0), still, rtol=1e-6)
    jump = np.concatenate([np.zeros((10, 6)), np.ones((10, 6))]).astype(np.float32)
    assert 0.2 < smooth_pose(jump, 1.0)[9, 0] < 0.5
    assert smooth_pose(jump, 0.0) is jump
