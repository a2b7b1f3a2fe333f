"""The networks' contract: shapes, gradients everywhere, sizes by config, weights as files."""

from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import save_file
from torch import nn

from a2h_models.errors import CheckpointError, ConfigError
from a2h_models.networks import (
    STAGES,
    HeadPose,
    ImageGenerator,
    MotionField,
    NetworksConfig,
    PatchDiscriminator,
    PoseDiscriminator,
    build,
    check,
    load,
    save,
)
from a2h_models.networks.dense_motion import DenseMotionConfig
from a2h_models.networks.discriminator import PatchDiscriminatorConfig, PoseDiscriminatorConfig
from a2h_models.networks.generator import GeneratorConfig
from a2h_models.networks.head_pose import HeadPoseConfig
from a2h_models.networks.keypoint_detector import KeypointDetectorConfig
from a2h_models.networks.motion_field import MotionFieldConfig
from a2h_models.networks.weights import on_meta


def narrow(*, blend_source: bool = False) -> NetworksConfig:
    return NetworksConfig(
        image_size=64,
        keypoints=4,
        keypoint_detector=KeypointDetectorConfig(width=4, max_width=16, depth=3, downscale=2, head_kernel=3),
        generator=GeneratorConfig(
            width=4,
            max_width=8,
            residual_blocks=1,
            blend_source=blend_source,
            dense_motion=DenseMotionConfig(width=4, max_width=16, depth=3, downscale=4, head_kernel=3),
        ),
        motion_field=MotionFieldConfig(
            width=4, max_width=8, depth=3, grid=32, head_kernel=3, lift_channels=2, lift_kernel=3
        ),
        head_pose=HeadPoseConfig(width=4, blocks=(1, 1, 1, 1), state=16),
        discriminator=PatchDiscriminatorConfig(width=4, max_width=16, depth=3),
        pose_discriminator=PoseDiscriminatorConfig(width=4, depth=2),
    )


def image_generator(config: NetworksConfig) -> ImageGenerator:
    network = build("image_generator", config)
    assert isinstance(network, ImageGenerator)
    return network


def without_gradient(module: nn.Module) -> list[str]:
    return [
        name
        for name, parameter in module.named_parameters()
        if parameter.grad is None or not parameter.grad.isfinite().all()
    ]


def test_sizes_at_paper_scale() -> None:
    """method.md §1: 14.22 M + 45.58 M, 84.91 M, 44.14 M parameters."""
    sizes = {
        stage: sum(p.numel() for p in on_meta(lambda stage=stage: build(stage, NetworksConfig())).parameters())
        for stage in STAGES
    }
    assert sizes == {"image_generator": 14_215_368 + 45_575_391, "motion_field": 84_914_064, "head_pose": 44_142_086}


@pytest.mark.parametrize("blend_source", [False, True])
def test_image_generator(*, blend_source: bool) -> None:
    network = image_generator(narrow(blend_source=blend_source))
    source, driving = torch.rand(2, 3, 64, 64), torch.rand(2, 3, 64, 64)
    keypoints = network.detector(driving)
    out = network.generator(source, network.detector(source), keypoints)
    assert keypoints.value.shape == (2, 4, 2)
    assert out.prediction.shape == (2, 3, 64, 64)
    assert out.deformation.shape == (2, 16, 16, 2)
    assert out.occlusion.shape == (2, 1, 16, 16)
    assert torch.allclose(out.mask.sum(1), torch.ones(2, 16, 16))
    assert 0 <= out.prediction.min() <= out.prediction.max() <= 1
    (out.prediction - driving).abs().mean().backward()
    assert not without_gradient(network)


def test_detect() -> None:
    found = image_generator(narrow()).detector.detect(torch.rand(2, 3, 64, 64))
    assert found.heatmap.shape == found.logits.shape == (2, 4, 30, 30)
    # identity before training
    assert torch.allclose(found.keypoints.jacobian, torch.eye(2).expand(2, 4, 2, 2), atol=1e-5)


def test_one_encoded_portrait_for_many_frames() -> None:
    network = image_generator(narrow()).eval()
    portrait, driving = torch.rand(1, 3, 64, 64), torch.rand(3, 3, 64, 64)
    with torch.no_grad():
        source, keypoints = network.detector(portrait), network.detector(driving)
        at_once = network.generator.render(network.generator.encode(portrait, source), keypoints).prediction
        singly = [
            network.generator(portrait, source, keypoints.each(lambda x, i=i: x[i : i + 1])).prediction
            for i in range(3)
        ]
    assert torch.allclose(at_once, torch.cat(singly), atol=1e-5)


def test_a_blending_generator_starts_as_a_copy() -> None:
    torch.manual_seed(0)
    network = image_generator(narrow(blend_source=True))
    ramp = torch.linspace(0.2, 0.8, 64)
    portrait = torch.stack([ramp.expand(64, 64), ramp[:, None].expand(64, 64), ramp.expand(64, 64)])[None].repeat(
        2, 1, 1, 1
    )
    keypoints = network.detector(portrait)
    made = network.generator(portrait, keypoints, keypoints).prediction
    assert (made - portrait).abs().mean() < 0.03


def test_motion_field() -> None:
    network = build("motion_field", narrow())
    assert isinstance(network, MotionField)
    out = network(torch.randn(2, 16, 4, 41), torch.rand(2, 16, 1, 256, 256) * 255, torch.rand(2, 3, 64, 64))
    assert out.keypoints.value.shape == (2, 16, 4, 2)
    assert out.keypoints.jacobian.shape == (2, 16, 4, 2, 2)
    assert out.heatmap.shape == out.logits.shape == (2, 16, 4, 30, 30)  # cell for cell the detector's
    (out.keypoints.value.square().sum() + out.keypoints.jacobian.square().sum()).backward()
    assert not without_gradient(network)


