"""image_generator: reconstruct one frame of a clip from another, and find keypoints while doing so (FOMM; METHOD §4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from a2h_models import losses
from a2h_models.equivariance import Transform, random_transform
from a2h_models.metrics.image import psnr, ssim
from a2h_models.networks import ImageGenerator
from a2h_models.networks.generator import GeneratorOutput
from a2h_models.networks.perceptual import Vgg19
from a2h_models.sample import PairBatch
from a2h_models.stages.stage import Frozen, Optimise, Stage, table, to_bytes

PICTURED = 4  # pairs of a batch


@dataclass(frozen=True, kw_only=True)
class Warping:
    """The random transforms under which keypoints must stay where they are on the face."""

    affine_sigma: float
    tps_sigma: float
    tps_points: int


class ImageGeneratorTraining(Stage):
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
        seed: int = 0,
    ) -> None:
        super().__init__(weights=weights, optimise=optimise, seed=seed)
        self.network = network
        self.pyramid, self.warping = tuple(pyramid), warping
        self.perceptual = Frozen(perceptual) if perceptual is not None else None

    @property
    def trained(self) -> ImageGenerator:
        return self.network

    def reconstruct(self, batch: PairBatch) -> GeneratorOutput:
        detector = self.network.detector
        output: GeneratorOutput = self.network.generator(batch.source, detector(batch.source), detector(batch.driving))
        return output

    def terms(self, batch: PairBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """The loss terms that have a weight."""
        detector = self.network.detector
        driving = detector(batch.driving)
        made = self.network.generator(batch.source, detector(batch.source), driving).prediction
        found: dict[str, Tensor] = {}
        if self.weights["pixel"]:
            found["pixel"] = losses.pyramid_l1(made, batch.driving, self.pyramid)
        if self.perceptual is not None:
            found["perceptual"] = losses.perceptual(self.perceptual.on(self.device), made, batch.driving, self.pyramid)
        if self.weights["equivariance_value"] or self.weights["equivariance_jacobian"]:
            transform = self._transform(batch.driving, generator)
            transformed = detector(transform.apply(batch.driving))
            found["equivariance_value"] = losses.equivariance_value(driving, transformed, transform)
            found["equivariance_jacobian"] = losses.equivariance_jacobian(driving, transformed, transform)
        return found

    def training_step(self, batch: PairBatch, batch_idx: int) -> Tensor:
        terms = self.terms(batch, self.step_generator(batch_idx))
        loss = losses.total(terms, self.weights)
        self.log_terms(terms, loss)
        return loss

    def validation_step(self, batch: PairBatch, batch_idx: int) -> None:  # noqa: ARG002  Lightning's signature
        made, source, truth = (to_bytes(images) for images in (self.reconstruct(batch).prediction, batch.source, batch.driving))
        metrics = {
            "psnr": psnr(made, truth).mean().item(),
            "psnr_copy": psnr(source, truth).mean().item(),
            "ssim": ssim(made, truth).mean().item(),
            "ssim_copy": ssim(source, truth).mean().item(),
        }
        self.log_metrics_of(metrics, len(truth))

    def picture(self, batch: PairBatch) -> Float[Tensor, "3 h w"]:
        """Rows: source, driving, prediction, occlusion."""
        some = PairBatch(keys=batch.keys[:PICTURED], source=batch.source[:PICTURED], driving=batch.driving[:PICTURED])
        output = self.reconstruct(some)
        seen = torch.nn.functional.interpolate(output.occlusion, size=some.source.shape[-2:]).expand_as(some.source)
        return table([some.source, some.driving, output.prediction, seen])

    def _transform(self, images: Tensor, generator: torch.Generator) -> Transform:
        """Drawn for the whole global batch, of which this process takes its share: so it does not depend on the number of processes."""
        rank, world, share = self.global_rank, self.trainer.world_size if self._trainer else 1, len(images)
        everybody = images.new_empty(world * share, 0, 0, 0)
        drawn = random_transform(
            everybody,
            affine_sigma=self.warping.affine_sigma,
            tps_sigma=self.warping.tps_sigma,
            tps_points=self.warping.tps_points,
            generator=generator,
        )
        mine = slice(rank * share, (rank + 1) * share)
        return Transform(affine=drawn.affine[mine], centres=drawn.centres, weights=drawn.weights[mine])
