"""image_generator: reconstruct one frame of a clip from another, and find keypoints while doing so
(FOMM; method.md §4).

The adversarial phase goes on from a trained one, with a discriminator that sees where the keypoints
are.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from a2h_models.data_types import PairBatch
from a2h_models.features.keypoints import Keypoints
from a2h_models.metrics.image import l1, psnr, ssim
from a2h_models.networks import ImageGenerator, PatchDiscriminator
from a2h_models.networks.generator import GeneratorOutput, warp
from a2h_models.networks.perceptual import Vgg19
from a2h_models.training import losses
from a2h_models.training.augmentation import color_jitter, horizontal_flip, random_color_jitter
from a2h_models.training.base import FrozenModule, Optimise, TrainingModule, draw_keypoints, image_grid, to_bytes
from a2h_models.training.equivariance import Warping
from a2h_models.training.gan import GANModule

PICTURED = 4  # pairs of a batch


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """What is changed at random in both frames of a pair, alike."""

    mirror: float = 0.0  # share of the pairs
    jitter: float = 0.0  # of colours


class ReconstructionOutput(NamedTuple):
    """What one batch gave, as the adversary looks at it."""

    made: Float[Tensor, "b 3 h w"]
    true: Float[Tensor, "b 3 h w"]
    keypoints: Keypoints


class ImageGeneratorBase(TrainingModule):
    """What both phases share: everything but who optimises."""

    name = "image_generator"
    monitor = "val/psnr"
    mode = "max"

    def __init__(
        self,
        network: ImageGenerator,
        *,
        weights: Mapping[str, float],
        pyramid: Sequence[float],
        warping: Warping,
        optimise: Optimise,
        perceptual: Vgg19 | None = None,
        augmentation: Augmentation | None = None,
        seed: int = 0,
        **adversarial: Any,
    ) -> None:
        super().__init__(weights=weights, optimise=optimise, seed=seed, **adversarial)
        self.network = network
        self.pyramid, self.warping, self.augmentation = tuple(pyramid), warping, augmentation or Augmentation()
        self.perceptual = FrozenModule(perceptual) if perceptual is not None else None
        # split → motion, PSNR and that of a copy, of each measured pair
        self._pairs: defaultdict[str, list[Tensor]] = defaultdict(list)

    @property
    def trained(self) -> ImageGenerator:
        return self.network

    def reconstruct(self, batch: PairBatch) -> GeneratorOutput:
        detector = self.network.detector
        output: GeneratorOutput = self.network.generator(batch.source, detector(batch.source), detector(batch.driving))
        return output

    def augmented(self, batch: PairBatch, generator: torch.Generator) -> PairBatch:
        """Both frames of a pair mirrored, and recoloured, or not."""
        source, driving, count = batch.source, batch.driving, len(batch.keys)
        if self.augmentation.jitter:
            colours = self.global_share(lambda n: random_color_jitter(n, self.augmentation.jitter, generator), count)
            source, driving = color_jitter(source, colours), color_jitter(driving, colours)
        if self.augmentation.mirror:
            which = self.global_share(lambda n: torch.rand(n, generator=generator) < self.augmentation.mirror, count)
            source, driving = horizontal_flip(source, which), horizontal_flip(driving, which)
        return PairBatch(keys=batch.keys, source=source, driving=driving)

    def attempt(self, batch: PairBatch, generator: torch.Generator) -> tuple[dict[str, Tensor], ReconstructionOutput]:
        """The loss terms that have a weight, and what they are about."""
        batch = self.augmented(batch, generator)
        detector = self.network.detector
        driving = detector(batch.driving)
        made = self.network.generator(batch.source, detector(batch.source), driving).prediction
        found: dict[str, Tensor] = {}
        if self.weights["pixel"]:
            found["pixel"] = losses.pyramid_l1(made, batch.driving, self.pyramid)
        if self.perceptual is not None:
            found["perceptual"] = losses.perceptual(self.perceptual.on(self.device), made, batch.driving, self.pyramid)
        if self.weights["equivariance_value"] or self.weights["equivariance_jacobian"]:
            transform = self.global_transform(batch.driving, self.warping, generator)
            transformed = detector(transform.apply(batch.driving))
            found["equivariance_value"] = losses.equivariance_value(driving, transformed, transform)
            found["equivariance_jacobian"] = losses.equivariance_jacobian(driving, transformed, transform)
        return found, ReconstructionOutput(made=made, true=batch.driving, keypoints=driving)

    def metrics(self, batch: PairBatch) -> dict[str, float]:
        """Of the reconstruction, and of the portrait copied."""
        return {name: values.mean().item() for name, values in self.scores(batch).items()}

    def scores(self, batch: PairBatch) -> dict[str, Float[np.ndarray, " b"]]:
        """The same of each pair."""
        made, source, truth = (
            to_bytes(images) for images in (self.reconstruct(batch).prediction, batch.source, batch.driving)
        )
        measures = {"psnr": psnr, "ssim": ssim, "l1": l1}
        ours = {name: measure(made, truth) for name, measure in measures.items()}
        return ours | {f"{name}_copy": measure(source, truth) for name, measure in measures.items()}

    @override
    def measure(self, split: str, batch: PairBatch) -> None:
        """Means, and what is needed to say at the end how it is where most moves."""
        scores = self.scores(batch)
        self.log_means(split, {name: values.mean().item() for name, values in scores.items()}, len(batch.keys))
        if batch.motion is not None:
            kept = torch.from_numpy(np.stack([scores["psnr"], scores["psnr_copy"]], axis=1)).to(batch.motion)
            self._pairs[split].append(torch.cat([batch.motion[:, None], kept], dim=1))

    def on_validation_epoch_end(self) -> None:
        self._log_moving()

    def on_test_epoch_end(self) -> None:
        self._log_moving()

    def _log_moving(self) -> None:
        """PSNR on the half of each split's pairs in which the landmarks moved most, as one number
        over all processes.
        """
        for split, pairs in self._pairs.items():
            everybody = cast("Tensor", self.all_gather(torch.cat(pairs)))  # of several processes, one stack each
            motion, ours, copied = everybody.reshape(-1, everybody.shape[-1]).unbind(dim=1)
            moving = motion.argsort(descending=True)[: (len(motion) + 1) // 2]
            self.log_dict(
                {f"{split}/psnr_moving": ours[moving].mean(), f"{split}/psnr_moving_copy": copied[moving].mean()}
            )
        self._pairs.clear()

    def picture(self, batch: PairBatch) -> Float[Tensor, "3 h w"]:
        """Rows: source and driving with keypoints, prediction, where the warped portrait is seen,
        what the deformation does to it.
        """
        some = PairBatch(keys=batch.keys[:PICTURED], source=batch.source[:PICTURED], driving=batch.driving[:PICTURED])
        output, detector = self.reconstruct(some), self.network.detector
        seen = torch.nn.functional.interpolate(output.occlusion, size=some.source.shape[-2:]).expand_as(some.source)
        source, driving = (
            draw_keypoints(images, detector(images).value, channel=1) for images in (some.source, some.driving)
        )
        return image_grid([source, driving, output.prediction, seen, warp(some.source, output.deformation)])


class ImageGeneratorModule(ImageGeneratorBase):
    """The first phase."""

    def training_step(self, batch: PairBatch, batch_idx: int) -> Any:
        terms, _ = self.attempt(batch, self.step_generator(batch_idx))
        loss = losses.total(terms, self.weights)
        self.log_terms(terms, loss, batch_idx)
        return loss


class AdversarialImageGeneratorModule(ImageGeneratorBase, GANModule):
    """The second phase: least squares over patches, and the discriminator's features matched
    (FOMM's `adv` configurations).
    """

    def __init__(self, network: ImageGenerator, *, adversary: PatchDiscriminator, **settings: Any) -> None:
        super().__init__(network, **settings)
        self.adversary = adversary

    def learn(self, batch: PairBatch, batch_idx: int) -> tuple[Tensor, ReconstructionOutput]:
        terms, attempt = self.attempt(batch, self.step_generator(batch_idx))
        where = attempt.keypoints.each(torch.Tensor.detach)  # the detector does not learn to please the adversary
        made = self.adversary(attempt.made, where)
        terms["adversarial"] = losses.lsgan_generator(made.patches)
        if self.weights["feature_matching"]:
            with torch.no_grad():
                true = self.adversary(attempt.true, where)
            terms["feature_matching"] = losses.feature_matching(true.features, made.features)
        loss = losses.total(terms, self.weights)
        self.log_terms(terms, loss, batch_idx)
        return loss, ReconstructionOutput(made=attempt.made.detach(), true=attempt.true, keypoints=where)

    @override
    def judge(self, batch: PairBatch, made: ReconstructionOutput) -> Tensor:
        # the augmented frames are in `made`
        true, ours = (self.adversary(images, made.keypoints).patches for images in (made.true, made.made))
        return losses.lsgan_discriminator(true, ours)
