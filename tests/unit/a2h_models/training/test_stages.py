"""The trainings: who moves, by what, and what is random."""

from functools import partial

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from a2h_models.data_types import WINDOW
from a2h_models.errors import ConfigError
from a2h_models.features.keypoints import Keypoints
from a2h_models.networks import ImageGenerator, MotionField, NetworksConfig, PoseDiscriminator, build
from a2h_models.networks.dense_motion import DenseMotionConfig
from a2h_models.networks.discriminator import PoseDiscriminatorConfig
from a2h_models.networks.generator import GeneratorConfig
from a2h_models.networks.head_pose import HeadPoseConfig
from a2h_models.networks.keypoint_detector import KeypointDetectorConfig
from a2h_models.networks.motion_field import MotionFieldConfig
from a2h_models.training import losses
from a2h_models.training.base import adam
from a2h_models.training.equivariance import Warping
from a2h_models.training.head_pose import HeadPoseModule
from a2h_models.training.image_generator import ImageGeneratorModule
from a2h_models.training.motion_field import MotionFieldModule

NARROW = {"width": 4, "max_width": 8, "depth": 2}
NETWORKS = NetworksConfig(
    image_size=64,
    keypoint_detector=KeypointDetectorConfig(**NARROW, downscale=2, head_kernel=3),
    generator=GeneratorConfig(
        **NARROW, residual_blocks=1, blend_source=True, dense_motion=DenseMotionConfig(**NARROW, downscale=2)
    ),
    motion_field=MotionFieldConfig(**NARROW, grid=32, head_kernel=3, lift_kernel=5),
    head_pose=HeadPoseConfig(width=4, blocks=(1, 1, 1, 1), state=8, layers=2),
    pose_discriminator=PoseDiscriminatorConfig(width=4, depth=2),
)
ADAM = partial(adam, lr=2e-4, betas=(0.5, 0.999), milestones=())
WARPING = Warping(affine_sigma=0.05, tps_sigma=0.005, tps_points=5)
IMAGE_WEIGHTS = {"pixel": 10.0, "perceptual": 0.0, "equivariance_value": 10.0, "equivariance_jacobian": 10.0}


def _image_generator(seed=0, **changes):
    weights = IMAGE_WEIGHTS | changes
    return ImageGeneratorModule(
        build("image_generator", NETWORKS),
        weights=weights,
        pyramid=(1.0, 0.5),
        warping=WARPING,
        optimise=ADAM,
        seed=seed,
    )


def _head_pose(**weights):
    weights = {
        "ssim": 100.0,
        "l1": 1.0,
        "global_variance": 1.0,
        "unseen_identity_spread": 1.0,
        "adversarial": 10.0,
    } | weights
    return HeadPoseModule(
        build("head_pose", NETWORKS),
        adversary=PoseDiscriminator(NETWORKS.pose_discriminator),
        weights=weights,
        optimise=ADAM,
    )


def _one_step(stage, batch):
    loader = DataLoader([0], batch_size=1, collate_fn=lambda _: batch)
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    trainer = pl.Trainer(
        max_steps=stage.steps_per_batch, accelerator="cpu", log_every_n_steps=1, num_sanity_val_steps=0, **quiet
    )
    trainer.fit(stage, loader, loader)
    return trainer


QUIET = pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning", "ignore:.*does not have many workers.*")


@QUIET
def test_every_parameter_of_the_image_generator_learns(pairs, snapshot, moved):
    stage = _image_generator()
    before = snapshot(stage)
    _one_step(stage, pairs())
    still = before.keys() - moved(before, stage)
    assert not {name for name in still if not name.endswith("bias")}, "a bias before a batch norm may stay"


@QUIET
def test_each_optimiser_of_the_head_pose_moves_only_its_own_parameters(monkeypatch, windows, snapshot, moved):
    stage = _head_pose()
    moves = []
    step = HeadPoseModule._step

    def watched(self, optimiser, loss, batch_idx):
        before = snapshot(self)
        step(self, optimiser, loss, batch_idx)
        moves.append(moved(before, self))

    monkeypatch.setattr(HeadPoseModule, "_step", watched)
    trainer = _one_step(stage, windows())
    ours, theirs = moves
    assert ours
    assert all(name.startswith("network.") for name in ours)
    assert theirs
    assert all(name.startswith("adversary.") for name in theirs)
    assert trainer.global_step == stage.steps_per_batch == 2


