"""The later phases: a discriminator, drawn frames, predicted poses, true frames given to the
recursion; and what befalls a checkpoint.
"""

import resource
from functools import partial

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from a2h_models.data_types import WINDOW, PairBatch
from a2h_models.errors import FailedError
from a2h_models.features.head_pose import normalise
from a2h_models.networks import NetworksConfig, PatchDiscriminator, PoseDiscriminator, build
from a2h_models.networks.dense_motion import DenseMotionConfig
from a2h_models.networks.discriminator import PatchDiscriminatorConfig, PoseDiscriminatorConfig
from a2h_models.networks.generator import GeneratorConfig
from a2h_models.networks.head_pose import HeadPoseConfig
from a2h_models.networks.keypoint_detector import KeypointDetectorConfig
from a2h_models.networks.motion_field import MotionFieldConfig
from a2h_models.training.base import adam, lr_lambda
from a2h_models.training.callbacks import LastCheckpoint
from a2h_models.training.equivariance import Warping
from a2h_models.training.gan import GANModule
from a2h_models.training.head_pose import HeadPoseModule, TeacherForcing
from a2h_models.training.image_generator import AdversarialImageGeneratorModule, Augmentation, ImageGeneratorModule
from a2h_models.training.motion_field import MotionFieldModule, Phases, PredictedPoses, Rendering

NARROW = {"width": 4, "max_width": 8, "depth": 2}
NETWORKS = NetworksConfig(
    image_size=64,
    keypoint_detector=KeypointDetectorConfig(**NARROW, downscale=2, head_kernel=3),
    generator=GeneratorConfig(
        **NARROW, residual_blocks=1, blend_source=True, dense_motion=DenseMotionConfig(**NARROW, downscale=2)
    ),
    motion_field=MotionFieldConfig(**NARROW, grid=32, head_kernel=3, lift_kernel=5),
    head_pose=HeadPoseConfig(width=4, blocks=(1, 1, 1, 1), state=8, layers=2),
    discriminator=PatchDiscriminatorConfig(**NARROW),
    pose_discriminator=PoseDiscriminatorConfig(width=4, depth=2),
)
OPTIMISE = partial(adam, lr=1e-3, betas=(0.5, 0.999), milestones=())
IMAGE_WEIGHTS = {"pixel": 10.0, "perceptual": 0.0, "equivariance_value": 10.0, "equivariance_jacobian": 10.0}
QUIET = pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning", "ignore:.*does not have many workers.*")


def _image_generator(**settings):
    settings = {"weights": IMAGE_WEIGHTS, "pyramid": (1.0, 0.5), "optimise": OPTIMISE} | settings
    warping = Warping(affine_sigma=0.05, tps_sigma=0.005, tps_points=5)
    return ImageGeneratorModule(build("image_generator", NETWORKS), warping=warping, **settings)


def _adversarial(**settings):
    return AdversarialImageGeneratorModule(
        build("image_generator", NETWORKS),
        adversary=PatchDiscriminator(NETWORKS.discriminator, keypoints=NETWORKS.keypoints),
        weights={**IMAGE_WEIGHTS, "adversarial": 1.0, "feature_matching": 10.0},
        pyramid=(1.0, 0.5),
        warping=Warping(affine_sigma=0.05, tps_sigma=0.005, tps_points=5),
        optimise=OPTIMISE,
        **settings,
    )


def _head_pose(networks=NETWORKS, **settings):
    return HeadPoseModule(
        build("head_pose", networks),
        adversary=PoseDiscriminator(networks.pose_discriminator),
        weights={"ssim": 100.0, "l1": 1.0, "global_variance": 1.0, "unseen_identity_spread": 1.0, "adversarial": 10.0},
        optimise=OPTIMISE,
        **settings,
    )


def _motion_field(**phases):
    return MotionFieldModule(
        build("motion_field", NETWORKS),
        teacher=build("image_generator", NETWORKS),
        weights={"value": 10.0, "jacobian": 10.0, "heatmap": 1.0, "pixel": 10.0, "perceptual": 0.0},
        optimise=OPTIMISE,
        phases=Phases(**phases),
    )


