"""Golden: the numbers that the published networks compute, with a stand-in of the released weights (issue 3's table).

The checkpoint is made once, by the script beside the numbers, and kept in `.cache/parity`.
"""

import os
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

from a2h_models.animator import Animator
from a2h_models.head_pose import denormalise, draw_boxes, normalise
from a2h_models.keypoints import Keypoints
from a2h_models.networks import STAGES, NetworksConfig
from a2h_models.release import read_release, to_release
from a2h_models.speech import speech_features

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.slow

# The stand-in's random heatmaps have nearly tied peaks, at a temperature of 0.1: there, rounding alone moves a keypoint. Measured against
# the reference, same code: oneDNN with AVX-512 3.0e-4 (10 of 1280 values beyond 1e-4), with AVX2 1.7e-3 (21), without oneDNN 3.9e-4,
# float64 4.5e-4 (11). So the bound of 1e-4 (Jacobians: 1e-3) is held by all but a few values, and those stay within a looser one.
SHARE = 0.97
LOOSE_VALUE, LOOSE_JACOBIAN = 5e-3, 0.1


class Reference(NamedTuple):
    numbers: dict[str, np.ndarray]
    portrait: np.ndarray
    wave: np.ndarray
    pose: np.ndarray  # (65, 6), not normalised


@pytest.fixture(scope="module")
def parity(shared: Path) -> Path:
    return shared / "parity"


@pytest.fixture(scope="module")
def reference(parity: Path) -> Reference:
    import soundfile
    from PIL import Image

    with np.load(parity / "expected.npz", allow_pickle=False) as file:
        numbers = dict(file)
    wave, _ = soundfile.read(parity / "speech.wav", dtype="int16")
    with Image.open(parity / "reference.png") as image:
        portrait = np.array(image.convert("RGB"))
    pose = np.concatenate([numbers["pose_rotation"], numbers["pose_translation"]], axis=1)
    return Reference(numbers=numbers, portrait=portrait, wave=wave, pose=pose)


@pytest.fixture(scope="module")
def checkpoint(parity: Path) -> Path:
    import subprocess

    path = ROOT / ".cache" / "parity" / "audio2head_seed0.pth.tar"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f"{path.name}.{os.getpid()}")
        subprocess.run([sys.executable, str(parity / "make_checkpoint.py"), "--seed", "0", "--out", str(aside)], check=True)
        aside.replace(path)
    return path


@pytest.fixture(scope="module")
def animator(checkpoint: Path) -> Animator:
    modules = read_release(checkpoint)
    return Animator(*(modules[stage] for stage in STAGES), NetworksConfig())


@pytest.fixture(scope="module")
def speech(reference: Reference) -> np.ndarray:
    return speech_features(reference.wave)


@pytest.fixture(scope="module")
def driving(animator: Animator, reference: Reference, speech: np.ndarray) -> Keypoints:
    pieces = animator.predict_keypoints(reference.portrait, speech, reference.pose)
    return Keypoints(*(torch.cat(parts) for parts in zip(*pieces, strict=True)))


def test_speech_features(speech: np.ndarray, reference: Reference) -> None:
    wanted = reference.numbers["audio_features"][: 4 * len(speech)].reshape(speech.shape)
    error = np.abs(speech - wanted).max(axis=(0, 1))
    assert len(speech) == len(reference.numbers["audio_features"]) // 4 == 64
    assert error[39] < 1e-3  # F0, in Hz
    assert np.delete(error, 39).max() < 1e-4


def test_release_to_ours_and_back_gives_the_same_bits(checkpoint: Path, animator: Animator) -> None:
    release = torch.load(checkpoint, weights_only=True, mmap=True)
    back = to_release(dict(zip(STAGES, (animator.image_generator, animator.motion_field, animator.head_pose), strict=True)))
    assert back.keys() == release.keys()
    for part, state in release.items():
        assert back[part].keys() == state.keys()
        different = [
            name for name in state if back[part][name].dtype != state[name].dtype or not torch.equal(back[part][name], state[name])
        ]
        assert not different


def test_pose(animator: Animator, reference: Reference, speech: np.ndarray) -> None:
    pose = animator.predict_pose(reference.portrait, speech)
    assert np.abs(normalise(pose) - reference.numbers["pose_normalised"]).max() < 1e-4
    assert np.array_equal(denormalise(reference.numbers["pose_normalised"]), reference.pose)


def test_box_images(reference: Reference) -> None:
    boxes = draw_boxes(reference.pose[reference.numbers["frame_index"]])
    assert np.array_equal(boxes, reference.numbers["pose_box_uint8"])


def test_source_keypoints(animator: Animator, reference: Reference) -> None:
    source = animator.encode(reference.portrait).keypoints
    assert np.abs(source.value[0].numpy() - reference.numbers["source_kp_value"]).max() < 1e-4
    assert np.abs(source.jacobian[0].numpy() - reference.numbers["source_kp_jacobian"]).max() < 1e-3


def test_driving_keypoints(driving: Keypoints, reference: Reference) -> None:
    value = np.abs(driving.value.numpy() - reference.numbers["driving_kp_value"])
    jacobian = np.abs(driving.jacobian.numpy() - reference.numbers["driving_kp_jacobian"])
    assert (value < 1e-4).mean() > SHARE
    assert value.max() < LOOSE_VALUE
    assert (jacobian < 1e-3).mean() > SHARE
    assert jacobian.max() < LOOSE_JACOBIAN


def test_frames(animator: Animator, driving: Keypoints, reference: Reference) -> None:
    index = reference.numbers["frame_index"]
    encoded = animator.encode(reference.portrait)
    with torch.inference_mode():
        first = animator.image_generator.generator.render(encoded, driving.each(lambda x: x[:1]))
    assert np.abs(first.occlusion[0, 0].numpy() - reference.numbers["first_frame_occlusion"]).max() < 1e-3
    assert np.abs(first.deformation[0].numpy() - reference.numbers["first_frame_deformation"]).max() < 1e-3
    frames = animator.render(encoded, driving.each(lambda x: x[index]))
    difference = np.abs(frames.astype(int) - reference.numbers["frames_uint8"])
    assert difference.max() <= 2
    assert difference.mean() < 0.02
