"""Two optimisers in turn: ours learns with an adversary's judgement, then the adversary learns to
tell ours from the truth.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from torch import Tensor, nn
from typing_extensions import override

from a2h_models.training.base import Optimise, TrainingModule

if TYPE_CHECKING:
    from pytorch_lightning.core.optimizer import LightningOptimizer
    from torch.optim.lr_scheduler import LRScheduler


class GANModule(TrainingModule):
    """A stage with an adversary; each of the two moves only its own parameters.

    Args:
        weights: of the loss terms, by name.
        optimise: parameters → optimiser and schedule; used for both.
        clip_norm: of each gradient; 0 leaves it.
        accumulate: batches whose gradients make one step.
        seed: of what is random in a step.
    """

    steps_per_batch = 2
    adversary: nn.Module  # in the checkpoints, but not in the registered weights

    def __init__(
        self,
        *,
        weights: Mapping[str, float],
        optimise: Optimise,
        clip_norm: float = 0.0,
        accumulate: int = 1,
        seed: int = 0,
    ) -> None:
        super().__init__(weights=weights, optimise=optimise, seed=seed)
        self.clip_norm, self.accumulate = clip_norm, accumulate
        self.automatic_optimization = False  # two optimisers, in turn

    @abstractmethod
    def learn(self, batch: Any, batch_idx: int) -> tuple[Tensor, Any]:
        """Our loss, and what we made, for `judge`."""

    @abstractmethod
    def judge(self, batch: Any, made: Any) -> Tensor:
        """The adversary's loss."""

    def configure_optimizers(self) -> Any:
        pairs = [self.optimise(self.trained.parameters()), self.optimise(self.adversary.parameters())]
        return [optimiser for optimiser, _ in pairs], [
            {"scheduler": schedule, "interval": "step"} for _, schedule in pairs
        ]

    def training_step(self, batch: Any, batch_idx: int) -> None:
        ours, theirs = cast("list[LightningOptimizer]", self.optimizers())
        with self._only(ours):  # the adversary judges, but does not learn from it
            loss, made = self.learn(batch, batch_idx)
            self._step(ours, loss, batch_idx)
        with self._only(theirs):
            loss = self.judge(batch, made)
            self._step(theirs, loss, batch_idx)
        self.watch({"discriminator": loss}, batch_idx)
        self.log("train/discriminator", loss.detach())
        if self._steps_after(batch_idx):
            for schedule in cast("list[LRScheduler]", self.lr_schedulers()):
                schedule.step()

    @property
    @override
    def batches_per_step(self) -> int:
        return self.accumulate

    @override
    def on_validation_model_zero_grad(self) -> None:
        """Lightning, which knows of no accumulation here, would forget the gradients of half a
        step.
        """

    @contextmanager
    def _only(self, optimiser: Any) -> Iterator[None]:
        self.toggle_optimizer(optimiser)
        yield
        self.untoggle_optimizer(optimiser)

    def _step(self, optimiser: Any, loss: Tensor, batch_idx: int) -> None:
        if batch_idx % self.accumulate == 0:
            optimiser.zero_grad()
        self.manual_backward(loss / self.accumulate)
        if not self._steps_after(batch_idx):
            return
        if self.clip_norm:
            self.clip_gradients(optimiser, gradient_clip_val=self.clip_norm, gradient_clip_algorithm="norm")
        optimiser.step()

    def _steps_after(self, batch_idx: int) -> bool:
        return (batch_idx + 1) % self.accumulate == 0
