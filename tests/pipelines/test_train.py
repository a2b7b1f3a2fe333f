"""Training runs, resumes exactly, is not repeated, and leaves weights, a version and a page in the tracking store."""

import copy
import json
import os
import signal
from collections.abc import Iterator

import pytest
import torch

from a2h_models.errors import CheckpointError, ConfigError, FailedError
from a2h_models.networks import load
from a2h_models.stages.callbacks import LastCheckpoint
from pipelines import registry
from pipelines.config import ClusterConfig, DatasetConfig, PathsConfig
from pipelines.train import run_folder, train
from pipelines.training_config import HeadPoseStage, ImageGeneratorStage, MotionFieldStage, TrainCommand, TrainerConfig

STEPS = 5  # crosses an epoch of five clips, ends between two validations
STOP = 3


@pytest.fixture
def command(made_up_dataset, tiny_networks, tracking, tmp_path):
    """Makes the command that trains a stage on the made-up dataset."""

    def make(stage, *, steps=STEPS, **changes):
        trainer = TrainerConfig(
            max_steps=steps,
            val_check_interval=STOP,
            limit_val_batches=1,
            log_every_n_steps=1,
            accelerator="cpu",
            checkpoint_every_n_steps=STOP,
            progress_bar=False,
        )
        for name, value in changes.items():
            setattr(trainer, name, value)
        return TrainCommand(
            dataset=DatasetConfig(path=str(made_up_dataset), batch_size=2, pairs_per_clip=2),
            stage=stage,
            networks=copy.deepcopy(tiny_networks),
            trainer=trainer,
            logger=tracking,
            paths=PathsConfig(runs=str(tmp_path / "runs"), cache=str(tmp_path / "cache")),
            run_name="run",
            register=False,
        )

    return make


@pytest.fixture
def keys(monkeypatch) -> Iterator[list[list[str]]]:
    """What each training batch held, in order."""
    seen: list[list[str]] = []

    def watch(self, trainer, module, batch, batch_idx):
        seen.append(batch.keys)

    monkeypatch.setattr(LastCheckpoint, "on_train_batch_start", watch)
    return seen


def _image_generator(**changes):
    return ImageGeneratorStage(pixel=10.0, perceptual=0.0, **changes)


def _stage(name, stage_folders):
    """A stage's config; the teacher of motion_field is untrained."""
    if name == "motion_field":
        return MotionFieldStage(teacher=str(stage_folders["image_generator"]))
    return {"image_generator": _image_generator(ema_decay=0.9), "head_pose": HeadPoseStage()}[name]


def _state(path):
    return torch.load(path, weights_only=True)


def _assert_equal(a, b, where=""):
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b), where
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for key in a:
            _assert_equal(a[key], b[key], f"{where}/{key}")
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), where
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            _assert_equal(x, y, f"{where}/{i}")
    else:
        assert a == b, where


@pytest.mark.slow
@pytest.mark.parametrize("name", ["image_generator", "head_pose", "motion_field"])
def test_a_run_that_is_stopped_and_resumed_mid_epoch_ends_bit_equal(name, command, stage_folders, keys, tmp_path):
    stage = _stage(name, stage_folders)
    whole = train(command(stage))
    straight, keys[:] = list(keys), []

    torn = command(stage, steps=STOP)
    torn.paths.runs = str(tmp_path / "torn")
    train(torn)
    torch.manual_seed(1234)  # whatever the resumed process does with the global generator must not matter
    torn.trainer.max_steps = STEPS
    resumed = train(torn)

    assert keys == straight
    assert len(straight) == STEPS
    a, b = _state(whole.checkpoint), _state(resumed.checkpoint)
    for part in ("state_dict", "optimizer_states", "lr_schedulers", "global_step"):
        _assert_equal(a[part], b[part], part)
    data = a["WindowDataModule" if name != "image_generator" else "PairDataModule"]
    assert data["batches"] == STEPS
    _assert_equal(whole.metrics, resumed.metrics)


@pytest.mark.slow
def test_sigterm_saves_and_the_next_start_goes_on(command, keys, monkeypatch, tmp_path):
    whole = train(command(_image_generator()))
    straight, keys[:] = list(keys), []

    taken = command(_image_generator())
    taken.paths.runs = str(tmp_path / "taken")
    with monkeypatch.context() as patch:
        patch.setattr(LastCheckpoint, "on_train_batch_start", _send_sigterm(keys, at=2))
        with pytest.raises(SystemExit) as stopped:
            train(taken)
    assert stopped.value.code in {0, None}
    resumed = train(taken)
    assert keys == straight
    _assert_equal(_state(whole.checkpoint)["state_dict"], _state(resumed.checkpoint)["state_dict"])


def _send_sigterm(keys, *, at):
    def send(self, trainer, module, batch, batch_idx):
        keys.append(batch.keys)
        if batch_idx == at:
            os.kill(os.getpid(), signal.SIGTERM)

    return send


def test_a_finished_run_is_not_trained_again_and_others_are(command, keys):
    once = train(command(HeadPoseStage(), steps=2))
    assert len(keys) == 2
    assert train(command(HeadPoseStage(), steps=2)) == once
    assert len(keys) == 2
    further = train(command(HeadPoseStage(), steps=3))
    assert len(keys) == 3
    assert (once.steps, further.steps) == (2, 3)
    assert further.run_id == once.run_id


def test_a_run_name_that_is_taken_is_refused_without_resume(command):
    train(command(HeadPoseStage(), steps=1))
    again = command(HeadPoseStage(), steps=1)
    again.resume = False
    with pytest.raises(ConfigError, match="holds a run already"):
        train(again)


