"""What the three trainings share: how they optimise, where their randomness comes from, and
networks that only look on.
"""

from __future__ import annotations

from abc import abstractmethod
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from math import cos, pi
from typing import Any, Generic, Self, TypeVar

import numpy as np
import pytorch_lightning as pl
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.optim import Adam, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler
from typing_extensions import override

from a2h_models.data_types import WindowBatch
from a2h_models.errors import FailedError
from a2h_models.features.keypoints import gaussian_heatmaps
from a2h_models.training.augmentation import color_jitter, random_color_jitter
from a2h_models.training.equivariance import Transform, Warping, random_transform

Optimise = Callable[[Iterable[nn.Parameter]], tuple[Optimizer, LRScheduler]]
NetworkT = TypeVar("NetworkT", bound=nn.Module)

DECAY = 0.1  # of the learning rate, at each milestone
# people who were learnt from, then others: the test's loaders, and what their metrics begin with
SEEN, TEST = TESTED = ("seen", "test")
WHITE = 255
DOT_VARIANCE = 0.001  # of the dots that mark keypoints
SOUND = -1  # instead of the batch in which a loss was no number
GRADIENTS = "gradients"  # in a checkpoint


def lr_lambda(step: int, *, warmup: int, milestones: tuple[int, ...], cosine: int) -> float:
    """The learning rate after some optimiser steps, as a share of the configured one."""
    rising = min(1.0, (step + 1) / warmup) if warmup else 1.0
    falling = (1 + cos(pi * min(step / cosine, 1.0))) / 2 if cosine else 1.0
    return rising * falling * DECAY ** bisect_right(milestones, step)


def adam(
    parameters: Iterable[nn.Parameter],
    *,
    lr: float,
    betas: tuple[float, float],
    milestones: tuple[int, ...],
    warmup: int = 0,
    cosine: int = 0,
) -> tuple[Optimizer, LRScheduler]:
    """Adam, whose rate rises over `warmup` steps, falls to a tenth after each milestone, and to
    zero along a cosine, if there is one.
    """
    optimiser = Adam(parameters, lr=lr, betas=betas)
    return optimiser, LambdaLR(
        optimiser, partial(lr_lambda, warmup=warmup, milestones=tuple(sorted(milestones)), cosine=cosine)
    )


class FrozenModule(Generic[NetworkT]):
    """A network that only looks on: in evaluation mode, without gradients, and in no checkpoint,
    for it is not a part of what learns.
    """

    def __init__(self, module: NetworkT) -> None:
        self._module = module.eval().requires_grad_(requires_grad=False)

    def on(self, device: torch.device) -> NetworkT:
        """The network, on the device where it is needed."""
        return self._module.to(device)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """The same network: a copy of a stage, as averaged weights need one, has no use for
        another.
        """
        return self