def _fit(stage, batch, *, batches=1, callbacks=()):
    loader = DataLoader(range(batches), batch_size=1, collate_fn=lambda _: batch)
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    trainer = pl.Trainer(
        max_epochs=1,
        accelerator="cpu",
        log_every_n_steps=1,
        num_sanity_val_steps=0,
        callbacks=list(callbacks),
        limit_val_batches=0,
        **quiet,
    )
    trainer.fit(stage, loader, loader)


# -------------------------------------------------------------------------------------- adversaries
@QUIET
def test_each_optimiser_of_the_adversarial_image_generator_moves_only_its_own_parameters(
    monkeypatch, pairs, snapshot, moved
):
    stage, moves, step = _adversarial(), [], GANModule._step

    def watched(self, optimiser, loss, batch_idx):
        before = snapshot(self)
        step(self, optimiser, loss, batch_idx)
        moves.append(moved(before, self))

    monkeypatch.setattr(GANModule, "_step", watched)
    _fit(stage, pairs())
    ours, theirs = moves
    assert ours
    assert all(name.startswith("network.") for name in ours)
    assert theirs
    assert all(name.startswith("adversary.") for name in theirs)


def test_the_detector_gets_no_gradient_from_the_adversary(pairs):
    stage = _adversarial()
    stage.weights = dict.fromkeys(stage.weights, 0.0) | {"adversarial": 1.0}
    made = stage.adversary(torch.rand(2, 3, 64, 64), stage.network.detector(pairs().driving).each(torch.Tensor.detach))
    made.patches.sum().backward()
    assert all(parameter.grad is None for parameter in stage.network.detector.parameters())


@QUIET
def test_clipped_gradients_of_two_optimisers_are_no_longer_than_the_norm(monkeypatch, windows):
    norms, step = [], GANModule._step

    def watched(self, optimiser, loss, batch_idx):
        step(self, optimiser, loss, batch_idx)
        gradients = [p.grad for group in optimiser.param_groups for p in group["params"] if p.grad is not None]
        norms.append(torch.linalg.vector_norm(torch.cat([gradient.flatten() for gradient in gradients])).item())

    monkeypatch.setattr(GANModule, "_step", watched)
    _fit(_head_pose(clip_norm=0.01), windows(0))
    assert norms[0] == pytest.approx(0.01, rel=1e-3)


# ---------------------------------------------------------------------------------------- head_pose
def test_forced_frames_change_what_follows_them_and_nothing_before(windows):
    stage, batch = _head_pose(forcing=TeacherForcing(every=16, until=1)).eval(), windows(4)
    with torch.no_grad():
        free, forced = stage.predict(batch), stage.predict_forced(batch)
    torch.testing.assert_close(free[:, :17], forced[:, :17])
    assert not torch.allclose(free[:, 17:], forced[:, 17:])


def test_the_recursion_is_forced_until_a_batch_and_free_from_then_on():
    forcing = TeacherForcing(every=16, until=3)
    assert [forcing.holds(batch) for batch in range(5)] == [True, True, True, False, False]
    assert not TeacherForcing().holds(0)


def test_synthetic_identities_are_seen_and_heard_as_in_generation_and_batch_norm_learns_nothing_from_them(windows):
    stage, batch = _head_pose(), _four(windows)
    generator = torch.Generator().manual_seed(5)
    faces, voices = stage.synthetic_identities(batch, torch.Generator().manual_seed(5))
    before = {name: buffer.clone() for name, buffer in stage.network.named_buffers()}
    synthetic_identities = stage.predict_synthetic_identities(batch, generator)
    assert all(module.training for module in stage.network.modules())
    for name, buffer in stage.network.named_buffers():
        assert torch.equal(buffer, before[name]), name
    stage.predict(batch)
    assert any(not torch.equal(buffer, before[name]) for name, buffer in stage.network.named_buffers())
    stage.network.load_state_dict(before, strict=False)
    torch.testing.assert_close(
        synthetic_identities, stage.eval().predict(batch._replace(portrait=faces, speech=voices))
    )


