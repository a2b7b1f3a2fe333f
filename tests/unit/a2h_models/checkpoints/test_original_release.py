"""The table of names: one place for every tensor, both ways, at any width."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from a2h_models.checkpoints.original_release import (
    TABLE,
    from_release,
    ours_of,
    read_release,
    release_of,
    to_release,
    write_release,
)
from a2h_models.errors import CheckpointError, InputError
from a2h_models.networks import STAGES, NetworksConfig, build
from a2h_models.networks.dense_motion import DenseMotionConfig
from a2h_models.networks.generator import GeneratorConfig
from a2h_models.networks.head_pose import HeadPoseConfig
from a2h_models.networks.keypoint_detector import KeypointDetectorConfig
from a2h_models.networks.motion_field import MotionFieldConfig


def narrow(*, blend_source: bool = False) -> NetworksConfig:
    """The release's depths and kernels, few channels."""
    return NetworksConfig(
        keypoint_detector=KeypointDetectorConfig(width=2, max_width=8),
        generator=GeneratorConfig(
            width=2, max_width=4, blend_source=blend_source, dense_motion=DenseMotionConfig(width=2, max_width=8)
        ),
        motion_field=MotionFieldConfig(width=2, max_width=4),
        head_pose=HeadPoseConfig(width=2, state=8),
    )


@pytest.fixture(scope="module")
def modules() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    return {stage: build(stage, narrow()) for stage in STAGES}


@pytest.fixture
def content(modules: dict[str, nn.Module]) -> dict[str, dict[str, Tensor]]:
    return to_release(modules)


def test_names_translate_both_ways(content: dict[str, dict[str, Tensor]]) -> None:
    for part, state in content.items():
        ours = {name: ours_of(part, name) for name in state}
        assert len(set(ours.values())) == len(state)
        assert all(release_of(part, found) == name for name, found in ours.items())


def test_narrow_networks_survive_the_round_trip(tmp_path: Path, modules: dict[str, nn.Module]) -> None:
    path = write_release(modules, tmp_path / "narrow.pth.tar")
    again = read_release(path, narrow())
    for stage, module in modules.items():
        state = again[stage].state_dict()
        assert all(torch.equal(state[name], tensor) for name, tensor in module.state_dict().items())


def test_names_are_the_releases(shared: Path, content: dict[str, dict[str, Tensor]]) -> None:
    import json

    wanted = json.loads((shared / "parity" / "checkpoint_spec.json").read_text())
    assert {part: set(state) for part, state in content.items()} == {part: set(state) for part, state in wanted.items()}


def test_wrong_tensors_are_named(content: dict[str, dict[str, Tensor]]) -> None:
    del content["audio2pose"]["output.bias"]
    with pytest.raises(CheckpointError, match=r"audio2pose\.output\.bias is missing"):
        from_release(content, narrow(), source="test")
    content["audio2pose"]["output.bias"] = torch.zeros(7)
    with pytest.raises(CheckpointError, match=r"audio2pose\.output\.bias has shape \(7,\), not \(6,\)"):
        from_release(content, narrow(), source="test")
    content["audio2pose"]["extra.weight"] = torch.zeros(1)
    with pytest.raises(CheckpointError, match=r"audio2pose\.extra\.weight is unknown"):
        from_release(content, narrow(), source="test")


def test_a_blur_that_differs_by_channel_is_refused(content: dict[str, dict[str, Tensor]]) -> None:
    content["kp_detector"]["down.weight"][1] += 1
    with pytest.raises(CheckpointError, match=r"kp_detector\.down\.weight blurs"):
        from_release(content, narrow(), source="test")


def test_the_four_parts_are_needed() -> None:
    with pytest.raises(
        CheckpointError, match="must hold kp_detector, generator, audio2kp, audio2pose, not kp_detector"
    ):
        from_release({"kp_detector": {}}, source="test")


def test_a_blending_generator_is_no_release() -> None:
    modules = {stage: build(stage, narrow(blend_source=True)) for stage in STAGES}
    with pytest.raises(CheckpointError, match="blend"):
        to_release(modules)


class Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return (print, ("code from a checkpoint ran",))


def test_nothing_is_unpickled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "evil.pth.tar"
    torch.save({part: Evil() for part in TABLE}, path)
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_release(path)
    assert "ran" not in capsys.readouterr().out


def test_missing_and_damaged_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no checkpoint"):
        read_release(tmp_path / "audio2head.pth.tar")
    (tmp_path / "audio2head.pth.tar").write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_release(tmp_path / "audio2head.pth.tar")
