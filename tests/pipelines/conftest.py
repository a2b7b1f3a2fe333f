"""A tracking database that is made once, and the smallest networks that talk."""

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
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
        keypoint_detector=KeypointDetectorConfig(**narrow, downscale=2, head_kernel=3),
        generator=GeneratorConfig(**narrow, residual_blocks=1, blend_source=True, dense_motion=DenseMotionConfig(**narrow, downscale=2)),
        motion_field=MotionFieldConfig(**narrow, grid=32, head_kernel=3, lift_kernel=5),
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


@pytest.fixture(scope="session")
def made_up_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of sliding pictures: train has 3 + 2 clips, val has 2, each of 64 to 66 frames and of a person of its own."""
    import numpy as np

    from a2h_models.sample import Sample
    from pipelines.dataset import shards
    from pipelines.storage import Storage

    def clip(key: str, frames: int, seed: int) -> shards.Encoded:
        noise = np.random.default_rng(seed)
        picture = noise.integers(0, 256, (8, 8, 3), dtype=np.uint8).repeat(32, 0).repeat(32, 1)
        slide = np.cumsum(noise.normal(scale=2, size=frames))
        turns = np.linspace(0, 0.3, frames)[:, None] * noise.normal(size=3)
        sample = Sample(
            key=key,
            frames=np.stack([np.roll(picture, round(x), axis=1) for x in slide]),
            wave=np.zeros(frames * 640, np.int16),
            speech=noise.normal(size=(frames, 4, 41)).astype(np.float32),
            mel=np.zeros((frames * 4, 80), np.float16),
            pose=np.concatenate([turns, np.tile([20.0, 30.0, 280.0], (frames, 1))], axis=1).astype(np.float32),
            landmarks=np.zeros((frames, 468, 3), np.float16),
        )
        return shards.encode(sample)

    folder = tmp_path_factory.mktemp("made-up")
    for seed, (split, number, count) in enumerate([("train", 0, 3), ("train", 1, 2), ("val", 0, 2)]):
        lengths = {f"{split}{number}{'abc'[i]}": 64 + i for i in range(count)}
        samples = [clip(key, frames, 10 * seed + i) for i, (key, frames) in enumerate(lengths.items())]
        shards.write_shard(
            Storage(folder),
            shards.shard_name(split, number),
            samples,
            split=split,
            unit=f"unit{seed}",
            plan="plan",
            frames=lengths,
            identities={key: f"person-{key}" for key in lengths},
        )
    return folder


@pytest.fixture(scope="session")
def astronaut() -> np.ndarray:
    """A public-domain portrait with one face, RGB."""
    data = pytest.importorskip("skimage.data")
    return np.asarray(data.astronaut())


@pytest.fixture(scope="session")
def small_dataset(tmp_path_factory: pytest.TempPathFactory, astronaut: np.ndarray) -> Path:
    """Two clips in the test split and one in train: the astronaut, moved about in the picture, and a babble that rises and falls."""
    from a2h_models.sample import Sample
    from a2h_models.speech import log_mel, speech_features
    from pipelines.dataset.shards import ShardWriter, encode
    from pipelines.storage import Storage

    folder = tmp_path_factory.mktemp("dataset")
    out = Storage(folder)
    people = {"test": {"clip-a": "eve", "clip-b": "zoe"}, "train": {"clip-c": "ann"}}
    rng = np.random.default_rng(0)
    for split, clips in people.items():
        with ShardWriter(out, f"a2h-{split}-000000") as shard:
            for key, identity in clips.items():
                frames = np.stack([astronaut[20 + dy : 276 + dy, 100 + dx : 356 + dx] for dy, dx in rng.integers(0, 8, (24, 2))])
                loud = np.repeat(rng.uniform(100, 9000, len(frames)), 640)
                wave = (loud * rng.normal(0, 1, len(loud))).clip(-32767, 32767).astype(np.int16)
                pose = np.cumsum(rng.normal(0, 0.01, (len(frames), 6)), axis=0) + np.array([0, 0, 0, 0, 0, 280])
                sample = Sample(
                    key=key,
                    frames=frames,
                    wave=wave,
                    speech=speech_features(wave, frames=len(frames), f0="dio"),
                    mel=log_mel(wave, frames=len(frames)),
                    pose=pose.astype(np.float32),
                    landmarks=np.zeros((len(frames), 468, 3), np.float16),
                    meta={"identity": identity},
                )
                shard.add(encode(sample), frames=len(frames), identity=identity)
        shard.finish(split=split, unit=f"unit-{split}", plan="plan", ledger=[])
    (folder / "dataset.json").write_text(json.dumps({"fingerprint": "e" * 64}))
    return folder