def test_a_stranger_has_a_changed_portrait_and_anothers_changed_voice(windows):
    stage, batch = _head_pose(), _four(windows)
    faces, voices = stage.synthetic_identities(batch, torch.Generator().manual_seed(5))
    assert 0 <= faces.min() <= faces.max() <= 1
    assert (faces - batch.portrait).abs().mean() > 0.1
    heard, said = (x.diff(dim=1).flatten(1) for x in (voices, batch.speech))
    likeness = torch.nn.functional.cosine_similarity(heard[:, None], said[None], dim=-1)
    # never the portrait's own
    assert [set(row.argsort().tolist()[2:]) for row in likeness] == [{3, 2}, {0, 3}, {1, 0}, {2, 1}]
    assert (voices - batch.speech.roll(1, dims=0)).abs().mean() > 0.1
    again, _ = stage.synthetic_identities(batch, torch.Generator().manual_seed(5))
    assert torch.equal(faces, again)


@pytest.mark.parametrize(
    ("weight", "since", "made"), [(0.0, 0, False), (1.0, 0, True), (1.0, 7, True), (1.0, 8, False)]
)
@pytest.mark.parametrize("forced", [False, True])
def test_synthetic_identities_are_made_where_they_have_a_weight_and_never_forced(windows, weight, since, made, forced):
    stage, batch = (
        _head_pose(forcing=TeacherForcing(every=16, until=8 * forced), unseen_identity_start_step=since).eval(),
        windows(4),
    )
    stage.weights |= {"unseen_identity_spread": weight}
    with torch.no_grad():
        own, synthetic_identities = stage.make(batch, 7, torch.Generator().manual_seed(5))
        torch.testing.assert_close(own, stage.predict_forced(batch) if forced else stage.predict(batch))
        assert (synthetic_identities is not None) == made
        if synthetic_identities is not None:
            torch.testing.assert_close(
                synthetic_identities, stage.predict_synthetic_identities(batch, torch.Generator().manual_seed(5))
            )


def _four(windows, seed=0):
    batch, generator = windows(0), torch.Generator().manual_seed(seed)
    portrait = torch.rand(4, *batch.portrait.shape[1:], generator=generator)
    speech = torch.randn(4, *batch.speech.shape[1:], generator=generator)
    return batch._replace(keys=batch.keys * 2, portrait=portrait, speech=speech)


def test_an_untrained_residual_head_pose_keeps_the_portraits_pose_and_then_learns_to_move(windows):
    residual = NetworksConfig(
        image_size=64,
        head_pose=HeadPoseConfig(width=4, blocks=(1, 1, 1, 1), state=8, layers=2, residual=True),
        pose_discriminator=NETWORKS.pose_discriminator,
        generator=NETWORKS.generator,
        keypoint_detector=NETWORKS.keypoint_detector,
        motion_field=NETWORKS.motion_field,
    )
    stage, batch = _head_pose(residual), windows(0)
    with torch.no_grad():
        still = stage.eval().predict(batch)
    assert torch.equal(still, still[:, :1].expand_as(still))
    (stage.train().predict(batch) - normalise(batch.pose)).abs().mean().backward()
    assert all(p.grad is not None and p.grad.any() for p in stage.network.move.parameters())


# ------------------------------------------------------------------------------------- motion_field
@QUIET
def test_drawn_frames_teach_the_motion_field_and_leave_the_generator(windows):
    stage, batch = _motion_field(rendering=Rendering(frames=2)), windows(WINDOW)
    made = stage.predict(batch)
    terms = stage.drawing(made.keypoints, batch, stage.step_generator(0))
    assert terms.keys() == {"pixel"}
    terms["pixel"].backward()
    assert any(parameter.grad is not None and parameter.grad.any() for parameter in stage.network.parameters())
    assert all(parameter.grad is None for parameter in stage.teacher.on(batch.portrait.device).parameters())


def test_the_share_of_predicted_poses_grows_from_one_batch_to_another():
    poses = PredictedPoses(network=build("head_pose", NETWORKS), share=0.5, start=10, end=20)
    assert [poses.share_at(batch) for batch in (0, 9, 10, 15, 20, 99)] == pytest.approx([0, 0, 0, 0.25, 0.5, 0.5])


