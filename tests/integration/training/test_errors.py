"""What goes wrong says who is to blame, and leaves the last good checkpoint as it was."""

import re

import pytest
import torch

from a2h_models.errors import CheckpointError, ConfigError, DatasetError
from a2h_models.networks import build, load, save
from pipelines.config import ClusterConfig, KeypointsCommand
from pipelines.training.build import make_stage
from pipelines.training.keypoints import keypoints
from pipelines.training.launch import train

STEPS, STOP = 5, 3  # as in conftest.py


@pytest.fixture
def begun(command, stage_of):
    """Trains a stage for a while; gives the command that would go on, and looks after its
    checkpoint.
    """
    kept = {}

    def begin(name, **changes):
        wanted = command(stage_of(name, **changes), steps=STOP, limit_val_batches=0)
        wanted.dataset.pairs_per_clip = 2 if name == "image_generator" else 1
        last = train(wanted).checkpoint
        kept[last] = last.read_bytes()
        wanted.trainer.max_steps = STEPS
        return wanted

    yield begin
    assert kept
    for last, content in kept.items():
        assert last.read_bytes() == content
        assert [path.name for path in last.parent.iterdir()] == ["last.ckpt"]


@pytest.fixture
def elsewhere(made_up_dataset, damage, tmp_path):
    """The same clips, of which one is damaged: it is the fourth batch that has it."""
    return lambda key: str(damage(made_up_dataset, key, tmp_path / "damaged"))


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_damaged_sample_is_named_with_its_shard(begun, elsewhere, workers):
    """Also by a loader process, whose error arrives as it was raised."""
    wanted = begun("head_pose")
    wanted.dataset.path, wanted.dataset.workers = elsewhere("train1a"), workers
    with pytest.raises(
        DatasetError, match=r"damaged/a2h-train-000001\.tar: sample train1a: .*cannot be opened"
    ) as caught:
        train(wanted)
    assert "Traceback" not in caught.value.message
    assert "a2h verify" in caught.value.hint


def test_a_companion_shard_that_is_gone_is_named(begun, made_up_dataset, tmp_path, stage_folders):
    wanted = begun("motion_field")
    for path in made_up_dataset.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    wanted.dataset.path, wanted.stage.companions, wanted.stage.heatmap = str(tmp_path), True, 0.0
    keypoints(KeypointsCommand(dataset=str(tmp_path), detector=wanted.stage.teacher, cluster=ClusterConfig(workers=0)))
    gone = next(tmp_path.glob("a2h-train-000001.kp-*.tar"))
    gone.unlink()
    with pytest.raises(DatasetError, match=re.escape(gone.name) + " is missing, but its sidecar is there"):
        train(wanted)


def test_a_teacher_of_another_scale_is_named(begun, stage_folders, tiny_networks, tmp_path):
    wanted = begun("motion_field")
    wanted.stage.teacher = _wider("image_generator", tiny_networks, tmp_path / "wider")
    with pytest.raises(ConfigError, match=r"the teacher .*wider has networks\.keypoints=11, not 10"):
        train(wanted)


@pytest.mark.parametrize("name", ["image_generator", "head_pose"])
def test_weights_of_another_stage_are_refused(begun, stage_folders, name):
    wanted = begun(name)
    wanted.stage.init_from = str(stage_folders["motion_field"])
    with pytest.raises(CheckpointError, match=rf"no weights at .*{name}\.safetensors"):
        train(wanted)


def test_weights_of_another_scale_are_refused(begun, tiny_networks, tmp_path):
    wanted = begun("image_generator")
    wanted.stage.init_from = _wider("image_generator", tiny_networks, tmp_path / "wider")
    with pytest.raises(ConfigError, match=r"image_generator .*wider has networks\.keypoints=11, not 10") as caught:
        train(wanted)
    assert "stage.init_from" in caught.value.hint


def test_weights_fit_whether_sizes_were_composed_as_lists_or_read_as_tuples(begun, stage_folders):
    wanted = begun("head_pose")
    wanted.stage.init_from = str(stage_folders["head_pose"])
    wanted.networks.head_pose.blocks = list(wanted.networks.head_pose.blocks)
    begins, theirs = (
        make_stage(wanted).trained.state_dict(),
        load(stage_folders["head_pose"], "head_pose")[0].state_dict(),
    )
    assert all(torch.equal(value, theirs[name]) for name, value in begins.items())


def _wider(stage, networks, folder):
    from dataclasses import replace

    wider = replace(networks, keypoints=11)
    save(build(stage, wider), stage, wider, folder)
    return str(folder)
