"""Training runs, resumes exactly, is not repeated, and leaves weights, a version and a page in the
tracking store.
"""

import copy
import json
import os
import signal

import pytest
import torch

from a2h_models.data_types import WINDOW
from a2h_models.errors import CheckpointError, ConfigError, DatasetError, FailedError
from a2h_models.networks import load
from a2h_models.training.callbacks import LastCheckpoint
from pipelines import media
from pipelines.config import ClusterConfig, KeypointsCommand
from pipelines.config.training import HeadPoseStage, ImageGeneratorStage, MotionFieldStage
from pipelines.registry import ModelRegistry, read_provenance
from pipelines.tracking import Tracker
from pipelines.training.build import make_stage
from pipelines.training.curriculum import train_all
from pipelines.training.fit import make_data
from pipelines.training.keypoints import keypoints
from pipelines.training.launch import train
from pipelines.training.run_description import DESCRIPTION
from pipelines.training.runs import run_folder
from pipelines.training.trainer import LIGHTNING, make_trainer, synchronised
from tests.fixtures.training import PLAIN_IMAGE_GENERATOR

STEPS, STOP = 5, 3  # as in conftest.py


def _image_generator(**changes):
    return ImageGeneratorStage(**(PLAIN_IMAGE_GENERATOR | changes))


@pytest.mark.slow
def test_sigterm_saves_and_the_next_start_goes_on(command, keys, monkeypatch, tmp_path, state, assert_equal):
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
    assert_equal(state(whole.checkpoint)["state_dict"], state(resumed.checkpoint)["state_dict"])


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


def test_the_run_leaves_weights_a_version_pictures_and_its_settings(
    command, tracking_config, made_up_dataset, state, assert_equal
):
    wanted = command(_image_generator(), steps=2, val_check_interval=2)
    wanted.register = True
    result = train(wanted)
    assert result.model_uri == "models:/a2h-image-generator/1"
    network, config = load(ModelRegistry.from_config(tracking_config).fetch(result.model_uri), "image_generator")
    assert config == wanted.networks
    trained = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
    assert_equal(trained, state(result.checkpoint)["state_dict"])
    version = ModelRegistry.from_config(tracking_config).find(result.model_uri)
    assert len(version.tags["dataset_fingerprint"]) == 64
    provenance = read_provenance(ModelRegistry.from_config(tracking_config).fetch(result.model_uri))
    assert provenance["identities"] == [f"person-train{key}" for key in ("0a", "0b", "0c", "1a", "1b")]
    assert {
        f"val/{name}{of}" for name in ("psnr", "psnr_moving", "ssim", "l1") for of in ("", "_copy")
    } == result.metrics.keys()
    with Tracker(tracking_config).session() as client:
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
    monkeypatch.setattr(
        "a2h_models.training.losses.ssim_over_time", lambda made, truth: (made - truth).sum() * torch.nan
    )
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
def test_accumulated_batches_make_one_step(stage, command, keys, state):
    once = train(command(stage, steps=2, accumulate_grad_batches=2))
    assert len(keys) == 2
    state = state(once.checkpoint)
    assert all(
        int(moments["step"]) == 1 for optimiser in state["optimizer_states"] for moments in optimiser["state"].values()
    )


def test_a_validation_between_two_steps_forgets_no_gradients(command, state, assert_equal):
    """With two optimisers Lightning knows of no accumulation, and would clear them."""
    settings = {"steps": 2, "accumulate_grad_batches": 2}
    quiet, looked = (
        command(HeadPoseStage(), **settings, limit_val_batches=0),
        command(HeadPoseStage(), **settings, val_check_interval=1),
    )
    looked.run_name = "looked"
    assert_equal(*(state(train(wanted).checkpoint)["optimizer_states"] for wanted in (quiet, looked)))


def test_a_finished_run_with_averaged_weights_goes_on_from_the_others(command, state, assert_equal):
    whole = train(command(HeadPoseStage(ema_decay=0.9), steps=4, limit_val_batches=0))
    further = command(HeadPoseStage(ema_decay=0.9), steps=2, limit_val_batches=0)
    further.run_name = "further"
    train(further)
    further.trainer.max_steps = 4
    a, b = (state(result.checkpoint) for result in (whole, train(further)))
    for part in ("state_dict", "current_model_state", "averaging_state", "optimizer_states"):
        assert_equal(a[part], b[part], part)
    assert any(not torch.equal(tensor, a["current_model_state"][name]) for name, tensor in a["state_dict"].items())


