"""motion_field: imitate the frozen keypoint detector on the true frames, from speech, pose and
portrait (method.md §4).

Phase B draws a few frames of each window with the frozen generator, and compares them with the
truth. Towards the end some windows get a predicted pose instead of the true one, as all do in
generation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor
from typing_extensions import override

from a2h_models.data_types import POSE_DIM, WINDOW, WindowBatch
from a2h_models.features.head_pose import box_tensor, denormalise, normalise
from a2h_models.features.keypoints import Keypoints
from a2h_models.metrics.pose_regression import PoseRegression
from a2h_models.networks import HeadPose, ImageGenerator, MotionField
from a2h_models.networks.generator import EncodedPortrait
from a2h_models.networks.keypoint_detector import DetectorOutput
from a2h_models.networks.motion_field import MotionFieldOutput
from a2h_models.networks.perceptual import Vgg19
from a2h_models.training import losses
from a2h_models.training.base import SEEN, TEST, FrozenModule, Optimise, TrainingModule, draw_keypoints, image_grid

PICTURED = 4  # frames of a window
MEASURED = 8  # frames of a window that are drawn to measure the mouth
DETECTED_AT_ONCE = 64  # frames
LINEAR = ("linear", "linear_moved")  # rivals in a test
VALUES = 2  # of the six numbers of a stored keypoint; the others are its Jacobian


@dataclass(frozen=True, kw_only=True)
class Rendering:
    """Phase B: frames of each window that are drawn, and how they are compared."""

    frames: int = 0
    pyramid: Sequence[float] = (1.0,)
    perceptual: Vgg19 | None = None


@dataclass(frozen=True, kw_only=True)
class PredictedPoses:
    """The share of windows with predicted poses: none until batch `start`, then more and more,
    until it is `share` at batch `end`.
    """

    network: HeadPose | None = None
    share: float = 0.0
    start: int = 0
    end: int = 0

    def share_at(self, batch_idx: int) -> float:
        if self.network is None or batch_idx < self.start:
            return 0.0
        if batch_idx >= self.end:
            return self.share
        return self.share * (batch_idx - self.start) / (self.end - self.start)


@dataclass(frozen=True, kw_only=True)
class Phases:
    """What comes to the imitation of keypoints; nothing by default."""

    rendering: Rendering = field(default_factory=Rendering)
    poses: PredictedPoses = field(default_factory=PredictedPoses)


class MotionFieldModule(TrainingModule):
    name = "motion_field"
    monitor = "val/keypoint_error"
    mode = "min"

    def __init__(
        self,
        network: MotionField,
        *,
        teacher: ImageGenerator,
        weights: Mapping[str, float],
        optimise: Optimise,
        phases: Phases | None = None,
        jitter: float = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__(weights=weights, optimise=optimise, seed=seed)
        self.network = network
        self.teacher = FrozenModule(teacher)
        self.phases, self.jitter = phases or Phases(), jitter
        perceptual, predictor = self.phases.rendering.perceptual, self.phases.poses.network
        self.perceptual = FrozenModule(perceptual) if perceptual is not None else None
        self.predictor = FrozenModule(predictor) if predictor is not None else None
        self._regressions: tuple[PoseRegression, ...] = ()

    @property
    def trained(self) -> MotionField:
        return self.network

    def predict(self, batch: WindowBatch) -> MotionFieldOutput:
        boxes = torch.stack([box_tensor(pose) for pose in batch.pose.cpu().numpy()])
        turned = normalise(batch.pose) - normalise(batch.portrait_pose)[:, None]
        output: MotionFieldOutput = self.network(batch.speech, boxes.to(batch.portrait), batch.portrait, turned)
        return output

    def training_step(self, batch: WindowBatch, batch_idx: int) -> Tensor:
        generator = self.step_generator(batch_idx)
        batch = self.recoloured(self.with_predicted_poses(batch, batch_idx, generator), self.jitter, generator)
        made = self.predict(batch)
        terms = self.imitation(made, batch) | self.drawing(made.keypoints, batch, generator)
        loss = losses.total(terms, self.weights)
        self.log_terms(terms, loss, batch_idx)
        return loss

    # ------------------------------------------------------------------------------------ the terms
    def imitation(self, made: MotionFieldOutput, batch: WindowBatch) -> dict[str, Tensor]:
        """Distances from what the teacher sees, or saw when the companion shards were made; those
        hold no heatmaps.
        """
        truth = self.stored(batch)
        terms = {}
        if truth is None:
            seen = self.detect(batch.frames)
            truth, terms["heatmap"] = seen.keypoints, F.l1_loss(made.logits, seen.logits)
        terms["value"] = F.l1_loss(made.keypoints.value, truth.value)
        terms["jacobian"] = F.l1_loss(made.keypoints.jacobian, truth.jacobian)
        return terms

    def drawing(self, made: Keypoints, batch: WindowBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """Distances of some frames, drawn from our keypoints, from the true ones."""
        rendering = self.phases.rendering
        if not rendering.frames:
            return {}
        chosen = torch.randperm(made.value.shape[1], generator=generator)[: rendering.frames].sort().values
        drawn, true = (
            self.draw(batch, made.each(lambda x: x[:, chosen])),
            rearrange(batch.frames[:, chosen], "b f c h w -> (b f) c h w"),
        )
        terms = {}
        if self.weights["pixel"]:
            terms["pixel"] = losses.pyramid_l1(drawn, true, rendering.pyramid)
        if self.perceptual is not None:
            terms["perceptual"] = losses.perceptual(self.perceptual.on(self.device), drawn, true, rendering.pyramid)
        return terms

    def draw(self, batch: WindowBatch, driving: Keypoints) -> Float[Tensor, "b*f 3 h w"]:
        """Frames by the teacher's generator, f of each window; gradients reach the keypoints."""
        teacher = self.teacher.on(batch.portrait.device)
        count = driving.value.shape[1]
        with torch.no_grad():
            image, small, features, source = teacher.generator.encode(batch.portrait, teacher.detector(batch.portrait))
        image, small, features = (x.repeat_interleave(count, dim=0) for x in (image, small, features))
        encoded = EncodedPortrait(image, small, features, source.each(lambda x: x.repeat_interleave(count, dim=0)))
        frames: Tensor = teacher.generator.render(encoded, driving.each(lambda x: x.flatten(0, 1))).prediction
        return frames

    # ----------------------------------------------------------------------------------- its inputs
    @torch.no_grad()
    def with_predicted_poses(self, batch: WindowBatch, batch_idx: int, generator: torch.Generator) -> WindowBatch:
        """Some windows with the pose that the predictor finds likely, beginning with how the
        window's first frame looks.
        """
        share = self.phases.poses.share_at(batch_idx)
        if self.predictor is None or not share:
            return batch
        which = self.global_share(lambda n: torch.rand(n, generator=generator) < share, len(batch.keys)).to(self.device)
        likely = denormalise(self.predictor.on(self.device)(batch.speech, batch.frames[:, 0])[:, :-1])
        return batch._replace(pose=torch.where(which[:, None, None], likely, batch.pose))

    def stored(self, batch: WindowBatch) -> Keypoints | None:
        """The teacher's keypoints that came with the batch."""
        if batch.keypoints is None:
            return None
        value, jacobian = batch.keypoints[..., :VALUES], batch.keypoints[..., VALUES:]
        return Keypoints(value=value, jacobian=rearrange(jacobian, "b t k (i j) -> b t k i j", i=2))

    def truth(self, batch: WindowBatch) -> Keypoints:
        """The teacher's keypoints of the true frames: stored, or found now."""
        stored = self.stored(batch)
        return self.detect(batch.frames).keypoints if stored is None else stored

    @torch.no_grad()
    def detect(self, frames: Float[Tensor, "b t 3 h w"]) -> DetectorOutput:
        """What the teacher sees in each frame; (b, t, …)."""
        detector = self.teacher.on(frames.device).detector
        pieces = [
            detector.detect(some)
            for some in torch.split(rearrange(frames, "b t c h w -> (b t) c h w"), DETECTED_AT_ONCE)
        ]
        batch = len(frames)

        def joined(parts: list[Tensor]) -> Tensor:
            return rearrange(torch.cat(parts), "(b t) ... -> b t ...", b=batch)

        return DetectorOutput(
            keypoints=Keypoints(
                value=joined([piece.keypoints.value for piece in pieces]),
                jacobian=joined([piece.keypoints.jacobian for piece in pieces]),
            ),
            heatmap=joined([piece.heatmap for piece in pieces]),
            logits=joined([piece.logits for piece in pieces]),
        )

    # ----------------------------------------------------------------------------------- to look at
    @override
    def measure(self, split: str, batch: WindowBatch) -> None:
        """In a test, two linear maps learn from the people who were learnt from, and are measured
        beside us on the others.
        """
        super().measure(split, batch)
        if split == SEEN:
            for regression, (known, wanted) in zip(self._regressions, self._linear_tasks(batch), strict=True):
                regression.learn(known.flatten(0, 1), wanted.flatten(0, 1).flatten(1))
        elif split == TEST:
            self.log_means(split, self.linear_metrics(batch), len(batch.keys))

    def on_test_start(self) -> None:
        outputs = VALUES * self.teacher.on(self.device).detector.heatmap.out_channels
        self._regressions = (PoseRegression(POSE_DIM, outputs), PoseRegression(POSE_DIM, outputs))

    def linear_metrics(self, batch: WindowBatch) -> dict[str, float]:
        """The error of keypoints from the pose alone; and of the portrait's, moved as the pose
        differs from the portrait's own.
        """
        anchors = (torch.zeros(()), self.detect(batch.portrait[:, None]).keypoints.value)
        found = {}
        for name, regression, (known, wanted), anchor in zip(
            LINEAR, self._regressions, self._linear_tasks(batch), anchors, strict=True
        ):
            said = regression.say(known.flatten(0, 1)).view_as(wanted) + anchor.to(known)
            found[f"keypoint_error_{name}"] = float((said - self.truth(batch).value).norm(dim=-1).mean())
        return found

    def _linear_tasks(self, batch: WindowBatch) -> list[tuple[Float[Tensor, "b t 6"], Float[Tensor, "b t k 2"]]]:
        """What each of LINEAR knows, and what it is to say."""
        pose, first, truth = normalise(batch.pose), normalise(batch.portrait_pose)[:, None], self.truth(batch).value
        return [(pose, truth), (pose - first, truth - self.detect(batch.portrait[:, None]).keypoints.value)]

    def metrics(self, batch: WindowBatch) -> dict[str, float]:
        """Of our keypoints, and of the portrait's repeated; the mouth is compared in drawn frames,
        where the batch says where it is.
        """
        made, still = self.predict(batch).keypoints, self.detect(batch.portrait[:, None]).keypoints
        truth = self.truth(batch)
        found = {"keypoint_error": _distance(made, truth), "keypoint_error_repeat": _distance(still, truth)}
        if batch.mouth is not None and batch.frames.shape[1] == WINDOW:
            every = _spread(MEASURED, WINDOW)
            repeated = still.each(lambda x: x.expand(-1, MEASURED, *x.shape[2:]))
            found["mouth_error"] = self._mouth_error(batch, made.each(lambda x: x[:, every]), every)
            found["mouth_error_repeat"] = self._mouth_error(batch, repeated, every)
        return found

    def _mouth_error(self, batch: WindowBatch, driving: Keypoints, every: Int[Tensor, " f"]) -> float:
        """Mean absolute difference of pixels in [0, 1], where the lips are."""
        assert batch.mouth is not None
        drawn, true = self.draw(batch, driving), rearrange(batch.frames[:, every], "b f c h w -> (b f) c h w")
        inside = _within(batch.mouth[:, every].flatten(0, 1), *true.shape[-2:])
        difference = (drawn - true).abs().mean(dim=1)
        return float((difference * inside).sum() / inside.sum().clamp(min=1))

    def picture(self, batch: WindowBatch) -> Float[Tensor, "3 h w"]:
        """Some frames of the first window: with the teacher's keypoints (green), with ours (red),
        and drawn from ours.
        """
        first = batch.first()
        every = _spread(PICTURED, first.frames.shape[1])
        frames = first.frames[0, every]
        truth, made = (
            self.detect(first.frames).keypoints.value[0, every],
            self.predict(first).keypoints.each(lambda x: x[:, every]),
        )
        return image_grid(
            [
                draw_keypoints(frames, truth, channel=1),
                draw_keypoints(frames, made.value[0], channel=0),
                self.draw(first, made),
            ]
        )

    def film(self, batch: WindowBatch) -> Float[Tensor, "t 3 h w"]:
        """The first window, true beside drawn from our keypoints."""
        first = batch.first()
        drawn = self.draw(first, self.predict(first).keypoints)
        return torch.cat([first.frames[0], drawn], dim=-1)


def _spread(count: int, among: int) -> Int[Tensor, " count"]:
    return torch.linspace(0, among - 1, count).long()


def _within(boxes: Float[Tensor, "n 4"], height: int, width: int) -> Float[Tensor, "n h w"]:
    """1 where a pixel's centre is inside the box, else 0."""
    left, top, right, bottom = (side[:, None] for side in boxes.unbind(1))
    x, y = (((torch.arange(size, device=boxes.device) + 0.5) / size * 2 - 1)[None] for size in (width, height))
    return (((x >= left) & (x <= right))[:, None, :] & ((y >= top) & (y <= bottom))[:, :, None]).float()


def _distance(made: Keypoints, truth: Keypoints) -> float:
    """Mean distance of keypoints, in units of half the image's side; one frame's keypoints may
    stand for all.
    """
    return float((made.value - truth.value).norm(dim=-1).mean())
