"""The four networks through ONNX Runtime on a CPU, to be called as those of torch are."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from a2h_models.errors import CheckpointError, ConfigError
from a2h_models.features.keypoints import Keypoints
from a2h_models.networks.generator import EncodedPortrait
from a2h_models.networks.head_pose import HeadPoseState

SUFFIX = ".onnx"  # of the graphs' files
ERRORS_ONLY = 3  # of ONNX Runtime's log


class OnnxGeneratorOutput(NamedTuple):
    prediction: Float[Tensor, "n 3 H W"]  # RGB in [0, 1]


class OnnxMotionFieldOutput(NamedTuple):
    keypoints: Keypoints  # (b, t, k, …)


class OnnxSession:
    """One graph, loaded. Takes and gives tensors on the CPU.

    Raises:
        ConfigError: if ONNX Runtime is not installed.
        CheckpointError: if the file cannot be read.
    """

    def __init__(self, folder: Path, name: str) -> None:
        try:
            import onnxruntime
        except ModuleNotFoundError:
            raise ConfigError("ONNX Runtime is not installed", hint='install the extra "export"') from None
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = torch.get_num_threads()
        settings.log_severity_level = ERRORS_ONLY
        path = folder / f"{name}{SUFFIX}"
        try:
            self._session = onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
        except Exception as error:  # its own kinds have no common name
            raise CheckpointError(f"{path} cannot be read by ONNX Runtime: {str(error).splitlines()[0]}") from error
        self.names = [each.name for each in self._session.get_inputs()]

    def __call__(self, *inputs: Tensor) -> list[Tensor]:
        arrays = {name: np.ascontiguousarray(tensor.numpy()) for name, tensor in zip(self.names, inputs, strict=True)}
        return [torch.from_numpy(array) for array in self._session.run(None, arrays)]


class OnnxGenerator(nn.Module):
    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._encode, self._render = OnnxSession(folder, "generator_encode"), OnnxSession(folder, "generator_render")

    def encode(self, portrait: Float[Tensor, "b 3 H W"], source: Keypoints) -> EncodedPortrait:
        small, features = self._encode(portrait)
        return EncodedPortrait(image=portrait, small=small, features=features, keypoints=source)

    def render(self, portrait: EncodedPortrait, driving: Keypoints) -> OnnxGeneratorOutput:
        (frames,) = self._render(portrait.image, portrait.small, portrait.features, *portrait.keypoints, *driving)
        return OnnxGeneratorOutput(frames)


class OnnxKeypointDetector(nn.Module):
    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._detect = OnnxSession(folder, "keypoint_detector")

    def forward(self, image: Float[Tensor, "b 3 H W"]) -> Keypoints:
        return Keypoints(*self._detect(image))


class OnnxImageGenerator(nn.Module):
    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.detector, self.generator = OnnxKeypointDetector(folder), OnnxGenerator(folder)


class OnnxMotionField(nn.Module):
    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._move = OnnxSession(folder, "motion_field")

    def forward(
        self,
        speech: Float[Tensor, "b t 4 41"],
        box: Float[Tensor, "b t 1 H W"],
        portrait: Float[Tensor, "b 3 h w"],
        turned: Float[Tensor, "b t 6"] | None = None,
    ) -> OnnxMotionFieldOutput:
        """`turned` is for an anchored network alone; others have no such input."""
        told = [turned] if turned is not None and "turned" in self._move.names else []
        return OnnxMotionFieldOutput(Keypoints(*self._move(speech, box, portrait, *told)))


class OnnxHeadPose(nn.Module):
    def __init__(self, folder: Path, *, layers: int) -> None:
        super().__init__()
        self.layers = layers
        self._look, self._listen, self._step = (
            OnnxSession(folder, f"head_pose_{part}") for part in ("look", "listen", "step")
        )

    def start(self, portrait: Float[Tensor, "1 3 h w"]) -> tuple[HeadPoseState, Float[Tensor, "1 1 6"]]:
        embedding, first = self._look(portrait)
        nothing = embedding.new_zeros(self.layers, *embedding.shape)
        return HeadPoseState(embedding=embedding, hidden=nothing, cell=nothing, first=first), first

    def advance(
        self, speech: Float[Tensor, "1 t 4 41"], state: HeadPoseState
    ) -> tuple[HeadPoseState, Float[Tensor, "1 t 6"]]:
        embedding, hidden, cell, first = state
        poses = []
        for heard in self._listen(speech[0])[0]:
            pose, embedding, hidden, cell = self._step(heard[None], embedding, hidden, cell, first)
            poses.append(pose)
        return HeadPoseState(embedding, hidden, cell, first), torch.cat(poses, dim=1)