@QUIET
def test_the_global_variance_is_logged_and_weighed(windows):
    stage = _head_pose(global_variance=3.0)
    logged = _one_step(stage, windows()).logged_metrics
    terms = {name: logged[f"train/{name}"].item() for name in stage.weights}
    assert terms["global_variance"] > 0
    assert logged["train/loss"].item() == pytest.approx(
        sum(stage.weights[name] * term for name, term in terms.items()), rel=1e-5
    )


@QUIET
def test_the_adversary_gets_no_gradient_from_the_head_and_the_head_none_from_the_adversary(monkeypatch, windows):
    stage = _head_pose()
    seen = []
    step = HeadPoseModule._step

    def watched(self, optimiser, loss, batch_idx):
        step(self, optimiser, loss, batch_idx)
        seen.append(
            {name for name, parameter in self.named_parameters() if parameter.grad is not None and parameter.grad.any()}
        )

    monkeypatch.setattr(HeadPoseModule, "_step", watched)
    stage_before = {name for name, _ in stage.named_parameters()}
    _one_step(stage, windows())
    assert all(name.startswith("network.") for name in seen[0])
    assert seen[1] <= stage_before


@QUIET
def test_the_motion_field_learns_and_its_teacher_does_not(windows, snapshot, moved):
    teacher = build("image_generator", NETWORKS)
    assert isinstance(teacher, ImageGenerator)
    network = build("motion_field", NETWORKS)
    assert isinstance(network, MotionField)
    stage = MotionFieldModule(
        network, teacher=teacher, weights={"value": 10.0, "jacobian": 10.0, "heatmap": 1.0}, optimise=ADAM
    )
    assert not [name for name in stage.state_dict() if not name.startswith("network.")], (
        "the teacher is in no checkpoint"
    )
    before, theirs = snapshot(stage), _state(teacher)
    _one_step(stage, windows(frames=WINDOW))
    assert moved(before, stage)
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in teacher.state_dict().items())


def _state(module):
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def test_the_teacher_sees_each_frame_as_it_would_alone():
    generator = build("image_generator", NETWORKS)
    stage, teacher = (
        MotionFieldModule(build("motion_field", NETWORKS), teacher=generator, weights={}, optimise=ADAM),
        generator.detector,
    )
    frames = torch.rand(2, 5, 3, 64, 64)
    found = stage.detect(frames).keypoints
    with torch.no_grad():
        alone = teacher(frames[1, 3:4])
    torch.testing.assert_close(Keypoints(found.value[1, 3:4], found.jacobian[1, 3:4]), alone, atol=1e-5, rtol=1e-4)


def test_what_is_random_in_a_step_is_a_function_of_seed_and_step(pairs):
    batch = pairs()

    def transformed(seed, step):
        stage = _image_generator(seed)
        return stage.global_transform(batch.driving, stage.warping, stage.step_generator(step)).affine

    assert torch.equal(transformed(0, 3), transformed(0, 3))
    assert not torch.equal(transformed(0, 3), transformed(0, 4))
    assert not torch.equal(transformed(0, 3), transformed(1, 3))


def test_terms_without_a_weight_are_not_computed(pairs):
    stage = _image_generator(equivariance_value=0.0, equivariance_jacobian=0.0)
    assert stage.attempt(pairs(), stage.step_generator(0))[0].keys() == {"pixel"}


def test_no_weight_at_all_is_refused(pairs):
    stage = _image_generator(pixel=0.0, equivariance_value=0.0)
    stage.weights["equivariance_jacobian"] = 0.0
    with pytest.raises(ConfigError):
        losses.total(stage.attempt(pairs(), stage.step_generator(0))[0], stage.weights)


@pytest.mark.parametrize("kind", ["image_generator", "head_pose", "motion_field"])
def test_a_batch_can_be_looked_at(kind, pairs, windows):
    if kind == "image_generator":
        stage, batch = _image_generator(), pairs()
    elif kind == "head_pose":
        stage, batch = _head_pose(), windows()
    else:
        teacher = build("image_generator", NETWORKS)
        stage = MotionFieldModule(build("motion_field", NETWORKS), teacher=teacher, weights={}, optimise=ADAM)
        batch = windows(frames=WINDOW)
    with torch.no_grad():
        picture = stage.eval().picture(batch)
    assert picture.shape[0] == 3
    assert 0 <= picture.min() < picture.max() <= 1


def test_the_rate_falls_to_a_tenth_at_each_milestone():
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimiser, schedule = adam([parameter], lr=1.0, betas=(0.5, 0.999), milestones=(2, 3))
    rates = []
    for _ in range(4):
        optimiser.step()
        schedule.step()
        rates.append(optimiser.param_groups[0]["lr"])
    assert rates == pytest.approx([1.0, 0.1, 0.01, 0.01])
