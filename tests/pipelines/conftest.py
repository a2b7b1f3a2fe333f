"""A tracking database that is made once, and the smallest networks that talk."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pipelines import registry
from pipelines.config import LoggerConfig, RegisterCommand

if TYPE_CHECKING:
    from a2h_models.networks import NetworksConfig


def local(folder: Path) -> LoggerConfig:
    return LoggerConfig(
        tracking_uri=f"sqlite:///{folder / 'mlflow.db'}",
        artifacts=str(folder / "artifacts"),
        cache=str(folder / "cache"),
        experiment="tests",
    )


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow takes seconds to make its tables, so that happens once."""
    folder = tmp_path_factory.mktemp("mlflow")
    registry.tracking_uri(local(folder))
    with registry.session(local(folder)):
        pass
    return folder / "mlflow.db"


@pytest.fixture
def tracking(empty_database: Path, tmp_path: Path) -> LoggerConfig:
    """A tracking store of the test's own."""
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    return local(tmp_path)


@pytest.fixture(scope="session")
def tiny_networks() -> "NetworksConfig":
    """The real networks, as narrow as they get: 64 pixels, under a second a window."""
    from a2h_models.networks import NetworksConfig
    from a2h_models.networks.dense_motion import DenseMotionConfig
    from a2h_models.networks.generator import GeneratorConfig
    from a2h_models.networks.head_pose import HeadPoseConfig
    from a2h_models.networks.keypoint_detector import KeypointDetectorConfig
    from a2h_models.networks.motion_field import MotionFieldConfig

    narrow = {"width": 4, "max_width": 8, "depth": 2}
    return NetworksConfig(
        image_size=64,
        keypoint_detector=KeypointDetectorConfig(**narrow, downscale=2),
        generator=GeneratorConfig(**narrow, residual_blocks=1, blend_source=True, dense_motion=DenseMotionConfig(**narrow, downscale=2)),
        motion_field=MotionFieldConfig(**narrow, grid=32),
        head_pose=HeadPoseConfig(width=4, blocks=(1, 1, 1, 1), state=8, layers=2),
    )


@pytest.fixture(scope="session")
def stage_folders(tmp_path_factory: pytest.TempPathFactory, tiny_networks: "NetworksConfig") -> dict[str, Path]:
    """Untrained weights of each stage, in a folder of its own as training leaves them."""
    import torch

    from a2h_models.networks import STAGES, build, save

    folders = {stage: tmp_path_factory.mktemp(stage) for stage in STAGES}
    for seed, (stage, folder) in enumerate(folders.items()):
        torch.manual_seed(seed)
        save(build(stage, tiny_networks), stage, tiny_networks, folder)
    return folders


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory, stage_folders: dict[str, Path]) -> Path:
    """The folder of a bundle that was never registered."""
    from pipelines.registry.models import join

    folder = tmp_path_factory.mktemp("bundle")
    join(stage_folders, folder)
    return folder


@pytest.fixture(scope="session")
def registered_world(tmp_path_factory: pytest.TempPathFactory, empty_database: Path, stage_folders: dict[str, Path]) -> Path:
    """A folder with a tracking store that holds version 1 of each stage and of the bundle, trained on ann and bob."""
    folder = tmp_path_factory.mktemp("registered")
    shutil.copy(empty_database, folder / "mlflow.db")
    logger = local(folder)
    for stage, weights in stage_folders.items():
        run_id = registry.open_run(logger, run_name=stage, tags={"dataset_fingerprint": "f" * 64})
        tags = {"dataset_fingerprint": "f" * 64, "config_hash": "c" * 16}
        registry.register_stage(weights, stage, run_id=run_id, tags=tags, identities=["ann", "bob"], logger=logger)
    registry.register_bundle(RegisterCommand(logger=logger))
    return folder


@pytest.fixture
def registered(registered_world: Path, tmp_path: Path) -> LoggerConfig:
    """The registered world's own database, copied; its artefacts are shared, so tests must not change those."""
    shutil.copy(registered_world / "mlflow.db", tmp_path / "mlflow.db")
    return local(tmp_path)