def test_motion_field_takes_smaller_boxes() -> None:
    network = build("motion_field", narrow()).eval()
    assert (
        network(torch.randn(1, 8, 4, 41), torch.zeros(1, 8, 1, 64, 64), torch.rand(1, 3, 64, 64)).logits.shape[1] == 8
    )
    with pytest.raises(ValueError, match="multiple"):
        network(torch.randn(1, 8, 4, 41), torch.zeros(1, 8, 1, 65, 65), torch.rand(1, 3, 64, 64))


def test_head_pose() -> None:
    network = build("head_pose", narrow())
    assert isinstance(network, HeadPose)
    pose = network(torch.randn(2, 9, 4, 41), torch.rand(2, 3, 64, 64))
    assert pose.shape == (2, 10, 6)
    pose.square().sum().backward()
    assert not without_gradient(network)


def test_head_pose_hears_a_signal_in_any_pieces() -> None:
    network = build("head_pose", narrow()).eval()
    assert isinstance(network, HeadPose)
    speech, portrait = torch.randn(1, 11, 4, 41), torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        state, first = network.start(portrait)
        state, some = network.advance(speech[:, :4], state)
        _, rest = network.advance(speech[:, 4:], state)
        assert torch.allclose(torch.cat([first, some, rest], dim=1), network(speech, portrait), atol=1e-6)


def test_discriminators() -> None:
    config = narrow()
    patch, pose = PatchDiscriminator(config.discriminator, keypoints=4), PoseDiscriminator(config.pose_discriminator)
    keypoints = image_generator(config).detector(torch.rand(2, 3, 64, 64)).each(torch.Tensor.detach)
    seen, heard = patch(torch.rand(2, 3, 64, 64), keypoints), pose(torch.randn(2, 64, 6))
    assert seen.patches.shape[:2] == heard.patches.shape[:2] == (2, 1)
    assert (len(seen.features), len(heard.features)) == (3, 2)
    (seen.patches.square().mean() + heard.patches.square().mean()).backward()
    assert not without_gradient(patch)
    assert not without_gradient(pose)


def test_config_is_a_structured_config() -> None:
    config = OmegaConf.merge(OmegaConf.structured(NetworksConfig), {"head_pose": {"blocks": [1, 2, 1, 1]}})
    assert OmegaConf.to_object(config).head_pose.blocks == [1, 2, 1, 1]


@pytest.mark.parametrize(
    ("key", "change"),
    [
        ("image_size", {"image_size": 96}),
        ("keypoint_detector.depth", {"keypoint_detector": KeypointDetectorConfig(depth=7)}),
        ("motion_field.grid", {"motion_field": MotionFieldConfig(grid=32)}),
        ("motion_field.head_kernel", {"motion_field": MotionFieldConfig(head_kernel=3)}),
    ],
)
def test_sizes_that_do_not_fit_are_named(key: str, change: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=f"networks.{key}="):
        check(NetworksConfig(**change))


def test_an_unknown_stage_is_named() -> None:
    with pytest.raises(ConfigError, match="vocoder"):
        build("vocoder", narrow())


class TestWeights:
    @pytest.mark.parametrize("stage", STAGES)
    def test_what_is_saved_is_loaded(self, stage: str, tmp_path: Path) -> None:
        module = build(stage, narrow(blend_source=True))
        assert save(module, stage, narrow(blend_source=True), tmp_path).name == f"{stage}.safetensors"
        again, config = load(tmp_path, stage)
        assert config == narrow(blend_source=True)
        assert type(again) is type(module)
        assert not again.training
        assert all(torch.equal(again.state_dict()[name], tensor) for name, tensor in module.state_dict().items())
        assert all(parameter.requires_grad for parameter in again.parameters())

    def test_saving_twice_gives_the_same_bytes(self, tmp_path: Path) -> None:
        module = build("head_pose", narrow())
        first, second = (save(module, "head_pose", narrow(), tmp_path / name).read_bytes() for name in "ab")
        assert first == second

    def test_tensors_that_do_not_fit_are_named(self, tmp_path: Path) -> None:
        other = narrow()
        other.head_pose.state = 8
        save(build("head_pose", narrow()), "head_pose", other, tmp_path)
        with pytest.raises(CheckpointError, match=r"out\.weight has shape \(6, 16\), not \(6, 8\)"):
            load(tmp_path, "head_pose")

    def test_another_stages_file_is_refused(self, tmp_path: Path) -> None:
        save(build("head_pose", narrow()), "head_pose", narrow(), tmp_path).rename(
            tmp_path / "motion_field.safetensors"
        )
        with pytest.raises(CheckpointError, match="of head_pose, not of motion_field"):
            load(tmp_path, "motion_field")

    def test_missing_damaged_and_foreign_files_are_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "head_pose.safetensors"
        with pytest.raises(CheckpointError, match="no weights at"):
            load(tmp_path, "head_pose")
        path.write_bytes(b"\x00" * 64)
        with pytest.raises(CheckpointError, match="cannot be read"):
            load(tmp_path, "head_pose")
        save_file({"x": torch.zeros(1)}, path)
        with pytest.raises(CheckpointError, match="not a weights file"):
            load(tmp_path, "head_pose")