@pytest.mark.parametrize(
    ("name", "synchronised_there"), [("image_generator", True), ("motion_field", True), ("head_pose", False)]
)
def test_norms_are_synchronised_where_the_release_had_it(name, synchronised_there, command, stage_of, monkeypatch):
    wanted = command(stage_of(name), sync_batchnorm=True)
    stage = make_stage(wanted)
    with pytest.raises(ConfigError, match=r"trainer\.sync_batchnorm=true needs GPUs"):
        synchronised(wanted.trainer, stage)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    wanted.trainer.accelerator = "gpu"
    assert synchronised(wanted.trainer, stage) is synchronised_there
    converted = torch.nn.SyncBatchNorm.convert_sync_batchnorm(make_stage(wanted).trained)
    norms = [part for part in converted.modules() if isinstance(part, torch.nn.modules.batchnorm._BatchNorm)]
    assert norms
    assert all(isinstance(norm, torch.nn.SyncBatchNorm) for norm in norms)
    assert converted.state_dict().keys() == stage.trained.state_dict().keys()


def test_a_teacher_that_is_no_image_generator_is_refused(command, stage_folders):
    with pytest.raises(CheckpointError, match=r"image_generator\.safetensors"):
        train(command(MotionFieldStage(teacher=str(stage_folders["head_pose"])), steps=1))


def test_motion_field_learns_from_companion_shards_of_its_teacher_and_of_no_other(
    command, stage_folders, made_up_dataset, tmp_path
):
    for path in made_up_dataset.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    wanted = command(
        MotionFieldStage(teacher=str(stage_folders["image_generator"]), companions=True, heatmap=0.0), steps=1
    )
    wanted.dataset.path = str(tmp_path)
    with pytest.raises(
        DatasetError,
        match=r"a2h-train-000000\.tar has no keypoint shard of detector \w{12}; it has those of no detector",
    ):
        train(wanted)
    looked = KeypointsCommand(dataset=str(tmp_path), detector=wanted.stage.teacher, cluster=ClusterConfig(workers=0))
    keypoints(looked)
    assert train(wanted).steps == 1
    for path in tmp_path.glob("*.kp-*"):
        path.rename(tmp_path / path.name.replace(".kp-", ".kp-00"))
    wanted.run_name = "again"
    with pytest.raises(DatasetError, match="it has those of 00"):
        train(wanted)


def test_heatmaps_cannot_come_from_companion_shards(command, stage_folders):
    stage = MotionFieldStage(teacher=str(stage_folders["image_generator"]), companions=True)
    with pytest.raises(ConfigError, match="which companion shards do not hold"):
        make_stage(command(stage))


def test_a_stage_begins_with_the_weights_it_is_told_to(command, stage_folders, assert_equal):
    folder = stage_folders["image_generator"]
    stage = make_stage(command(_image_generator(init_from=str(folder), adversarial=1.0, feature_matching=10.0)))
    theirs, _ = load(folder, "image_generator")
    assert_equal(stage.trained.state_dict(), theirs.state_dict())
    assert stage.steps_per_batch == 2


