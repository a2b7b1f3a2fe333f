"""Batches of noise in the shapes that stages take, and what a step has moved."""

from collections.abc import Callable

import pytest
import torch

from a2h_models.data_types import WINDOW, PairBatch, WindowBatch
from a2h_models.features.head_pose import denormalise


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def pairs() -> Callable[[], PairBatch]:
    return lambda: PairBatch(keys=["a", "b"], source=torch.rand(2, 3, 64, 64), driving=torch.rand(2, 3, 64, 64))


@pytest.fixture
def windows() -> Callable[..., WindowBatch]:
    def make(frames=0):
        pose = denormalise(torch.rand(2, WINDOW, 6) - 0.5)
        return WindowBatch(
            keys=["a", "b"],
            portrait=torch.rand(2, 3, 64, 64),
            portrait_pose=pose[:, 0],
            speech=torch.randn(2, WINDOW, 4, 41),
            pose=pose,
            frames=torch.rand(2, frames, 3, 64, 64),
        )

    return make


@pytest.fixture
def snapshot() -> Callable[[torch.nn.Module], dict[str, torch.Tensor]]:
    """A module's parameters as they are."""
    return lambda module: {name: parameter.detach().clone() for name, parameter in module.named_parameters()}


@pytest.fixture
def moved() -> Callable[[dict[str, torch.Tensor], torch.nn.Module], set[str]]:
    """Those that are not as they were."""
    return lambda before, module: {
        name for name, parameter in module.named_parameters() if not torch.equal(before[name], parameter)
    }