def test_a_run_of_other_networks_cannot_be_gone_on_with(command):
    train(command(HeadPoseStage(), steps=1))
    other = command(HeadPoseStage(), steps=2)
    other.networks.head_pose.state = 16
    with pytest.raises(ConfigError, match="holds a run of head_pose with other networks"):
        train(other)


def test_another_batch_size_cannot_resume_a_run(command):
    train(command(HeadPoseStage(), steps=1))
    other = command(HeadPoseStage(), steps=2)
    other.dataset.batch_size = 4
    with pytest.raises(CheckpointError, match=r"another dataset\.batch_size"):
        train(other)


def test_the_run_leaves_weights_a_version_pictures_and_its_settings(command, tracking, made_up_dataset):
    wanted = command(_image_generator(), steps=2, val_check_interval=2)
    wanted.register = True
    result = train(wanted)
    assert result.model_uri == "models:/a2h-image-generator/1"
    network, config = load(registry.fetch(result.model_uri, tracking), "image_generator")
    assert config == wanted.networks
    trained = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
    _assert_equal(trained, _state(result.checkpoint)["state_dict"])
    version = registry.find(result.model_uri, tracking)
    assert len(version.tags["dataset_fingerprint"]) == 64
    provenance = registry.read_provenance(registry.fetch(result.model_uri, tracking))
    assert provenance["identities"] == [f"person-train{key}" for key in ("0a", "0b", "0c", "1a", "1b")]
    assert {f"val/{name}{of}" for name in ("psnr", "ssim", "l1") for of in ("", "_copy")} == result.metrics.keys()
    with registry.session(tracking) as client:
        run = client.get_run(result.run_id)
        assert run.info.status == "FINISHED"
        assert run.data.params["stage.pixel"] == "10.0"
        assert run.data.params["dataset.path"] == str(made_up_dataset)
        assert {"train/loss", "train/pixel", "val/psnr"} <= run.data.metrics.keys()
        assert [file.path for file in client.list_artifacts(result.run_id, "pictures")] == ["pictures/00000002.png"]


def test_motion_field_learns_from_the_newest_registered_image_generator(command, registered):
    wanted = command(MotionFieldStage(), steps=1, val_check_interval=1)
    wanted.logger = registered
    names = ("keypoint_error", "keypoint_error_repeat", "mouth_error", "mouth_error_repeat")
    assert {f"val/{name}" for name in names} == train(wanted).metrics.keys()


def test_a_teacher_of_another_scale_is_refused(command, stage_folders):
    wanted = command(MotionFieldStage(teacher=str(stage_folders["image_generator"])), steps=1)
    wanted.networks.keypoint_detector.width = 8
    with pytest.raises(ConfigError, match=r"has networks\.keypoint_detector="):
        train(wanted)


def test_a_loss_that_is_no_number_stops_the_run_and_spares_the_last_checkpoint(command, monkeypatch):
    train(command(HeadPoseStage(), steps=STOP))
    before = run_folder(command(HeadPoseStage())).joinpath("checkpoints", "last.ckpt").read_bytes()
    monkeypatch.setattr("a2h_models.losses.ssim_over_time", lambda made, truth: (made - truth).sum() * torch.nan)
    with pytest.raises(FailedError, match=f"head_pose: the loss term ssim is no finite number since step {STOP + 1}"):
        train(command(HeadPoseStage()))
    assert run_folder(command(HeadPoseStage())).joinpath("checkpoints", "last.ckpt").read_bytes() == before


def test_a_dry_run_leaves_nothing(command, tmp_path):
    result = train(command(HeadPoseStage(), fast_dev_run=True))
    assert result.run_id == ""
    assert not list((tmp_path / "runs").rglob("*.ckpt"))
    assert not (result.folder / "result.json").exists()


def test_a_dataset_without_a_val_split_is_trained_on_without_validation(command, made_up_dataset, tmp_path):
    for path in made_up_dataset.glob("a2h-train-*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    wanted = command(HeadPoseStage(), steps=2, val_check_interval=1)
    wanted.dataset.path = str(tmp_path)
    assert train(wanted).metrics == {}


@pytest.mark.parametrize("stage", [HeadPoseStage(), _image_generator()], ids=["head_pose", "image_generator"])
def test_accumulated_batches_make_one_step(stage, command, keys):
    once = train(command(stage, steps=2, accumulate_grad_batches=2))
    assert len(keys) == 2
    state = _state(once.checkpoint)
    assert all(int(moments["step"]) == 1 for optimiser in state["optimizer_states"] for moments in optimiser["state"].values())


def test_a_run_says_what_it_ran_with(command):
    result = train(command(HeadPoseStage(), steps=1))
    written = json.loads((result.folder / "run.json").read_text())
    assert written["run_id"] == result.run_id
    assert written["config"]["stage"]["ssim"] == 100.0


@pytest.mark.slow
def test_ray_train_gives_the_same_weights_as_this_process(command, tmp_path):
    torch.set_num_threads(1)  # as Ray gives a worker of one core: sums in another order round differently
    here = train(command(HeadPoseStage(), steps=3))
    torch.set_num_threads(2)
    wanted = command(HeadPoseStage(), steps=3)
    wanted.paths.runs = str(tmp_path / "elsewhere")
    wanted.cluster = ClusterConfig(name="ray", workers=1, max_failures=0)
    there = train(wanted)
    assert there.steps == 3
    assert list((tmp_path / "elsewhere" / "ray" / "run").rglob("checkpoint.ckpt"))
    _assert_equal(_state(here.checkpoint)["state_dict"], _state(there.checkpoint)["state_dict"])
    assert train(wanted) == there
