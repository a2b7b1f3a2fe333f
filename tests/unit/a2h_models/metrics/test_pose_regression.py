"""Least squares in pieces."""

import torch

from a2h_models.metrics.pose_regression import PoseRegression


def test_a_linear_map_is_found_whatever_the_pieces() -> None:
    generator = torch.Generator().manual_seed(0)
    known, weights = torch.randn(40, 3, generator=generator), torch.randn(3, 2, generator=generator)
    wanted = known @ weights + torch.tensor([1.0, -2.0])
    for pieces in (1, 4):
        regression = PoseRegression(3, 2)
        for some, outputs in zip(known.chunk(pieces), wanted.chunk(pieces), strict=True):
            regression.learn(some, outputs)
        torch.testing.assert_close(regression.say(known), wanted)


def test_before_anything_was_learnt_all_is_nothing() -> None:
    assert not PoseRegression(3, 2).say(torch.ones(4, 3)).any()


def test_what_never_varied_has_no_say() -> None:
    regression = PoseRegression(2, 1)
    known = torch.tensor([[0.0, 5.0], [1.0, 5.0], [2.0, 5.0]])
    regression.learn(known, 2 * known[:, :1])
    torch.testing.assert_close(regression.say(known), 2 * known[:, :1])
