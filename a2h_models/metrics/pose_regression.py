"""What a linear map makes of the head's pose: the rival that a network has to beat before its ears
are worth anything.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Float64
from torch import Tensor


class PoseRegression:
    """Least squares from some numbers and a constant to others, gathered batch by batch.

    Args:
        inputs: numbers that are known.
        outputs: numbers that are wanted.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        self.squares: Float64[Tensor, "i+1 i+1"] = torch.zeros(inputs + 1, inputs + 1, dtype=torch.float64)
        self.products: Float64[Tensor, "i+1 o"] = torch.zeros(inputs + 1, outputs, dtype=torch.float64)

    def learn(self, known: Float[Tensor, "n i"], wanted: Float[Tensor, "n o"]) -> None:
        rows = _with_constant(known.cpu())
        self.squares += rows.T @ rows
        self.products += rows.T @ wanted.cpu().double()

    def say(self, known: Float[Tensor, "n i"]) -> Float[Tensor, "n o"]:
        """What is likely.

        Of solutions that are equally good the smallest counts; before anything was learnt all is 0.
        """
        weights: Tensor = torch.linalg.lstsq(self.squares, self.products, driver="gelsd").solution
        return (_with_constant(known.cpu()) @ weights).to(known)


def _with_constant(known: Float[Tensor, "n i"]) -> Float64[Tensor, "n i+1"]:
    return torch.cat([known.double(), torch.ones(len(known), 1, dtype=torch.float64)], dim=1)
