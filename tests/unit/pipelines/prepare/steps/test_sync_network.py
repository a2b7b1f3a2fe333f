"""Whom preparation asks about sound and lips: found by name, folder or file, known by its weights,
and the same for every worker.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from a2h_models.errors import CheckpointError, ConfigError, InputError, RegistryError
from a2h_models.networks import JUDGE, NetworksConfig, build, save
from a2h_models.networks.sync_expert import SyncExpert, SyncExpertConfig
from pipelines.config import FeaturesConfig, PrepareConfig, TrackingConfig
from pipelines.prepare.planning.plan import Video, plan
from pipelines.prepare.steps.align_sound import Offset, correction, find_offset
from pipelines.prepare.steps.sync_network import (
    EXPERT_FILE,
    SyncNetworkRef,
    find_sync_network,
    load_sync_network,
    pin_weights,
)
from pipelines.registry import ModelRegistry
from pipelines.registry.pretrained import fetcher
from pipelines.tracking import Tracker

NETWORKS = NetworksConfig(sync_expert=SyncExpertConfig(size=8, width=4, embedding=8))


def train(folder: Path, seed: int = 0) -> Path:
    """Weights as a training would leave them."""
    torch.manual_seed(seed)
    save(build(JUDGE, NETWORKS), JUDGE, NETWORKS, folder)
    return folder


@pytest.fixture
def expert(tmp_path: Path) -> Path:
    return train(tmp_path / "expert")


def find(expert: str | Path, tracking: TrackingConfig | None = None, syncnet: str = "") -> SyncNetworkRef | None:
    """What `a2h prepare` does: the registry pins the name, and finds the folder."""
    tracking = tracking or TrackingConfig()
    name = str(expert)
    if name.startswith("models:/"):
        name = ModelRegistry.from_config(tracking).pin(name)
    return find_sync_network(
        PrepareConfig(features=FeaturesConfig(sync_expert=name, syncnet=syncnet)), fetcher(tracking)
    )


def hash_of_plan(judge: SyncNetworkRef | None) -> str:
    return plan(
        [Video(file="a.mp4", sha256="a" * 64, size=1, identity="ann", frames=99)], pin_weights(PrepareConfig(), judge)
    ).hash


# -------------------------------------------------------------------------------- who is found
def test_nobody_is_asked_unless_named() -> None:
    assert find("") is None
    assert pin_weights(PrepareConfig(), None) == PrepareConfig()


def test_a_folder_its_file_and_a_name_of_the_registry_are_one_plan(
    expert: Path, tracking_config: TrackingConfig, tmp_path: Path
) -> None:
    run_id = Tracker(tracking_config).open_run("expert")
    ModelRegistry.from_config(tracking_config).register_stage(expert, JUDGE, run_id=run_id, tags={})
    with Tracker(tracking_config).session() as client:
        client.set_registered_model_alias("a2h-sync-expert", "trusted", "1")
    found = [
        find(said, tracking_config)
        for said in (expert, expert / EXPERT_FILE, "models:/a2h-sync-expert@trusted", "models:/a2h-sync-expert/latest")
    ]
    assert [judge.uri for judge in found if judge] == ["", "", "models:/a2h-sync-expert/1", "models:/a2h-sync-expert/1"]
    assert len({hash_of_plan(judge) for judge in found}) == 1
    assert hash_of_plan(find(train(tmp_path / "another", seed=1))) not in {hash_of_plan(found[0]), hash_of_plan(None)}


def test_what_is_not_there_or_is_something_else_is_one_sentence(
    expert: Path, tracking_config: TrackingConfig, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"features\.syncnet and prepare\.features\.sync_expert are both given"):
        find(expert, syncnet="syncnet_v2.model")
    with pytest.raises(InputError, match="nowhere is neither a folder nor a model"):
        find("nowhere")
    with pytest.raises(InputError, match="nowhere is not a file"):
        find("", syncnet="nowhere")
    with pytest.raises(RegistryError, match="a2h-sync-expert/7 is not in the registry"):
        find("models:/a2h-sync-expert/7", tracking_config)
    with pytest.raises(CheckpointError, match=r"holds no sync_expert\.safetensors"):
        find(tmp_path)
    (expert / "last.ckpt").write_bytes(b"a checkpoint")
    with pytest.raises(CheckpointError, match=r"last\.ckpt is not called sync_expert\.safetensors"):
        find(expert / "last.ckpt")
    save(build("head_pose", NETWORKS), "head_pose", NETWORKS, tmp_path).rename(tmp_path / EXPERT_FILE)
    with pytest.raises(CheckpointError, match="holds the weights of head_pose, not of sync_expert"):
        find(tmp_path)
    (expert / EXPERT_FILE).write_bytes((expert / EXPERT_FILE).read_bytes()[:-9])
    with pytest.raises(CheckpointError, match="cannot be read as safetensors"):
        find(expert)


def test_a_version_whose_files_were_changed_is_refused(
    expert: Path, tracking_config: TrackingConfig, tmp_path: Path
) -> None:
    ModelRegistry.from_config(tracking_config).register_stage(
        expert, JUDGE, run_id=Tracker(tracking_config).open_run("expert"), tags={}
    )
    (kept,) = Path(tracking_config.artifacts).rglob(EXPERT_FILE)
    kept.write_bytes((train(tmp_path / "another", seed=1) / EXPERT_FILE).read_bytes())
    with pytest.raises(RegistryError, match="is not the file that was registered"):
        find("models:/a2h-sync-expert/1", tracking_config)


def test_syncnets_place_is_no_part_of_the_plan_and_its_bytes_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("a2h_models.evaluators.syncnet.load_syncnet", str)  # nobody's weights are here
    for name, content in (("a", b"one"), ("b", b"one"), ("c", b"two")):
        (tmp_path / name).write_bytes(content)
    plans = [hash_of_plan(find("", syncnet=str(tmp_path / name))) for name in ("a", "b", "c")]
    assert plans[0] == plans[1] != plans[2]


# -------------------------------------------------------------------------------- on other machines
def test_a_worker_that_does_not_see_the_folder_asks_the_registry(
    expert: Path, tracking_config: TrackingConfig, tmp_path: Path
) -> None:
    ModelRegistry.from_config(tracking_config).register_stage(
        expert, JUDGE, run_id=Tracker(tracking_config).open_run("expert"), tags={}
    )
    judge = find("models:/a2h-sync-expert/latest", tracking_config)
    assert judge
    assert isinstance(load_sync_network(replace(judge, path=tmp_path / "not here")), SyncExpert)
    with pytest.raises(CheckpointError, match="no weights at"):
        load_sync_network(replace(judge, path=tmp_path / "not here", uri=""))


def test_a_worker_with_other_weights_is_refused(expert: Path, tmp_path: Path) -> None:
    judge = find(expert)
    assert judge
    with pytest.raises(CheckpointError, match="is not the file that the plan was made with"):
        load_sync_network(replace(judge, path=train(tmp_path / "another", seed=1)))


def test_torch_is_loaded_only_to_ask(tmp_path: Path) -> None:
    code = "import sys, pipelines.prepare.steps.sync_network; print('torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(answer.stdout.lower()) is False


# -------------------------------------------------------------------------------- what it says
def test_a_clip_that_is_too_short_for_it_is_left_to_matching_mouths(expert: Path) -> None:
    rng = np.random.default_rng(0)

    def said(frames: int) -> Offset:
        pictures = rng.integers(0, 255, (frames, 256, 256, 3), dtype=np.uint8)
        landmarks = rng.uniform(60, 200, (frames, 468, 3)).astype(np.float32)
        return find_offset(pictures, landmarks, rng.integers(-999, 999, 640 * frames, dtype=np.int16), find(expert))

    assert said(10).expert_offset is None
    found = said(40)
    assert found.expert_offset is not None
    assert found.expert_confidence is not None
    assert found.expert_certainty == pytest.approx(found.expert_confidence * np.sqrt(40 / 25))


def test_the_expert_decides_what_is_mended() -> None:
    config = FeaturesConfig()
    sure, unsure = config.correct_from_expert, config.correct_from_expert - 1e-3

    def mended(frames: int, certainty: float) -> int:
        return correction(
            Offset(5, 9.9, expert_offset=frames, expert_confidence=0.3, expert_certainty=certainty), config
        )

    assert [mended(frames, sure) for frames in (0, 1, -1, 2, -6, 6, 7)] == [0, 0, 0, 2, -6, 6, 0]
    assert mended(4, unsure) == 0
