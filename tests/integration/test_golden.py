"""Golden: what narrow networks of all three stages compute, kept beside this file. It holds where
the release's numbers are not at hand.

`python tests/integration/test_golden.py` writes `golden.npz` anew: only for a change that is meant
to change numbers, and say so in the CHANGELOG. Neither weights nor inputs are stored: both are made
from formulas and from raw bits of PCG64, which NumPy keeps the same for ever (its distributions it
does not).
"""

import math
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from a2h_models.features.head_pose import POSE_MAX, POSE_MIN, draw_boxes, normalise
from a2h_models.features.keypoints import Keypoints
from a2h_models.features.speech import log_mel, speech_features
from a2h_models.inference.animator import Animator
from a2h_models.inference.buffer import StreamBuffer
from a2h_models.inference.windows import FrameSequences
from a2h_models.networks import STAGES, NetworksConfig, build
from a2h_models.networks.dense_motion import DenseMotionConfig
from a2h_models.networks.generator import GeneratorConfig
from a2h_models.networks.head_pose import HeadPoseConfig
from a2h_models.networks.keypoint_detector import KeypointDetectorConfig
from a2h_models.networks.motion_field import MotionFieldConfig
from a2h_models.timebase import SAMPLE_RATE, SAMPLES_PER_FRAME

GOLDEN = Path(__file__).with_name("golden.npz")
FRAMES = 56  # two windows: the second gives frames 48–55
KEPT = [0, 20, 47, 48, 55]  # of the frames and boxes: both ends, the middle, both sides of the seam
# Heads in other sizes than He's, so that heatmaps are neither flat nor tied, Jacobians moderate and
# colours many.
GAINS = {
    "image_generator.detector.heatmap.weight": 0.5,
    "image_generator.detector.jacobian.weight": 0.03,
    "image_generator.generator.last.weight": 8,
    "motion_field.heatmap.weight": 0.003,
    "motion_field.jacobian.weight": 0.0003,
}
MEL_ROWS = slice(0, None, 16)

# At most, as a difference. In brackets: the largest of what AVX2, SSE4.1 and float64 gave against
# AVX-512 with 32 bits. About ten times
# that leaves room for other processors; a wrong kernel, order or grid is off by far more.
BOUNDS = {
    "speech": 1e-4,  # (0) the release's bounds: logarithms and FFTs of other libraries
    "f0": 1e-3,  # Hz (0)
    "mel": 8e-3,  # (0) one step of float16 at 8 … 16, on whose edge a value may lie
    "pose": 2e-5,  # (1.9e-6)
    "boxes": 0,  # (0) drawn in integers
    "value": 2e-6,  # (2.1e-7)
    "jacobian": 5e-6,  # (4.2e-7)
    "relative": 4e-6,  # (3.2e-7)
    "frames": 1,  # (1) of 255: a value on the edge of two
}


