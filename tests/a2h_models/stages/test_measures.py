"""What a stage says of itself after training, beside its baselines."""

from functools import partial

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from a2h_models.networks import NetworksConfig, build
from a2h_models.networks.dense_motion import DenseMotionConfig
from a2h_models.networks.generator import GeneratorConfig
from a2h_models.networks.head_pose import HeadPoseConfig
from a2h_models.networks.keypoint_detector import KeypointDetectorConfig
from a2h_models.networks.motion_field import MotionFieldConfig
from a2h_models.sample import PairBatch
from a2h_models.stages.image_generator import ImageGeneratorTraining, Warping
from a2h_models.stages.stage import adam

SIZE = 64
NARROW = {"width": 4, "max_width": 8, "depth": 2}
NETWORKS = NetworksConfig(
    image_size=SIZE,
    keypoint_detector=KeypointDetectorConfig(**NARROW, downscale=2),
    generator=GeneratorConfig(**NARROW, residual_blocks=1, blend_source=True, dense_motion=DenseMotionConfig(**NARROW, downscale=2)),
    motion_field=MotionFieldConfig(**NARROW, grid=32),
    head_pose=HeadPoseConfig(width=4, blocks=(1, 1, 1, 1), state=8, layers=2),
)
OPTIMISE = partial(adam, lr=1e-3, betas=(0.5, 0.999), milestones=())
QUIET = pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning", "ignore:.*does not have many workers.*")


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def _tested(stage, seen, test):
    """The metrics after a test on batches of people who were learnt from, and of others."""
    loaders = [DataLoader(batches, batch_size=1, collate_fn=lambda some: some[0]) for batches in (seen, test)]
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = pl.Trainer(accelerator="cpu", **quiet)
    trainer.test(stage, loaders, verbose=False)
    return {name: float(value) for name, value in trainer.callback_metrics.items()}


# ------------------------------------------------------------------------------------------------------------ image_generator
def _image_generator():
    weights = {"pixel": 10.0, "perceptual": 0.0, "equivariance_value": 10.0, "equivariance_jacobian": 10.0}
    warping = Warping(affine_sigma=0.05, tps_sigma=0.005, tps_points=5)
    return ImageGeneratorTraining(build("image_generator", NETWORKS), weights=weights, pyramid=(1.0,), warping=warping, optimise=OPTIMISE)


def _pairs(motion, difference):
    """Pairs whose driving frame is brighter by so much, so that a copy's PSNR is -20 log10 of that."""
    source = torch.full((len(motion), 3, SIZE, SIZE), 0.25)
    driving = source + torch.tensor(difference)[:, None, None, None]
    return PairBatch(keys=["a"] * len(motion), source=source, driving=driving, motion=torch.tensor(motion))


@QUIET
def test_the_moving_half_is_of_the_whole_split_and_not_of_each_batch():
    seen = [_pairs([0.5, 0.5], [0.1, 0.1])]
    test = [_pairs([0.01, 0.02], [0.5, 0.5]), _pairs([0.03, 0.04], [0.2, 0.2])]
    found = _tested(_image_generator(), seen, test)
    assert found["test/psnr_moving_copy"] == pytest.approx(-20 * np.log10(0.2), abs=0.1)
    assert found["test/psnr_copy"] == pytest.approx(-10 * (np.log10(0.2) + np.log10(0.5)), abs=0.1)
    assert found["seen/psnr_moving_copy"] == pytest.approx(-20 * np.log10(0.1), abs=0.2)


@QUIET
def test_what_was_measured_once_is_not_measured_again():
    stage = _image_generator()
    first, second = (_tested(stage, *[[_pairs([0.1, 0.2], [each, each])]] * 2)["test/psnr_moving_copy"] for each in (0.5, 0.1))
    assert second == pytest.approx(-20 * np.log10(0.1), abs=0.2)
    assert first == pytest.approx(-20 * np.log10(0.5), abs=0.2)
