"""head_pose: likely head motion for a speech, by SSIM over time, L1 and an adversary over time (StyleTalk++; METHOD §4).

A pointwise loss alone gives a nearly still head, because one sentence goes with many motions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from a2h_models import losses
from a2h_models.head_pose import box_tensor, denormalise, normalise
from a2h_models.metrics.motion import head_diversity, pose_ssim
from a2h_models.networks import HeadPose, PoseDiscriminator
from a2h_models.sample import WindowBatch
from a2h_models.stages.stage import WHITE, Optimise, Stage, table

if TYPE_CHECKING:
    from pytorch_lightning.core.optimizer import LightningOptimizer
    from torch.optim.lr_scheduler import LRScheduler

PICTURED = 4  # frames of a window
BOX_PX = 128  # side of a pictured box


class HeadPoseTraining(Stage):
    name = "head_pose"
    monitor = "val/pose_ssim"
    mode = "max"
    steps_per_batch = 2

    def __init__(
        self,
        network: HeadPose,
        *,
        adversary: PoseDiscriminator,
        weights: Mapping[str, float],
        optimise: Optimise,
        clip_norm: float = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__(weights=weights, optimise=optimise, seed=seed)
        self.network, self.adversary = network, adversary
        self.clip_norm = clip_norm
        self.automatic_optimization = False  # two optimisers, in turn

    @property
    def trained(self) -> HeadPose:
        return self.network

    def configure_optimizers(self) -> Any:
        pairs = [self.optimise(self.network.parameters()), self.optimise(self.adversary.parameters())]
        return [optimiser for optimiser, _ in pairs], [{"scheduler": schedule, "interval": "step"} for _, schedule in pairs]

    def predict(self, batch: WindowBatch) -> Float[Tensor, "b t 6"]:
        """Normalised poses of the window's frames. The portrait is its first frame, so item 0 is frame 0; item t lies beyond the window."""
        poses: Tensor = self.network(batch.speech, batch.portrait)
        return poses[:, :-1]

    def training_step(self, batch: WindowBatch, batch_idx: int) -> None:  # noqa: ARG002  Lightning's signature
        ours, theirs = cast("list[LightningOptimizer]", self.optimizers())
        truth = normalise(batch.pose)
        made = self._learn(ours, truth, batch)
        self._judge(theirs, truth, made.detach())
        for schedule in cast("list[LRScheduler]", self.lr_schedulers()):
            schedule.step()

    def _learn(self, optimiser: Any, truth: Tensor, batch: WindowBatch) -> Tensor:
        self.toggle_optimizer(optimiser)  # the adversary judges, but does not learn from it
        made = self.predict(batch)
        terms = {
            "ssim": losses.ssim_over_time(made, truth),
            "l1": F.l1_loss(made, truth),
            "adversarial": losses.lsgan_generator(self.adversary(made).patches),
        }
        loss = losses.total(terms, self.weights)
        self._step(optimiser, loss)
        self.untoggle_optimizer(optimiser)
        self.log_terms(terms, loss)
        return made

    def _judge(self, optimiser: Any, truth: Tensor, made: Tensor) -> None:
        self.toggle_optimizer(optimiser)
        loss = losses.lsgan_discriminator(self.adversary(truth).patches, self.adversary(made).patches)
        self._step(optimiser, loss)
        self.untoggle_optimizer(optimiser)
        self.log("train/discriminator", loss.detach())

    def _step(self, optimiser: Any, loss: Tensor) -> None:
        optimiser.zero_grad()
        self.manual_backward(loss)
        if self.clip_norm:
            self.clip_gradients(optimiser, gradient_clip_val=self.clip_norm, gradient_clip_algorithm="norm")
        optimiser.step()

    def validation_step(self, batch: WindowBatch, batch_idx: int) -> None:  # noqa: ARG002  Lightning's signature
        made = denormalise(self.predict(batch)).float().cpu().numpy()
        truth = batch.pose.float().cpu().numpy()
        still = np.repeat(batch.portrait_pose.float().cpu().numpy()[:, None], truth.shape[1], axis=1)
        metrics = {
            "pose_ssim": _mean(pose_ssim(a, b) for a, b in zip(made, truth, strict=True)),
            "pose_ssim_constant": _mean(pose_ssim(a, b) for a, b in zip(still, truth, strict=True)),
            "pose_l1": _l1(made, truth),
            "pose_l1_constant": _l1(still, truth),
            "head_diversity": _mean(head_diversity(pose) for pose in made),
            "head_diversity_truth": _mean(head_diversity(pose) for pose in truth),
        }
        self.log_metrics_of(metrics, len(truth))

    def picture(self, batch: WindowBatch) -> Float[Tensor, "3 h w"]:
        """The head's box in some frames of the first window: truth above, ours below."""
        every = torch.linspace(0, batch.pose.shape[1] - 1, PICTURED).long().numpy()
        first = WindowBatch(batch.keys[:1], *(part[:1] for part in batch[1:]))
        made = denormalise(self.predict(first))[0].float().cpu().numpy()
        rows = (first.pose[0].float().cpu().numpy(), made)
        return table([box_tensor(pose[every], BOX_PX).expand(-1, 3, -1, -1) / WHITE for pose in rows])


def _l1(made: np.ndarray, truth: np.ndarray) -> float:
    return float(np.abs(normalise(made) - normalise(truth)).mean())


def _mean(values: Any) -> float:
    return float(np.mean(list(values)))
