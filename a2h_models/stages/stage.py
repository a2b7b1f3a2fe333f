"""What the three trainings share: how they optimise, where their randomness comes from, and networks that only look on."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Generic, TypeVar

import numpy as np
import pytorch_lightning as pl
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.optim import Adam, Optimizer
from torch.optim.lr_scheduler import LRScheduler, MultiStepLR

Optimise = Callable[[Iterable[nn.Parameter]], tuple[Optimizer, LRScheduler]]
Module = TypeVar("Module", bound=nn.Module)

DECAY = 0.1  # of the learning rate, at each milestone
WHITE = 255


def adam(parameters: Iterable[nn.Parameter], *, lr: float, betas: tuple[float, float], milestones: tuple[int, ...]) -> Any:
    """Adam, whose rate falls to a tenth after each milestone, counted in optimiser steps."""
    optimiser = Adam(parameters, lr=lr, betas=betas)
    return optimiser, MultiStepLR(optimiser, list(milestones), gamma=DECAY)


class Frozen(Generic[Module]):
    """A network that only looks on: in evaluation mode, without gradients, and in no checkpoint, for it is not a part of what learns."""

    def __init__(self, module: Module) -> None:
        self._module = module.eval().requires_grad_(requires_grad=False)

    def on(self, device: torch.device) -> Module:
        """The network, on the device where it is needed."""
        return self._module.to(device)


class Stage(pl.LightningModule):
    """One of the three trainings.

    Args:
        weights: of the loss terms, by name.
        optimise: parameters → optimiser and schedule.
        seed: of what is random in a step.
    """

    name: str
    monitor: str  # the metric by which checkpoints are compared
    mode: str  # max | min
    steps_per_batch = 1  # optimisers' steps, which is what Lightning's global_step counts

    def __init__(self, *, weights: Mapping[str, float], optimise: Optimise, seed: int) -> None:
        super().__init__()
        self.weights, self.optimise, self.seed = dict(weights), optimise, seed

    @property
    @abstractmethod
    def trained(self) -> nn.Module:
        """The network to save."""

    @abstractmethod
    def picture(self, batch: Any) -> Float[Tensor, "3 h w"]:
        """What the network makes of a batch, to look at; RGB in [0, 1]."""

    def configure_optimizers(self) -> Any:
        optimiser, schedule = self.optimise(self.trained.parameters())
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def step_generator(self, batch_idx: int) -> torch.Generator:
        """The randomness of one step: a function of (seed, step), the same in every process and in a resumed run."""
        state = np.random.SeedSequence((self.seed, batch_idx)).generate_state(1)
        return torch.Generator().manual_seed(int(state[0]))

    def log_terms(self, terms: Mapping[str, Tensor], loss: Tensor) -> None:
        values = {f"train/{name}": term.detach() for name, term in terms.items()}
        self.log_dict({**values, "train/loss": loss.detach()})
        self.log("loss", loss.detach(), prog_bar=True, logger=False)

    def log_metrics_of(self, metrics: Mapping[str, float], batch_size: int) -> None:
        """Means over the validation set, over all processes."""
        values = {f"val/{name}": torch.tensor(value, device=self.device) for name, value in metrics.items()}
        self.log_dict(values, batch_size=batch_size, sync_dist=True)


def to_bytes(images: Float[Tensor, "b 3 h w"]) -> UInt8[np.ndarray, "b h w 3"]:
    """Images as metrics take them; floors, as the frames of a generated video."""
    frames: np.ndarray = (images.detach().float().clamp(0, 1) * WHITE).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    return frames


def table(rows: Iterable[Float[Tensor, "n 3 h w"]]) -> Float[Tensor, "3 H W"]:
    """Images side by side, rows below each other."""
    return torch.cat([torch.cat(list(row), dim=-1) for row in rows], dim=-2).detach().float().clamp(0, 1).cpu()
