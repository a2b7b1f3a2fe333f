"""What a stage says of itself after training, beside its baselines."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from a2h_models.data_types import WINDOW, PairBatch, WindowBatch
from a2h_models.features.head_pose import denormalise
from a2h_models.networks import NetworksConfig, PoseDiscriminator, build
from a2h_models.networks.dense_motion import DenseMotionConfig
from a2h_models.networks.discriminator import PoseDiscriminatorConfig
from a2h_models.networks.generator import GeneratorConfig
from a2h_models.networks.head_pose import HeadPoseConfig
from a2h_models.networks.keypoint_detector import KeypointDetectorConfig
from a2h_models.networks.motion_field import MotionFieldConfig
from a2h_models.training.base import adam
from a2h_models.training.equivariance import Warping
from a2h_models.training.head_pose import HeadPoseModule
from a2h_models.training.image_generator import ImageGeneratorModule
from a2h_models.training.motion_field import MotionFieldModule

SIZE = 64
NARROW = {"width": 4, "max_width": 8, "depth": 2}
NETWORKS = NetworksConfig(
    image_size=SIZE,
    keypoint_detector=KeypointDetectorConfig(**NARROW, downscale=2),
    generator=GeneratorConfig(
        **NARROW, residual_blocks=1, blend_source=True, dense_motion=DenseMotionConfig(**NARROW, downscale=2)
    ),
    motion_field=MotionFieldConfig(**NARROW, grid=32),
    head_pose=HeadPoseConfig(width=4, blocks=(1, 1, 1, 1), state=8, layers=2),
    pose_discriminator=PoseDiscriminatorConfig(width=4, depth=2),
)
OPTIMISE = partial(adam, lr=1e-3, betas=(0.5, 0.999), milestones=())
QUIET = pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning", "ignore:.*does not have many workers.*")


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def _tested(stage, seen, test):
    """The metrics after a test on batches of people who were learnt from, and of others."""
    loaders = [DataLoader(batches, batch_size=1, collate_fn=lambda some: some[0]) for batches in (seen, test)]
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    trainer = pl.Trainer(accelerator="cpu", **quiet)
    trainer.test(stage, loaders, verbose=False)
    return {name: float(value) for name, value in trainer.callback_metrics.items()}


# ---------------------------------------------------------------------------------- image_generator
def _image_generator():
    weights = {"pixel": 10.0, "perceptual": 0.0, "equivariance_value": 10.0, "equivariance_jacobian": 10.0}
    warping = Warping(affine_sigma=0.05, tps_sigma=0.005, tps_points=5)
    return ImageGeneratorModule(
        build("image_generator", NETWORKS), weights=weights, pyramid=(1.0,), warping=warping, optimise=OPTIMISE
    )


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
    first, second = (
        _tested(stage, *[[_pairs([0.1, 0.2], [each, each])]] * 2)["test/psnr_moving_copy"] for each in (0.5, 0.1)
    )
    assert second == pytest.approx(-20 * np.log10(0.1), abs=0.2)
    assert first == pytest.approx(-20 * np.log10(0.5), abs=0.2)


# ------------------------------------------------------------------------------------- motion_field
def _motion_field(anchored=False):
    return MotionFieldModule(
        build("motion_field", replace(NETWORKS, motion_field=replace(NETWORKS.motion_field, anchored=anchored))),
        teacher=build("image_generator", NETWORKS),
        weights={"value": 10.0, "jacobian": 10.0, "heatmap": 0.0},
        optimise=OPTIMISE,
    )


def _windows(stage, moved):
    """Windows whose keypoints are the portrait's, moved by so much a normalised pose."""
    pose = torch.rand(2, WINDOW, 6) - 0.5
    portrait, first = torch.rand(2, 3, SIZE, SIZE), torch.rand(2, 6) - 0.5
    anchor = stage.detect(portrait[:, None]).keypoints.value
    value = anchor + torch.einsum("btd,dkc->btkc", pose - first[:, None], moved)
    return WindowBatch(
        keys=["a", "b"],
        portrait=portrait,
        portrait_pose=denormalise(first),
        speech=torch.randn(2, WINDOW, 4, 41),
        pose=denormalise(pose),
        frames=torch.rand(2, 0, 3, SIZE, SIZE),
        keypoints=torch.cat([value, torch.eye(2).flatten().expand(*value.shape[:-1], 4)], dim=-1),
    )


@QUIET
def test_the_linear_rivals_learn_from_people_who_were_seen_and_are_measured_on_others():
    stage, moved = _motion_field(), torch.randn(6, NETWORKS.keypoints, 2) / 10
    found = _tested(stage, [_windows(stage, moved)], [_windows(stage, moved)])
    assert found["test/keypoint_error_linear_moved"] < 1e-4, "the truth is just such a map"
    assert 1e-3 < found["test/keypoint_error_linear"] < found["test/keypoint_error_repeat"]
    assert "seen/keypoint_error_linear" not in found


def test_an_anchored_motion_field_repeats_the_portraits_keypoints_until_it_has_learnt():
    stage = _motion_field(anchored=True)
    batch = _windows(stage, torch.zeros(6, NETWORKS.keypoints, 2))
    made, seen = stage.predict(batch), stage.network.anchor.detector.detect(batch.portrait)
    torch.testing.assert_close(made.keypoints.value, seen.keypoints.value[:, None].expand(-1, WINDOW, -1, -1))
    torch.testing.assert_close(made.keypoints.jacobian, seen.keypoints.jacobian[:, None].expand(-1, WINDOW, -1, -1, -1))


def test_an_anchored_motion_field_must_be_told_how_far_the_head_has_turned():
    network = _motion_field(anchored=True).network
    with pytest.raises(ValueError, match="from the portrait's own pose"):
        network(torch.zeros(1, WINDOW, 4, 41), torch.zeros(1, WINDOW, 1, 256, 256), torch.zeros(1, 3, SIZE, SIZE))


def test_an_anchored_motion_fields_detector_never_learns():
    stage = _motion_field(anchored=True).train()
    batch = _windows(stage, torch.ones(6, NETWORKS.keypoints, 2) / 10)
    before = {name: value.clone() for name, value in stage.network.anchor.detector.state_dict().items()}
    optimiser = torch.optim.Adam(stage.network.parameters(), lr=1e-2)
    errors = []
    for _ in range(5):
        made = stage.predict(batch).keypoints.value
        loss = (made - stage.truth(batch).value).abs().mean()
        errors.append(loss.item())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert errors[-1] < errors[0]
    assert all(torch.equal(value, before[name]) for name, value in stage.network.anchor.detector.state_dict().items())


# ---------------------------------------------------------------------------------------- head_pose
@QUIET
def test_a_head_that_is_carried_away_drifts_and_one_that_stands_does_not():
    still = HeadPoseModule(
        build("head_pose", replace(NETWORKS, head_pose=replace(NETWORKS.head_pose, residual=True))),
        adversary=PoseDiscriminator(NETWORKS.pose_discriminator),
        weights={"ssim": 100.0, "l1": 1.0, "global_variance": 1.0, "unseen_identity_spread": 1.0, "adversarial": 10.0},
        optimise=OPTIMISE,
    )
    batch = _windows(_motion_field(), torch.zeros(6, NETWORKS.keypoints, 2))
    found = _tested(still, [batch], [batch])
    assert found["test/minute_drift"] == pytest.approx(0, abs=1e-3)
    assert found["test/minute_diversity_last"] == pytest.approx(0, abs=1e-3)
    assert "seen/minute_drift" not in found
    assert "seen/pose_ssim" in found
