"""Golden: the numbers that the published networks compute, with a stand-in of the released weights.

In float64 all three stages must agree with the published networks at 1e-9, on every processor. In
float32 each number is held as far as float32 can tell it: see `BOUNDS`.

`python -m pytest tests/integration/test_parity.py` ends with the table of
docs/results/parity.md, as measured here and now.
"""

from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from a2h_models.checkpoints.original_release import to_release
from a2h_models.data_types import UNIT
from a2h_models.features.head_pose import denormalise, draw_boxes, normalise
from a2h_models.features.keypoints import Keypoints
from a2h_models.features.speech import speech_features
from a2h_models.inference.animator import Animator
from a2h_models.inference.buffer import StreamBuffer
from a2h_models.inference.windows import FrameSequences, windows_of
from a2h_models.networks import STAGES, ImageGenerator
from a2h_models.networks.generator import GeneratorOutput
from tests.paths import ROOT

pytestmark = pytest.mark.slow

F0 = 39  # column
# The stand-in's random heatmaps have nearly tied peaks, read at a temperature of 0.1: an error e of
# a logit moves a keypoint by up to 10 e. So float32 cannot tell a few of the 1,280 driving
# keypoints. Against the float64 truth the published networks themselves are off by up to 4.5e-4
# (Jacobians 1.7e-2), as ours on AVX-512; ours on AVX2 by up to 1.5e-3 (3.9e-2). Hence the narrow
# bounds hold for 97 % of the values and the wide ones for all; exact parity is asserted in float64.
SHARE = 0.97
BOUNDS = {
    "speech features, all columns but F0": 1e-4,
    "speech features, F0 (Hz)": 1e-3,
    "normalised pose sequence": 1e-4,
    "box images, pixels that differ": 0,
    "source keypoints": 1e-4,
    "source Jacobians": 1e-3,
    "driving keypoints, 97 % of them": 1e-4,
    "driving Jacobians, 97 % of them": 1e-3,
    "driving keypoints, all": 5e-3,
    "driving Jacobians, all": 0.1,
    "first frame's occlusion": 1e-3,
    "first frame's deformation": 1e-3,
    "frames, 8-bit, largest difference": 2,
    "frames, 8-bit, mean difference": 0.02,
    "release → ours → release, tensors that differ": 0,
    "float64: normalised pose sequence": 1e-9,
    "float64: source keypoints": 1e-9,
    "float64: source Jacobians": 1e-9,
    "float64: driving keypoints": 1e-9,
    "float64: driving Jacobians": 1e-9,
    "float64: first frame's occlusion": 1e-9,
    "float64: first frame's deformation": 1e-9,
    "float64: frames": 1e-6,  # they are stored in float32
}
FRAMES_AT_ONCE = 8  # of a float64 convolution, which torch unfolds in memory

Hold = Callable[[str, float], None]


@pytest.fixture(name="hold")
def _hold(hold: Callable[[str, float, float], None]) -> Hold:
    return lambda what, measured: hold(what, measured, BOUNDS[what])


@pytest.fixture(scope="module")
def speech(reference: Any) -> np.ndarray:
    return speech_features(reference.wave)


@pytest.fixture(scope="module")
def driving(stand_in: Animator, reference: Any, speech: np.ndarray) -> Keypoints:
    pieces = stand_in.predict_keypoints(reference.portrait, speech, reference.pose)
    return Keypoints(*(torch.cat(parts) for parts in zip(*pieces, strict=True)))


@pytest.fixture(scope="module")
def given_keypoints(reference: Any) -> Keypoints:
    """The published networks' driving keypoints, so that frames do not depend on nearly tied heatmaps."""
    return Keypoints(*(torch.from_numpy(reference.numbers[f"driving_kp_{name}"]) for name in Keypoints._fields))


@pytest.fixture(scope="module")
def first_frame(stand_in: Animator, reference: Any, given_keypoints: Keypoints) -> GeneratorOutput:
    with torch.inference_mode():
        return stand_in.image_generator.generator.render(
            stand_in.encode(reference.portrait), given_keypoints.each(lambda x: x[:1])
        )


def largest(ours: np.ndarray | torch.Tensor, wanted: np.ndarray) -> float:
    assert ours.shape == wanted.shape
    return float(np.abs(np.asarray(ours, np.float64) - wanted).max())