# ------------------------------------------------------------------------------- weights and inputs
def drawn(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Uniform numbers in [-1, 1) that belong to a name."""
    raw = np.random.PCG64(zlib.crc32(name.encode())).random_raw(math.prod(shape))
    return (np.asarray(raw >> np.uint64(12)).astype(np.float64) / 2**51 - 1).reshape(shape)


def weights(name: str, like: torch.Tensor) -> torch.Tensor:
    """A tensor of a network: of the size that keeps signals at about 1."""
    numbers, leaf = drawn(name, tuple(like.shape)), name.rsplit(".", 1)[-1]
    if leaf in {"kernel", "num_batches_tracked"}:
        return like
    if leaf == "running_var" or (leaf == "weight" and like.dim() == 1):
        numbers = 1 + numbers / 4
    elif like.dim() == 1:
        numbers = numbers / 10 + ([1, 0, 0, 1] * (len(numbers) // 4) if name.endswith("jacobian.bias") else 0)
    else:
        numbers = numbers * GAINS.get(name, 1) * math.sqrt(6 / like[0].numel())  # He's, uniform
    return torch.from_numpy(numbers).float()


def network(stage: str, config: NetworksConfig) -> nn.Module:
    module = build(stage, config)
    module.load_state_dict({name: weights(f"{stage}.{name}", tensor) for name, tensor in module.state_dict().items()})
    return module


def animator() -> Animator:
    config = NetworksConfig(
        image_size=64,
        keypoints=4,
        keypoint_detector=KeypointDetectorConfig(width=4, max_width=16, depth=3, downscale=2, head_kernel=3),
        generator=GeneratorConfig(
            width=4,
            max_width=8,
            residual_blocks=2,
            dense_motion=DenseMotionConfig(width=4, max_width=16, depth=3, head_kernel=3),
        ),
        motion_field=MotionFieldConfig(
            width=4, max_width=8, depth=2, grid=32, head_kernel=3, lift_channels=2, lift_kernel=3
        ),
        head_pose=HeadPoseConfig(width=4, blocks=(1, 1, 1, 1), state=16),
    )
    return Animator(*(network(stage, config) for stage in STAGES), config)


def portrait() -> np.ndarray:
    """A disc and a bar on a slope of colours."""
    y, x = np.mgrid[:256, :256]
    picture = np.stack([x, y, (x + y) // 2], axis=-1) // 2
    picture[(x - 110) ** 2 + (y - 140) ** 2 < 60**2] = [230, 180, 20]
    picture[(abs(x - 150) < 15) & (abs(y - 100) < 70)] = [10, 40, 250]
    return picture.astype(np.uint8)


def wave() -> np.ndarray:
    """A vowel that rises and pauses, int16."""
    time = np.arange(FRAMES * SAMPLES_PER_FRAME) / SAMPLE_RATE
    phase = 2 * np.pi * (110 * time + 15 * time**2)
    sound = sum(np.sin(harmonic * phase) / harmonic for harmonic in range(1, 9))
    return (8000 * sound * np.clip(np.sin(5 * time) + 0.5, 0, 1)).astype(np.int16)


def driving_pose() -> np.ndarray:
    """A head that sways, within the networks' range; one pose more than frames."""
    swing = np.sin(np.arange(FRAMES + 1)[:, None] / (5 + np.arange(6))) / 2
    low, high = np.array(POSE_MIN), np.array(POSE_MAX)
    return ((swing + 1) / 2 * (high - low) + low).astype(np.float32)


# -------------------------------------------------------------------------------------- the numbers
def compute(made: Animator) -> dict[str, np.ndarray]:
    picture, pose, speech = portrait(), driving_pose(), speech_features(wave(), frames=FRAMES)
    keypoints = joined(made.predict_keypoints(picture, speech, pose))
    relative = joined(
        made._driving(made.encode(picture), FrameSequences(StreamBuffer([speech]), StreamBuffer([pose])), relative=True)
    )
    return {
        "speech": np.delete(speech, 39, axis=-1),
        "f0": speech[..., 39],
        "mel": log_mel(wave(), frames=FRAMES)[MEL_ROWS],
        "pose": normalise(made.predict_pose(picture, speech)),
        "boxes": draw_boxes(pose[KEPT]),
        "value": keypoints.value.numpy(),
        "jacobian": keypoints.jacobian.numpy(),
        "relative": relative.value.numpy(),
        "frames": np.stack(list(made.animate(picture, speech, pose=pose)))[KEPT],
    }


def joined(pieces) -> Keypoints:
    return Keypoints(*(torch.cat(parts) for parts in zip(*pieces, strict=True)))


@pytest.fixture(scope="module")
def computed() -> dict[str, np.ndarray]:
    return compute(animator())


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(GOLDEN, allow_pickle=False) as file:
        return dict(file)


@pytest.mark.parametrize("name", BOUNDS)
def test_numbers_stay(name: str, computed: dict[str, np.ndarray], golden: dict[str, np.ndarray]) -> None:
    assert computed[name].dtype == golden[name].dtype
    assert computed[name].shape == golden[name].shape
    assert np.abs(computed[name].astype(np.float64) - golden[name]).max() <= BOUNDS[name]


def test_the_file_is_small_and_holds_nothing_else(golden: dict[str, np.ndarray]) -> None:
    assert golden.keys() == BOUNDS.keys()
    assert GOLDEN.stat().st_size < 200_000


def test_it_depends_on_every_input(golden: dict[str, np.ndarray]) -> None:
    """A golden set that does not move guards nothing: frames, keypoints and poses differ over time,
    colours over the picture.
    """
    for name in ("pose", "value", "jacobian", "relative"):
        assert golden[name].std(axis=0).max() > 100 * BOUNDS[name]
    frames = golden["frames"].astype(int)
    assert frames.std(axis=(1, 2)).min() > 5
    assert np.abs(frames[0] - frames[1]).mean() > BOUNDS["frames"]


if __name__ == "__main__":
    np.savez_compressed(GOLDEN, **compute(animator()))