def test_some_windows_get_the_predicted_pose_and_the_same_ones_each_time(windows):
    poses = PredictedPoses(network=build("head_pose", NETWORKS), share=0.5)
    stage, batch = _motion_field(poses=poses), windows(WINDOW)
    changed = {
        step: [not torch.equal(a, b) for a, b in zip(_posed(stage, batch, step), batch.pose, strict=True)]
        for step in range(8)
    }
    assert {True, False} == {one for each in changed.values() for one in each}
    assert changed[3] == [not torch.equal(a, b) for a, b in zip(_posed(stage, batch, 3), batch.pose, strict=True)]


def _posed(stage, batch, step):
    return stage.with_predicted_poses(batch, step, stage.step_generator(step)).pose


def test_stored_keypoints_teach_as_those_that_are_found_on_the_way(windows):
    stage, batch = _motion_field(), windows(WINDOW)
    found = stage.detect(batch.frames).keypoints
    stored = batch._replace(
        keypoints=torch.cat([found.value, found.jacobian.flatten(-2)], dim=-1), frames=batch.frames[:, :0]
    )
    made = stage.predict(batch)
    on_the_way, from_shards = stage.imitation(made, batch), stage.imitation(made, stored)
    assert from_shards.keys() == {"value", "jacobian"}
    assert all(torch.equal(term, on_the_way[name]) for name, term in from_shards.items())


# ----------------------------------------------------------------------------------- what all share
def test_augmentation_is_a_function_of_seed_and_step_and_the_same_for_both_frames():
    stage = _image_generator(augmentation=Augmentation(mirror=0.5, jitter=0.1))
    image = torch.rand(2, 3, 64, 64)
    batch = PairBatch(keys=["a", "b"], source=image, driving=image)
    once, again, later = (stage.augmented(batch, stage.step_generator(step)) for step in (3, 3, 4))
    assert torch.equal(once.source, once.driving)
    assert torch.equal(once.source, again.source)
    assert not torch.equal(once.source, later.source)


def test_the_rate_rises_then_falls_along_a_cosine():
    rates = [lr_lambda(step, warmup=4, milestones=(), cosine=10) for step in range(11)]
    assert rates[:2] == pytest.approx([0.25, 0.5 * (1 + torch.cos(torch.tensor(0.1 * torch.pi)).item()) / 2])
    assert rates[10] == pytest.approx(0, abs=1e-9)
    assert max(rates) == max(rates[3:5])


@QUIET
def test_a_term_that_is_no_number_is_named_with_its_first_step(monkeypatch, tmp_path, windows):
    real = torch.nn.functional.l1_loss
    calls = []

    def broken(made, truth):
        calls.append(1)
        return real(made, truth) * (torch.nan if len(calls) > 1 else 1)

    monkeypatch.setattr("a2h_models.training.head_pose.F.l1_loss", broken)
    with pytest.raises(FailedError, match="head_pose: the loss term l1 is no finite number since step 2"):
        _fit(_head_pose(), windows(0), batches=3, callbacks=[LastCheckpoint(tmp_path / "last.ckpt", every=3)])
    assert not list(tmp_path.iterdir())


class _FullDisk(pl.Callback):
    """No file may grow beyond a few bytes from the second batch on: the operating system refuses,
    as it does on a full disk.
    """

    def __init__(self):
        self.before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if batch_idx == 1:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, self.before[1]))


@QUIET
def test_a_full_disk_is_told_and_the_last_good_checkpoint_stays(tmp_path, windows):
    path, disk = tmp_path / "last.ckpt", _FullDisk()
    _fit(_head_pose(), windows(0), callbacks=[LastCheckpoint(path, every=1)])
    before = path.read_bytes()
    try:
        with pytest.raises(FailedError, match=r"head_pose: the checkpoint of step 2 cannot be written to .*last\.ckpt"):
            _fit(_head_pose(), windows(0), batches=2, callbacks=[disk, LastCheckpoint(path, every=2)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, disk.before)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]
