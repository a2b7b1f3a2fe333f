"""Trainings as small as they get: the made-up dataset, narrow networks, a tracking store of their own."""

import copy
import json
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from a2h_models.stages.callbacks import LastCheckpoint
from pipelines.config import DatasetConfig, PathsConfig
from pipelines.training_config import HeadPoseStage, ImageGeneratorStage, MotionFieldStage, TrainCommand, TrainerConfig

STEPS = 5  # crosses an epoch of five clips, ends between two validations
STOP = 3


@pytest.fixture(scope="session")
def command_in(made_up_dataset, tiny_networks):
    """Makes the command that trains a stage on the made-up dataset, with all that it writes below a folder."""

    def make(folder, logger, stage, *, steps=STEPS, **changes):
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
            logger=logger,
            paths=PathsConfig(runs=str(folder / "runs"), cache=str(folder / "cache")),
            run_name="run",
            register=False,
        )

    return make


@pytest.fixture
def command(command_in, tracking, tmp_path):
    """`command_in` for a folder and a tracking store of the test's own."""
    return partial(command_in, tmp_path, tracking)


@pytest.fixture
def keys(monkeypatch) -> Iterator[list[list[str]]]:
    """What each training batch held, in order."""
    seen: list[list[str]] = []

    def watch(self, trainer, module, batch, batch_idx):
        seen.append(batch.keys)

    monkeypatch.setattr(LastCheckpoint, "on_train_batch_start", watch)
    return seen


@pytest.fixture(scope="session")
def image_generator() -> Callable[..., ImageGeneratorStage]:
    """Its stage, without the perceptual network that must be fetched."""
    return lambda **changes: ImageGeneratorStage(pixel=10.0, perceptual=0.0, **changes)


@pytest.fixture(scope="session")
def stage_of(image_generator, stage_folders) -> Callable[..., Any]:
    """A stage by name; the teacher of motion_field is untrained."""

    def make(name, **changes):
        if name == "motion_field":
            return MotionFieldStage(**({"teacher": str(stage_folders["image_generator"])} | changes))
        return {"image_generator": image_generator, "head_pose": HeadPoseStage}[name](**changes)

    return make


@pytest.fixture(scope="session")
def state() -> Callable[..., dict[str, Any]]:
    """A checkpoint's content."""
    return lambda path: torch.load(path, weights_only=True)


@pytest.fixture(scope="session")
def assert_equal() -> Callable[..., None]:
    """To the last bit, through dicts and lists; says where not."""

    def check(a, b, where=""):
        if isinstance(a, torch.Tensor):
            assert torch.equal(a, b), where
        elif isinstance(a, dict):
            assert a.keys() == b.keys(), where
            for key in a:
                check(a[key], b[key], f"{where}/{key}")
        elif isinstance(a, list | tuple):
            assert len(a) == len(b), where
            for i, (x, y) in enumerate(zip(a, b, strict=True)):
                check(x, y, f"{where}/{i}")
        else:
            assert a == b, where

    return check


@pytest.fixture(scope="session")
def damage() -> Callable[..., Path]:
    """Copies a dataset, and overwrites the film of one of its samples."""

    def copy(dataset, key, folder):
        shutil.copytree(dataset, folder, dirs_exist_ok=True)
        for sidecar in folder.glob("a2h-*.json"):
            places = json.loads(sidecar.read_text())["index"]
            if key in places:
                offset, size = places[key]["mp4"]
                with sidecar.with_suffix(".tar").open("r+b") as tar:
                    tar.seek(offset)
                    tar.write(bytes(size))
        return folder

    return copy
