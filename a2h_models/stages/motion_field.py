"""motion_field, phase A: imitate the frozen keypoint detector on the true frames, from speech, true pose and portrait (METHOD §4)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from a2h_models import losses
from a2h_models.head_pose import box_tensor
from a2h_models.keypoints import Keypoints, gaussian_heatmaps
from a2h_models.networks import KeypointDetector, MotionField
from a2h_models.networks.keypoint_detector import DetectorOutput
from a2h_models.networks.motion_field import MotionFieldOutput
from a2h_models.sample import WindowBatch
from a2h_models.stages.stage import Frozen, Optimise, Stage, table

PICTURED = 4  # frames of a window
DOT_VARIANCE = 0.001  # of the dots that mark keypoints
DETECTED_AT_ONCE = 64  # frames


class MotionFieldTraining(Stage):
    name = "motion_field"
    monitor = "val/keypoint_error"
    mode = "min"

    def __init__(
        self, network: MotionField, *, teacher: KeypointDetector, weights: Mapping[str, float], optimise: Optimise, seed: int = 0
    ) -> None:
        super().__init__(weights=weights, optimise=optimise, seed=seed)
        self.network = network
        self.teacher = Frozen(teacher)

    @property
    def trained(self) -> MotionField:
        return self.network

    def predict(self, batch: WindowBatch) -> MotionFieldOutput:
        boxes = torch.stack([box_tensor(pose) for pose in batch.pose.cpu().numpy()])
        output: MotionFieldOutput = self.network(batch.speech, boxes.to(batch.portrait), batch.portrait)
        return output

    def training_step(self, batch: WindowBatch, batch_idx: int) -> Tensor:  # noqa: ARG002  Lightning's signature
        made, truth = self.predict(batch), self.detect(batch.frames)
        terms = {
            "value": F.l1_loss(made.keypoints.value, truth.keypoints.value),
            "jacobian": F.l1_loss(made.keypoints.jacobian, truth.keypoints.jacobian),
            "heatmap": F.l1_loss(made.logits, truth.logits),
        }
        loss = losses.total(terms, self.weights)
        self.log_terms(terms, loss)
        return loss

    def validation_step(self, batch: WindowBatch, batch_idx: int) -> None:  # noqa: ARG002  Lightning's signature
        made, truth = self.predict(batch).keypoints, self.detect(batch.frames).keypoints
        portrait = self.detect(batch.portrait[:, None]).keypoints
        metrics = {
            "keypoint_error": _distance(made, truth),
            "keypoint_error_repeat": _distance(portrait, truth),
        }
        self.log_metrics_of(metrics, len(batch.keys))

    @torch.no_grad()
    def detect(self, frames: Float[Tensor, "b t 3 h w"]) -> DetectorOutput:
        """What the teacher sees in each frame; (b, t, …)."""
        teacher = self.teacher.on(frames.device)
        pieces = [teacher.detect(some) for some in torch.split(rearrange(frames, "b t c h w -> (b t) c h w"), DETECTED_AT_ONCE)]
        batch = len(frames)

        def joined(parts: list[Tensor]) -> Tensor:
            return rearrange(torch.cat(parts), "(b t) ... -> b t ...", b=batch)

        return DetectorOutput(
            keypoints=Keypoints(
                value=joined([piece.keypoints.value for piece in pieces]), jacobian=joined([piece.keypoints.jacobian for piece in pieces])
            ),
            heatmap=joined([piece.heatmap for piece in pieces]),
            logits=joined([piece.logits for piece in pieces]),
        )

    def picture(self, batch: WindowBatch) -> Float[Tensor, "3 h w"]:
        """Some frames of the first window, with the teacher's keypoints (upper row, green) and ours (lower row, red)."""
        every = torch.linspace(0, batch.frames.shape[1] - 1, PICTURED).long()
        first = WindowBatch(batch.keys[:1], *(part[:1] for part in batch[1:]))
        frames = first.frames[0, every]
        truth, made = self.detect(first.frames).keypoints.value[0, every], self.predict(first).keypoints.value[0, every]
        return table([_marked(frames, truth, channel=1), _marked(frames, made, channel=0)])


def _distance(made: Keypoints, truth: Keypoints) -> float:
    """Mean distance of keypoints, in units of half the image's side; one frame's keypoints may stand for all."""
    return float((made.value - truth.value).norm(dim=-1).mean())


def _marked(frames: Float[Tensor, "n 3 h w"], value: Float[Tensor, "n k 2"], *, channel: int) -> Float[Tensor, "n 3 h w"]:
    dots = gaussian_heatmaps(value, *frames.shape[-2:], variance=DOT_VARIANCE).amax(dim=1, keepdim=True)
    colour = torch.zeros(3, 1, 1, device=frames.device)
    colour[channel] = 1
    return frames * (1 - dots) + colour * dots