def test_speech_features(speech: np.ndarray, reference: Any, hold: Hold) -> None:
    wanted = reference.numbers["audio_features"]
    assert len(speech) == len(wanted) // 4 == 64
    wanted = wanted[: 4 * len(speech)].reshape(speech.shape)
    hold("speech features, all columns but F0", largest(np.delete(speech, F0, axis=-1), np.delete(wanted, F0, axis=-1)))
    hold("speech features, F0 (Hz)", largest(speech[..., F0], wanted[..., F0]))


def test_pose(stand_in: Animator, reference: Any, speech: np.ndarray, hold: Hold) -> None:
    pose = stand_in.predict_pose(reference.portrait, speech)
    hold("normalised pose sequence", largest(normalise(pose), reference.numbers["pose_normalised"]))
    assert np.array_equal(denormalise(reference.numbers["pose_normalised"]), reference.pose)


def test_box_images(reference: Any, hold: Hold) -> None:
    boxes = draw_boxes(reference.pose[reference.numbers["frame_index"]])
    hold("box images, pixels that differ", np.count_nonzero(boxes != reference.numbers["pose_box_uint8"]))


def test_source_keypoints(stand_in: Animator, reference: Any, hold: Hold) -> None:
    source = stand_in.encode(reference.portrait).keypoints
    hold("source keypoints", largest(source.value[0], reference.numbers["source_kp_value"]))
    hold("source Jacobians", largest(source.jacobian[0], reference.numbers["source_kp_jacobian"]))


def test_driving_keypoints(driving: Keypoints, reference: Any, hold: Hold) -> None:
    for name, ours, key in (("keypoints", driving.value, "value"), ("Jacobians", driving.jacobian, "jacobian")):
        error = np.abs(ours.numpy() - reference.exact[f"driving_kp_{key}"])
        hold(f"driving {name}, 97 % of them", float(np.quantile(error, SHARE)))
        hold(f"driving {name}, all", error.max())


def test_first_frame(first_frame: GeneratorOutput, reference: Any, hold: Hold) -> None:
    hold("first frame's occlusion", largest(first_frame.occlusion[0, 0], reference.numbers["first_frame_occlusion"]))
    hold("first frame's deformation", largest(first_frame.deformation[0], reference.numbers["first_frame_deformation"]))


def test_frames(stand_in: Animator, given_keypoints: Keypoints, reference: Any, hold: Hold) -> None:
    index = reference.numbers["frame_index"]
    frames = stand_in.render(stand_in.encode(reference.portrait), given_keypoints.each(lambda x: x[index]))
    difference = np.abs(frames.astype(int) - reference.numbers["frames_uint8"])
    hold("frames, 8-bit, largest difference", difference.max())
    hold("frames, 8-bit, mean difference", difference.mean())


