"""The four networks as seven ONNX graphs.

What a video needs once stands apart from what it needs for each frame: the portrait is encoded by
`generator_encode` and drawn from by `generator_render`; `head_pose_look` starts a recursion that
`head_pose_listen` (any number of frames) and `head_pose_step` (one) carry on.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from a2h_models.data_types import POSE_DIM, SIZE, SPEECH_DIM, WINDOW
from a2h_models.features.keypoints import Keypoints
from a2h_models.networks import ImageGenerator
from a2h_models.networks.generator import EncodedPortrait, Generator
from a2h_models.networks.head_pose import HeadPose
from a2h_models.timebase import HOPS_PER_FRAME

if TYPE_CHECKING:
    from a2h_models.inference.animator import Animator

OPSET = 18  # grid_sample is an operator since 16; 18 is what the exporter writes without conversion
BATCH = 2  # of the examples that are traced: torch would take one for a constant


class OnnxGraph(NamedTuple):
    """One file."""

    name: str
    network: nn.Module
    inputs: dict[str, Tensor]  # an example
    outputs: tuple[str, ...]
    batched: tuple[str, ...]  # inputs whose first axis may have any length, the same for all


def graphs(animator: Animator) -> Iterator[OnnxGraph]:
    """All graphs of a model in 32 bits, with examples of noise.

    An anchored motion field has one input more.
    """
    drawing, motion, pose = animator.image_generator, animator.motion_field, animator.head_pose
    # what was exported once is not exported again: `Animator.load` gives torch's
    assert isinstance(drawing, ImageGenerator)
    assert isinstance(pose, HeadPose)
    size, points = animator.config.image_size, animator.config.keypoints
    draw = torch.Generator().manual_seed(0)

    def noise(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=draw)

    image = noise(BATCH, 3, size, size)
    value, jacobian = 2 * noise(BATCH, points, 2) - 1, torch.eye(2) + noise(BATCH, points, 2, 2) / BATCH
    yield OnnxGraph("keypoint_detector", _Detect(drawing.detector), {"image": image}, ("value", "jacobian"), ("image",))
    yield OnnxGraph("generator_encode", _Encode(drawing.generator), {"image": image}, ("small", "features"), ("image",))
    with torch.no_grad():
        small, features = _Encode(drawing.generator)(image[:1])
        embedding, first = _Look(pose)(image)
        heard = _Listen(pose)(noise(BATCH, HOPS_PER_FRAME, SPEECH_DIM))
    portrait = {
        "image": image[:1],
        "small": small,
        "features": features,
        "source_value": value[:1],
        "source_jacobian": jacobian[:1],
    }
    moved = {"value": value, "jacobian": jacobian}
    yield OnnxGraph("generator_render", _Render(drawing.generator), portrait | moved, ("frames",), tuple(moved))
    window = {
        "speech": noise(BATCH, WINDOW, HOPS_PER_FRAME, SPEECH_DIM),
        "box": noise(BATCH, WINDOW, 1, SIZE, SIZE),
        "portrait": image,
    }
    if animator.config.motion_field.anchored:
        window["turned"] = noise(BATCH, WINDOW, POSE_DIM)
    yield OnnxGraph("motion_field", _Move(motion), window, ("value", "jacobian"), tuple(window))
    yield OnnxGraph("head_pose_look", _Look(pose), {"portrait": image}, ("embedding", "first"), ("portrait",))
    speech = noise(BATCH, HOPS_PER_FRAME, SPEECH_DIM)
    yield OnnxGraph("head_pose_listen", _Listen(pose), {"speech": speech}, ("heard",), ("speech",))
    # noise: of zeros an error would not be seen
    hidden, cell = (noise(pose.layers, 1, embedding.shape[-1]) for _ in range(2))
    state = {"heard": heard[:1], "embedding": embedding[:1], "hidden": hidden, "cell": cell, "first": first[:1]}
    yield OnnxGraph("head_pose_step", _Step(pose), state, ("pose", "next_embedding", "next_hidden", "next_cell"), ())


def write(graph: OnnxGraph, path: Path) -> None:
    """One graph as one file, of less than 2 GB."""
    batch = torch.export.Dim("batch", min=1)
    shapes = {name: {0: batch} if name in graph.batched else None for name in graph.inputs}
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it misses torchvision, which nobody here uses
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch, about itself
        torch.onnx.export(
            graph.network.eval(),
            tuple(graph.inputs.values()),
            str(path),
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
            opset_version=OPSET,
            dynamo=True,
            dynamic_shapes=tuple(shapes.values()),
            external_data=False,
            verbose=False,
        )


# ----------------------------------------------------------------------------------- what is traced
class _Detect(nn.Module):
    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> tuple[Tensor, Tensor]:
        keypoints: Keypoints = self.detector(image)
        return keypoints.value, keypoints.jacobian


class _Encode(nn.Module):
    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> tuple[Tensor, Tensor]:
        nowhere = Keypoints(image.new_zeros(1), image.new_zeros(1))  # they are only handed through
        encoded = self.generator.encode(image, nowhere)
        return encoded.small, encoded.features


class _Render(nn.Module):
    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.generator = generator

    def forward(
        self,
        image: Float[Tensor, "1 3 h w"],
        small: Float[Tensor, "1 3 s s"],
        features: Float[Tensor, "1 c f f"],
        source_value: Float[Tensor, "1 k 2"],
        source_jacobian: Float[Tensor, "1 k 2 2"],
        value: Float[Tensor, "n k 2"],
        jacobian: Float[Tensor, "n k 2 2"],
    ) -> Float[Tensor, "n 3 h w"]:
        portrait = EncodedPortrait(image, small, features, Keypoints(source_value, source_jacobian))
        return self.generator.render(portrait, Keypoints(value, jacobian)).prediction


class _Move(nn.Module):
    def __init__(self, motion_field: nn.Module) -> None:
        super().__init__()
        self.motion_field = motion_field

    def forward(
        self,
        speech: Float[Tensor, "b t 4 41"],
        box: Float[Tensor, "b t 1 H W"],
        portrait: Float[Tensor, "b 3 h w"],
        turned: Float[Tensor, "b t 6"] | None = None,
    ) -> tuple[Tensor, Tensor]:
        keypoints: Keypoints = self.motion_field(speech, box, portrait, turned).keypoints
        return keypoints.value, keypoints.jacobian


class _Look(nn.Module):
    def __init__(self, head_pose: HeadPose) -> None:
        super().__init__()
        self.head_pose = head_pose

    def forward(self, portrait: Float[Tensor, "b 3 h w"]) -> tuple[Tensor, Tensor]:
        state, first = self.head_pose.start(portrait)
        return state.embedding, first


class _Listen(nn.Module):
    def __init__(self, head_pose: HeadPose) -> None:
        super().__init__()
        self.head_pose = head_pose

    def forward(self, speech: Float[Tensor, "n 4 41"]) -> Float[Tensor, "n d"]:
        heard: Tensor = self.head_pose.listen(speech.unsqueeze(1))
        return heard


class _Step(nn.Module):
    """One frame of the recursion.

    torch's exporter writes an `nn.LSTM` that forgets where it stood, so its cells stand here as
    formulas.
    """

    def __init__(self, head_pose: HeadPose) -> None:
        super().__init__()
        self.head_pose = head_pose

    def forward(
        self,
        heard: Float[Tensor, "1 d"],
        embedding: Float[Tensor, "1 d"],
        hidden: Float[Tensor, "layers 1 d"],
        cell: Float[Tensor, "layers 1 d"],
        first: Float[Tensor, "1 1 6"],
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        value, after = torch.cat([heard, embedding], dim=-1), []
        for weights, before in zip(self.head_pose.recur.all_weights, zip(hidden, cell, strict=True), strict=True):
            after.append(_lstm_cell(value, *before, *weights))
            value = after[-1][0]
        move, out = self.head_pose.move, self.head_pose.out
        pose = out(value)[:, None] if move is None else first + move(value)[:, None]
        return pose, value, torch.stack([hidden for hidden, _ in after]), torch.stack([cell for _, cell in after])


def _lstm_cell(
    value: Float[Tensor, "1 i"], hidden: Float[Tensor, "1 d"], cell: Float[Tensor, "1 d"], *weights: Tensor
) -> tuple[Float[Tensor, "1 d"], Float[Tensor, "1 d"]]:
    """Hidden state and cell after one frame, by the weights and biases of `nn.LSTM`."""
    of_input, of_hidden, input_bias, hidden_bias = weights
    gates = F.linear(value, of_input, input_bias) + F.linear(hidden, of_hidden, hidden_bias)
    take, keep, new, show = gates.chunk(4, dim=-1)
    cell = torch.sigmoid(keep) * cell + torch.sigmoid(take) * torch.tanh(new)
    return torch.sigmoid(show) * torch.tanh(cell), cell