def test_a_run_is_measured_on_the_test_split_at_its_end_or_later(command, made_up_dataset, tmp_path):
    for path in made_up_dataset.glob("a2h-*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    for path in made_up_dataset.glob("a2h-val-*.json"):
        name = path.name.replace("val", "test")
        (tmp_path / name).write_text(path.read_text().replace('"val"', '"test"').replace("a2h-val", "a2h-test"))
        (tmp_path / name).with_suffix(".tar").write_bytes(path.with_suffix(".tar").read_bytes())
    later, at_once = (
        command(HeadPoseStage(), steps=1, val_check_interval=1),
        command(HeadPoseStage(), steps=1, val_check_interval=1),
    )
    later.dataset.path = at_once.dataset.path = str(tmp_path)
    before = train(later)
    later.test = at_once.test = True
    at_once.run_name = "at-once"
    after = train(later)
    assert after.metrics.items() > before.metrics.items()
    assert train(at_once).metrics == pytest.approx(after.metrics)
    assert after.metrics["test/pose_ssim"] == pytest.approx(after.metrics["val/pose_ssim"])
    assert train(later) == after


@pytest.mark.filterwarnings("ignore:.*script_method.*is deprecated.*:DeprecationWarning")  # torch.compile of torch.jit
@pytest.mark.parametrize(
    ("setting", "seen"),
    [
        ({"precision": "bf16-mixed"}, lambda trainer, _: trainer.precision == "bf16-mixed"),
        (
            {"channels_last": True},
            lambda _, stage: stage.network.generator.last.weight.is_contiguous(memory_format=torch.channels_last),
        ),
        ({"compile": True}, lambda _, stage: stage.network.generator._compiled_call_impl is not None),
        ({"overfit_batches": 2}, lambda trainer, _: trainer.overfit_batches == 2),
        ({"deterministic": True}, lambda _, stage: torch.are_deterministic_algorithms_enabled()),
    ],
    ids=["bf16", "channels_last", "compile", "overfit", "deterministic"],
)
def test_each_setting_of_the_trainer_arrives(setting, seen, command, tmp_path):
    wanted = command(_image_generator(), **setting)
    stage = make_stage(wanted)
    trainer = make_trainer(wanted, tmp_path, stage, make_data(wanted), LIGHTNING)
    try:
        assert seen(trainer, stage)
    finally:
        torch.use_deterministic_algorithms(mode=False)


@pytest.mark.filterwarnings("ignore:.*script_method.*is deprecated.*:DeprecationWarning")  # torch.compile of torch.jit
def test_what_head_pose_looks_and_listens_with_is_compiled_for_synthetic_identities_too(command):
    network = make_stage(command(HeadPoseStage(unseen_identity_spread=1.0), compile=True)).trained
    assert [name for name, module in network.named_modules() if module._compiled_call_impl is not None] == [
        "listen",
        "look",
    ]


def test_overfitting_sees_the_same_batch_again_and_again(command, keys):
    train(command(HeadPoseStage(), steps=3, overfit_batches=1))
    assert len(keys) == 3
    assert keys[0] == keys[1] == keys[2]


def test_overfitting_goes_on_with_its_batches_after_a_resume(command, keys, state, assert_equal, tmp_path):
    whole = train(command(HeadPoseStage(), steps=5, overfit_batches=2, limit_val_batches=0))
    straight, keys[:] = list(keys), []
    torn = command(HeadPoseStage(), steps=3, overfit_batches=2, limit_val_batches=0)
    torn.run_name = "torn"
    train(torn)
    torn.trainer.max_steps = 5
    resumed = train(torn)
    assert straight == keys == [keys[0], keys[1]] * 2 + [keys[0]]
    assert keys[0] != keys[1]
    assert_equal(state(whole.checkpoint)["state_dict"], state(resumed.checkpoint)["state_dict"])


def test_the_profiler_says_where_the_time_went(command):
    result = train(command(HeadPoseStage(), steps=1, profiler="simple"))
    assert "run_training_batch" in (result.folder / "fit-profile.txt").read_text()


def test_all_stages_are_trained_in_order_and_only_once(command, keys, monkeypatch, tmp_path):
    given = command(HeadPoseStage(), steps=1)

    def small(name, overrides):
        assert overrides[0] == f"stage={overrides[0].partition('=')[2]}"
        stage = {
            "image_generator": _image_generator(),
            "head_pose": HeadPoseStage(),
            "motion_field": MotionFieldStage(),
        }
        wanted = copy.deepcopy(given)
        wanted.stage, wanted.run_name, wanted.register = stage[overrides[0].partition("=")[2]], "", True
        return wanted

    monkeypatch.setattr("pipelines.training.curriculum.compose", small)
    results = list(train_all([]))
    assert [result.model_uri.partition("a2h-")[2] for result in results] == [
        "image-generator/1",
        "head-pose/1",
        "motion-field/1",
    ]
    run = json.loads((results[2].folder / "run.json").read_text())
    assert run["config"]["stage"]["teacher"] == results[0].model_uri
    seen = len(keys)
    assert list(train_all([])) == results
    assert len(keys) == seen


def test_a_run_name_cannot_be_shared_by_all_stages():
    with pytest.raises(ConfigError, match="run_name belongs to one stage"):
        list(train_all(["run_name=mine"]))


def test_a_run_says_what_it_ran_with_and_shows_films(command, tracking_config, made_up_dataset):
    result = train(command(HeadPoseStage(), steps=1, val_check_interval=1))
    written = json.loads((result.folder / "run.json").read_text())
    assert written["run_id"] == result.run_id
    assert written["config"]["stage"]["ssim"] == 100.0
    with Tracker(tracking_config).session() as client:
        page = client.get_run(result.run_id).data.tags[DESCRIPTION]
        films = [file.path for file in client.list_artifacts(result.run_id, "films")]
    assert page.startswith("**head_pose**, 1 batches of 2 at 64 pixels")
    assert f"`{made_up_dataset}`" in page
    assert "5 clips of 5 people to learn from, 2 to validate on, 0 to test on" in page
    assert films == ["films/00000001.mp4"]
    with media.open_video(result.folder / films[0]) as film:
        assert (film.frames, film.width) == (WINDOW, 2 * film.height)


def test_progress_goes_on_with_its_name_and_its_end(command, stage_of, capsys):
    wanted = command(stage_of("head_pose"), steps=2, limit_val_batches=0)
    wanted.dataset.pairs_per_clip, wanted.trainer.progress_bar = 1, True
    train(wanted)
    assert "head_pose: 100%" in capsys.readouterr().out
    wanted.trainer.max_steps = 4
    train(wanted)
    lines = [line for line in capsys.readouterr().out.split("\r") if "it/s" in line or "/4" in line]
    assert lines[-1].startswith("head_pose: 100%")
    assert "| 4/4 " in lines[-1]