# ------------------------------------------------------------------------------------- in float64
class ConvOverTime(nn.Conv3d):
    """A 3-D convolution as a sum of 2-D ones: torch unfolds a 3-D one in float64 to gigabytes."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 (the name in nn.Conv3d)
        """Convolve (b, c, t, h, w)."""
        time, rows, columns = (int(side) for side in self.padding)
        padded = F.pad(input, (0, 0, 0, 0, time, time))
        return torch.cat(
            [
                self._frames(padded[:, :, start : start + FRAMES_AT_ONCE + 2 * time], (rows, columns))
                for start in range(0, input.shape[2], FRAMES_AT_ONCE)
            ],
            dim=2,
        )

    def _frames(self, padded: torch.Tensor, padding: tuple[int, int]) -> torch.Tensor:
        taps = self.weight.unbind(dim=2)
        frames = padded.shape[2] - len(taps) + 1
        images = [padded[0, :, tap : tap + frames].transpose(0, 1) for tap in range(len(taps))]
        out = sum(F.conv2d(image, tap, padding=padding) for image, tap in zip(images, taps, strict=True))
        assert isinstance(out, torch.Tensor)
        assert self.bias is not None
        return (out + self.bias[:, None, None]).transpose(0, 1)[None]


@pytest.fixture(scope="module")
def exact_networks(stand_in: Animator) -> dict[str, nn.Module]:
    networks = (stand_in.image_generator, stand_in.motion_field, stand_in.head_pose)
    doubled = {stage: deepcopy(network).double() for stage, network in zip(STAGES, networks, strict=True)}
    for module in doubled["motion_field"].modules():
        if isinstance(module, nn.Conv3d):
            module.__class__ = ConvOverTime
    return doubled


@pytest.fixture(scope="module")
def exact_portrait(reference: Any) -> torch.Tensor:
    """(1, 3, 256, 256), rounded to float32 as everywhere."""
    return (torch.from_numpy(reference.portrait).permute(2, 0, 1)[None].float() * UNIT).double()


@pytest.fixture(scope="module")
def stored_speech(reference: Any) -> np.ndarray:
    return reference.numbers["audio_features"][: 4 * 64].astype(np.float32).reshape(64, 4, 41)


@torch.inference_mode()
def test_pose_in_float64(
    exact_networks: dict[str, nn.Module],
    exact_portrait: torch.Tensor,
    stored_speech: np.ndarray,
    reference: Any,
    hold: Hold,
) -> None:
    pose = exact_networks["head_pose"](torch.from_numpy(stored_speech)[None].double(), exact_portrait)
    hold("float64: normalised pose sequence", largest(pose[0], reference.exact["pose_normalised"]))


@torch.inference_mode()
def test_driving_keypoints_in_float64(
    exact_networks: dict[str, nn.Module],
    exact_portrait: torch.Tensor,
    stored_speech: np.ndarray,
    reference: Any,
    hold: Hold,
) -> None:
    pieces = list(_exact_keypoints(exact_networks["motion_field"], exact_portrait, stored_speech, reference.pose))
    value, jacobian = (torch.cat(parts) for parts in zip(*pieces, strict=True))
    hold("float64: driving keypoints", largest(value, reference.exact["driving_kp_value"]))
    hold("float64: driving Jacobians", largest(jacobian, reference.exact["driving_kp_jacobian"]))


def _exact_keypoints(
    network: nn.Module, portrait: torch.Tensor, speech: np.ndarray, pose: np.ndarray
) -> Iterator[Keypoints]:
    for window in windows_of(FrameSequences(StreamBuffer([speech]), StreamBuffer([pose]))):
        boxes = torch.from_numpy(draw_boxes(window.pose)).double()[None, :, None]
        keypoints = network(torch.from_numpy(window.heard)[None].double(), boxes, portrait).keypoints
        yield Keypoints(*(x[0, window.kept.start : window.kept.stop] for x in keypoints))


@torch.inference_mode()
def test_frames_in_float64(
    exact_networks: dict[str, nn.Module], exact_portrait: torch.Tensor, reference: Any, hold: Hold
) -> None:
    exact, network = reference.exact, exact_networks["image_generator"]
    assert isinstance(network, ImageGenerator)
    source = network.detector(exact_portrait)
    hold("float64: source keypoints", largest(source.value[0], exact["source_kp_value"]))
    hold("float64: source Jacobians", largest(source.jacobian[0], exact["source_kp_jacobian"]))
    index = exact["frames_index"]
    driving = Keypoints(*(torch.from_numpy(exact[f"driving_kp_{name}"][index]) for name in Keypoints._fields))
    frames = network.generator.render(network.generator.encode(exact_portrait, source), driving)
    assert index[0] == 0
    hold("float64: first frame's occlusion", largest(frames.occlusion[0, 0], exact["first_frame_occlusion"]))
    hold("float64: first frame's deformation", largest(frames.deformation[0], exact["first_frame_deformation"]))
    hold("float64: frames", largest(frames.prediction.permute(0, 2, 3, 1), exact["frames"]))


# -------------------------------------------------------------------------------------- the release
def test_release_to_ours_and_back_gives_the_same_bits(checkpoint: Path, stand_in: Animator, hold: Hold) -> None:
    release = torch.load(checkpoint, weights_only=True, mmap=True)
    back = to_release(
        dict(zip(STAGES, (stand_in.image_generator, stand_in.motion_field, stand_in.head_pose), strict=True))
    )
    names = {(part, name) for part, state in release.items() for name in state}
    assert names == {(part, name) for part, state in back.items() for name in state}
    different = [1 for part, name in names if not _same(back[part][name], release[part][name])]
    hold("release → ours → release, tensors that differ", len(different))


def test_the_page_shows_these_bounds() -> None:
    text = (ROOT / "docs" / "results" / "parity.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    shown = {row[0]: row[1:] for row in rows if row[0] in BOUNDS}
    assert {what: float(at_most) for what, (at_most, _) in shown.items()} == BOUNDS
    assert all(float(measured) <= BOUNDS[what] for what, (_, measured) in shown.items())


def _same(ours: torch.Tensor, wanted: torch.Tensor) -> bool:
    return ours.dtype == wanted.dtype and torch.equal(ours, wanted)