class TrainingModule(pl.LightningModule):
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
    synchronised_norms = True  # over all processes, where `trainer.sync_batchnorm` asks for it

    def __init__(self, *, weights: Mapping[str, float], optimise: Optimise, seed: int) -> None:
        super().__init__()
        self.weights, self.optimise, self.seed = dict(weights), optimise, seed
        self._broken: dict[str, Tensor] = {}  # loss term → the first batch in which it was no number, or SOUND
        self._gradients: dict[str, Tensor] = {}  # of a checkpoint, until training goes on

    @property
    @abstractmethod
    def trained(self) -> nn.Module:
        """The network to save."""

    @abstractmethod
    def picture(self, batch: Any) -> Float[Tensor, "3 h w"]:
        """What the network makes of a batch, to look at; RGB in [0, 1]."""

    def film(self, batch: Any) -> Float[Tensor, "t 3 h w"] | None:
        """The same as a film, RGB in [0, 1]; None where a batch holds no motion."""

    def configure_optimizers(self) -> Any:
        optimiser, schedule = self.optimise(self.trained.parameters())
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    @property
    def batches_per_step(self) -> int:
        """Batches whose gradients make one step."""
        return int(self.trainer.accumulate_grad_batches)

    @override
    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Between two steps, what has been accumulated is a part of the state; of several
        processes, their mean is.
        """
        done = self.trainer.fit_loop.epoch_loop.total_batch_idx + 1
        if done % self.batches_per_step:
            found = {name: parameter.grad for name, parameter in self.named_parameters() if parameter.grad is not None}
            checkpoint[GRADIENTS] = {
                name: self.trainer.strategy.reduce(each.clone(), reduce_op="mean") for name, each in found.items()
            }

    @override
    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._gradients = checkpoint.get(GRADIENTS, {})

    @override
    def on_train_start(self) -> None:
        for name, gradient in self._gradients.items():
            self.get_parameter(name).grad = gradient.to(self.device)
        self._gradients = {}

    def step_generator(self, batch_idx: int) -> torch.Generator:
        """The randomness of one step: a function of (seed, step), the same in every process and in
        a resumed run.
        """
        state = np.random.SeedSequence((self.seed, batch_idx)).generate_state(1)
        return torch.Generator().manual_seed(int(state[0]))

    @property
    def world(self) -> int:
        """Processes that train together."""
        return self.trainer.world_size if self._trainer else 1

    def global_share(self, draw: Callable[[int], Tensor], count: int) -> Tensor:
        """This process's rows of what is drawn for the whole global batch, so that draws do not
        depend on the number of processes.
        """
        return draw(self.world * count)[self.global_rank * count : (self.global_rank + 1) * count]

    def global_transform(
        self, images: Float[Tensor, "b c h w"], warping: Warping, generator: torch.Generator
    ) -> Transform:
        """This process's share of the transforms that are drawn for the whole global batch."""
        everybody = images.new_empty(self.world * len(images), 0, 0, 0)
        drawn = random_transform(
            everybody,
            affine_sigma=warping.affine_sigma,
            tps_sigma=warping.tps_sigma,
            tps_points=warping.tps_points,
            generator=generator,
        )
        mine = slice(self.global_rank * len(images), (self.global_rank + 1) * len(images))
        return Transform(affine=drawn.affine[mine], centres=drawn.centres, weights=drawn.weights[mine])

    def recoloured(self, batch: WindowBatch, strength: float, generator: torch.Generator) -> WindowBatch:
        """A window's portrait and frames in other colours, all alike."""
        if not strength:
            return batch
        colours = self.global_share(lambda n: random_color_jitter(n, strength, generator), len(batch.keys))
        return batch._replace(
            portrait=color_jitter(batch.portrait, colours), frames=color_jitter(batch.frames, colours)
        )

    def watch(self, terms: Mapping[str, Tensor], batch_idx: int) -> None:
        """Note the first batch in which each term is no number; on the device, so that nothing
        waits for it.
        """
        for name, term in terms.items():
            since = self._broken.get(name, torch.tensor(SOUND, device=term.device))
            self._broken[name] = torch.where(term.detach().isfinite() | (since != SOUND), since, batch_idx)

    def check_losses(self) -> None:
        """Look at what was noted.

        Raises:
            FailedError: naming stage, term and step, if a loss is no number any more.
        """
        broken = {name: int(since) for name, since in self._broken.items() if int(since) != SOUND}
        if broken:
            name = min(broken, key=lambda term: (broken[term], term == "loss"))
            raise FailedError(
                f"{self.name}: the loss term {name} is no finite number since step {broken[name] + 1}",
                hint="lower stage.optimiser.lr or set stage.optimiser.clip_norm; the last checkpoint is from before",
            )

    def log_terms(self, terms: Mapping[str, Tensor], loss: Tensor, batch_idx: int) -> None:
        self.watch({**terms, "loss": loss}, batch_idx)
        values = {f"train/{name}": term.detach() for name, term in terms.items()}
        self.log_dict({**values, "train/loss": loss.detach()})
        self.log("loss", loss.detach(), prog_bar=True, logger=False)

    @abstractmethod
    def metrics(self, batch: Any) -> dict[str, float]:
        """What the stage is judged by, beside its baselines: means over a batch (method.md §5)."""

    @override
    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.measure("val", batch)

    @override
    def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.measure(TESTED[dataloader_idx], batch)

    def measure(self, split: str, batch: Any) -> None:
        self.log_means(split, self.metrics(batch), len(batch.keys))

    def log_means(self, split: str, metrics: Mapping[str, float], batch_size: int) -> None:
        """Means over the split, over all processes."""
        values = {f"{split}/{name}": torch.tensor(value, device=self.device) for name, value in metrics.items()}
        self.log_dict(values, batch_size=batch_size, sync_dist=True, add_dataloader_idx=False)


def to_bytes(images: Float[Tensor, "b 3 h w"]) -> UInt8[np.ndarray, "b h w 3"]:
    """Images as metrics take them; floors, as the frames of a generated video."""
    frames: np.ndarray = (images.detach().float().clamp(0, 1) * WHITE).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    return frames


def draw_keypoints(
    frames: Float[Tensor, "n 3 h w"], value: Float[Tensor, "n k 2"], *, channel: int
) -> Float[Tensor, "n 3 h w"]:
    """Frames with a dot at each keypoint, in one of the three colours."""
    dots = gaussian_heatmaps(value, *frames.shape[-2:], variance=DOT_VARIANCE).amax(dim=1, keepdim=True)
    colour = torch.zeros(3, 1, 1, device=frames.device)
    colour[channel] = 1
    return frames * (1 - dots) + colour * dots


def image_grid(rows: Iterable[Float[Tensor, "n 3 h w"]]) -> Float[Tensor, "3 H W"]:
    """Images side by side, rows below each other."""
    return torch.cat([torch.cat(list(row), dim=-1) for row in rows], dim=-2).detach().float().clamp(0, 1).cpu()
