"""head_pose: likely head motion for a speech, by SSIM over time, L1 and an adversary over time
(StyleTalk++; METHOD §4).

A pointwise loss alone gives a nearly still head, because one sentence goes with many motions. With
few speakers these three do as well, in the slow part of the motion, and most of all for a portrait
they never saw. Two terms that are not StyleTalk++'s answer that: the global variance, and the
spread of synthetic_identities (docs/results/training.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from a2h_models.data_types import WindowBatch
from a2h_models.features.head_pose import box_tensor, denormalise, normalise
from a2h_models.metrics.motion import drift, head_diversity, mean_absolute_step, pose_ssim
from a2h_models.networks import HeadPose, PoseDiscriminator
from a2h_models.timebase import FPS
from a2h_models.training import losses
from a2h_models.training.augmentation import (
    color_jitter,
    horizontal_flip,
    random_color_jitter,
    random_speech_jitter,
    speech_feature_jitter,
)
from a2h_models.training.base import TEST, WHITE, image_grid
from a2h_models.training.equivariance import Warping
from a2h_models.training.gan import GANModule

PICTURED = 4  # frames of a window
MINUTE = 60 * FPS  # frames
ENDS = 6  # a minute's first and last sixth are compared
BOX_PX = 128  # side of a pictured box

# Strangers: as far from the people of the batch as still looks and sounds like somebody
MOST_BLENDED = 0.5  # share of another portrait, or voice; beyond a half it would be the other's
MIRRORED = 0.5  # share of the portraits
# strength of `random_color_jitter`; three times what is usual where the truth must still fit
# (METHOD §4)
RECOLOURED = 0.3
WARPED = Warping(affine_sigma=0.1, tps_sigma=0.01, tps_points=5)  # twice as far as the keypoints are tried with
REVOICED = 0.3  # strength of `random_speech_jitter`; no other was tried


@dataclass(frozen=True, kw_only=True)
class TeacherForcing:
    """The teacher-forced phase at the beginning; afterwards, and by default, the recursion runs
    freely, as it does in generation.
    """

    every: int = 0  # frames after which the true frame is given again
    until: int = 0  # batches

    def holds(self, batch_idx: int) -> bool:
        return self.every > 0 and batch_idx < self.until


class HeadPoseModule(GANModule):
    """The recursion learns at first with the true frames given now and then, if `forcing` says so,
    and then freely.
    """

    name = "head_pose"
    monitor = "val/pose_ssim"
    mode = "max"
    # the release's two ResNets have plain batch norm; its other networks have it synchronised
    synchronised_norms = False

    def __init__(
        self,
        network: HeadPose,
        *,
        adversary: PoseDiscriminator,
        forcing: TeacherForcing | None = None,
        jitter: float = 0.0,
        unseen_identity_start_step: int = 0,
        **settings: Any,
    ) -> None:
        super().__init__(**settings)
        self.network, self.adversary = network, adversary
        self.forcing, self.jitter, self.unseen_identity_start_step = (
            forcing or TeacherForcing(),
            jitter,
            unseen_identity_start_step,
        )

    @property
    def trained(self) -> HeadPose:
        return self.network

    def predict(self, batch: WindowBatch) -> Float[Tensor, "b t 6"]:
        """Normalised poses of the window's frames.

        The portrait is its first frame, so item 0 is frame 0; item t lies beyond the window.
        """
        poses: Tensor = self.network(batch.speech, batch.portrait)
        return poses[:, :-1]

    def predict_forced(self, batch: WindowBatch) -> Float[Tensor, "b t 6"]:
        """The same, but every so many frames the recursion goes on from how the true frame looks,
        instead of from its own state.
        """
        every = self.forcing.every
        state, first = self.network.start(batch.portrait)
        poses = [first]
        for piece, speech in enumerate(torch.split(batch.speech, every, dim=1)):
            if piece:
                state = state._replace(embedding=self.network.look(batch.frames[:, piece]))
            state, some = self.network.advance(speech, state)
            poses.append(some)
        return torch.cat(poses, dim=1)[:, :-1]

    def synthetic_identities(
        self, batch: WindowBatch, generator: torch.Generator
    ) -> tuple[Float[Tensor, "b 3 h w"], Float[Tensor, "b t 4 41"]]:
        """Portraits and voices that nobody has: each of the batch's blended with another's and
        changed; voices go to other portraits.
        """
        count = len(batch.keys)
        shares = self.global_share(lambda n: MOST_BLENDED * torch.rand(n, 2, generator=generator), count).to(
            batch.portrait
        )
        turned = self.global_share(lambda n: torch.rand(n, generator=generator) < MIRRORED, count)
        colours = self.global_share(lambda n: random_color_jitter(n, RECOLOURED, generator), count)
        voices = self.global_share(lambda n: random_speech_jitter(n, REVOICED, generator), count)
        faces = horizontal_flip(_blended(batch.portrait, shares[:, 0]), turned)
        faces = color_jitter(self.global_transform(faces, WARPED, generator).apply(faces), colours)
        return faces, _blended(speech_feature_jitter(batch.speech, voices), shares[:, 1]).roll(1, dims=0)

    def predict_synthetic_identities(self, batch: WindowBatch, generator: torch.Generator) -> Float[Tensor, "b t 6"]:
        """`predict`, for synthetic_identities, who are looked at and heard as in generation: batch norm does
        not learn from them.
        """
        portraits, speech = self.synthetic_identities(batch, generator)
        with _evaluating(self.network.look, self.network.listen):
            return self.predict(batch._replace(portrait=portraits, speech=speech))

    def make(
        self, batch: WindowBatch, batch_idx: int, generator: torch.Generator
    ) -> tuple[Float[Tensor, "b t 6"], Float[Tensor, "b t 6"] | None]:
        """What is learnt from: poses of the batch, by now forced or free; and of synthetic_identities, always
        free, if their spread has a weight.

        A portrait that was never seen is embedded in the middle of those that were, where the
        recursion moves little, unless it is taught there, too. What a stranger should do, no truth
        says, only how widely people move.
        """
        made = self.predict_forced(batch) if self.forcing.holds(batch_idx) else self.predict(batch)
        asked = self.weights["unseen_identity_spread"] and batch_idx >= self.unseen_identity_start_step
        return made, self.predict_synthetic_identities(batch, generator) if asked else None

    def learn(self, batch: WindowBatch, batch_idx: int) -> tuple[Tensor, Tensor]:
        generator = self.step_generator(batch_idx)
        batch = self.recoloured(batch, self.jitter, generator)
        truth = normalise(batch.pose)
        made, synthetic_identities = self.make(batch, batch_idx, generator)
        terms = {
            "ssim": losses.ssim_over_time(made, truth),
            "l1": F.l1_loss(made, truth),
            "global_variance": losses.global_variance(made, truth),
            "adversarial": losses.lsgan_generator(self.adversary(made).patches),
        }
        if synthetic_identities is not None:
            terms["unseen_identity_spread"] = losses.spread_between_identities(synthetic_identities, truth)
        loss = losses.total(terms, self.weights)
        self.log_terms(terms, loss, batch_idx)
        return loss, made.detach()

    def judge(self, batch: WindowBatch, made: Tensor) -> Tensor:
        return losses.lsgan_discriminator(self.adversary(normalise(batch.pose)).patches, self.adversary(made).patches)

    def metrics(self, batch: WindowBatch) -> dict[str, float]:
        """Of the prediction, of the first pose held, and of the window's own mean pose: no constant
        is nearer to the truth than that.
        """
        truth = batch.pose.float().cpu().numpy()
        sequences = {
            "": denormalise(self.predict(batch)).float().cpu().numpy(),
            "_constant": np.repeat(batch.portrait_pose.float().cpu().numpy()[:, None], truth.shape[1], axis=1),
            "_mean": np.repeat(truth.mean(axis=1, keepdims=True), truth.shape[1], axis=1),
        }
        found: dict[str, float] = {}
        for suffix, poses in sequences.items():
            found[f"pose_ssim{suffix}"] = _mean(pose_ssim(a, b) for a, b in zip(poses, truth, strict=True))
            found[f"pose_l1{suffix}"] = _l1(poses, truth)
        for name, measure in (("head_diversity", head_diversity), ("absolute_step", mean_absolute_step)):
            found[name], found[f"{name}_truth"] = (_mean(map(measure, poses)) for poses in (sequences[""], truth))
        return found

    @override
    def measure(self, split: str, batch: WindowBatch) -> None:
        super().measure(split, batch)
        if split == TEST:
            self.log_means(split, self.over_a_minute(batch), len(batch.keys))

    def over_a_minute(self, batch: WindowBatch) -> dict[str, float]:
        """Does the head drift away, or come to rest?

        Each portrait hears a minute: its own window, then the others' in turn.
        """
        turns = range(-(-MINUTE // batch.speech.shape[1]))
        state, _ = self.network.start(batch.portrait)
        pieces = []
        for turn in turns:
            state, piece = self.network.advance(batch.speech.roll(-turn, dims=0), state)
            pieces.append(piece)
        poses = denormalise(torch.cat(pieces, dim=1)[:, :MINUTE]).float().cpu().numpy()
        ends = {"first": poses[:, : MINUTE // ENDS], "last": poses[:, -(MINUTE // ENDS) :]}
        found = {f"minute_diversity_{name}": _mean(map(head_diversity, end)) for name, end in ends.items()}
        return found | {"minute_drift": _mean(map(drift, poses))}

    def picture(self, batch: WindowBatch) -> Float[Tensor, "3 h w"]:
        """The head's box in some frames of the first window: truth above, ours below."""
        every = torch.linspace(0, batch.pose.shape[1] - 1, PICTURED).long()
        return image_grid([boxes[every] for boxes in self._boxes(batch)])

    def film(self, batch: WindowBatch) -> Float[Tensor, "t 3 h w"]:
        """The box of the first window: truth beside ours."""
        return torch.cat(self._boxes(batch), dim=-1)

    def _boxes(self, batch: WindowBatch) -> list[Float[Tensor, "t 3 h w"]]:
        first = batch.first()
        made = denormalise(self.predict(first))[0].float().cpu().numpy()
        return [
            box_tensor(pose, BOX_PX).expand(-1, 3, -1, -1) / WHITE
            for pose in (first.pose[0].float().cpu().numpy(), made)
        ]


def _blended(items: Float[Tensor, "b ..."], shares: Float[Tensor, " b"]) -> Float[Tensor, "b ..."]:
    """Each with a share of the one before it."""
    return items.lerp(items.roll(1, dims=0), shares.reshape(-1, *[1] * (items.ndim - 1)))


@contextmanager
def _evaluating(*parts: nn.Module) -> Iterator[None]:
    """Batch norm takes its running statistics, and leaves them alone."""
    modes = [part.training for part in parts]
    for part in parts:
        part.eval()
    try:
        yield
    finally:
        for part, mode in zip(parts, modes, strict=True):
            part.train(mode)


def _l1(made: np.ndarray, truth: np.ndarray) -> float:
    return float(np.abs(normalise(made) - normalise(truth)).mean())


def _mean(values: Any) -> float:
    return float(np.mean(list(values)))
