"""Networks that measure: asked where their weights are, named where they are not; FID and FVD of
whole sets.
"""

import hashlib
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from a2h_models.errors import CheckpointError, RegistryError
from a2h_models.evaluators import metric_networks
from a2h_models.evaluators.alexnet import AlexNet
from a2h_models.networks import JUDGE, NetworksConfig, build, save
from a2h_models.networks.sync_expert import SyncExpertConfig
from pipelines.config import ClusterConfig, EvaluateCommand, EvaluateConfig, PathsConfig, TrackingConfig
from pipelines.evaluation.clips import measure_clip
from pipelines.evaluation.evaluate import evaluate
from pipelines.evaluation.sets import select_clips
from pipelines.evaluation.summary import reasons_not_measured
from pipelines.evaluation.systems import SystemsUnderTest, locate_systems
from pipelines.pretrained import assets
from pipelines.registry import ModelRegistry
from pipelines.tracking import Tracker

NETWORKS = NetworksConfig(sync_expert=SyncExpertConfig(size=16, width=4, embedding=8))
LISTING = """
{name}:
  purpose: the metric
  file: {file}
  url: https://example.org/{file}
  page: https://example.org
  licence: none
  sha256: {sha256}
"""
FILES = {
    "alexnet": "alexnet.pth",
    "inception": "inception.pth",
    "i3d": "i3d.pt",
    "syncnet": "syncnet.model",
    "arcface": "arcface.pth",
}


@pytest.fixture(scope="module")
def alexnet(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Made-up weights as torchvision would store them."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("alexnet") / "weights.pth"
    torch.save({f"features.{name}": tensor for name, tensor in AlexNet().features.state_dict().items()}, path)
    return path.read_bytes()


@pytest.fixture
def assets_folder(alexnet: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of assets that holds AlexNet, and a listing that knows its hash."""
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "alexnet.pth").write_bytes(alexnet)
    known = {"alexnet": hashlib.sha256(alexnet).hexdigest()}
    listing = tmp_path / "assets.yaml"
    listing.write_text(
        "".join(LISTING.format(name=name, file=file, sha256=known.get(name, "null")) for name, file in FILES.items())
    )
    monkeypatch.setattr(assets, "LISTING", listing)
    return tmp_path / "assets"


@pytest.fixture
def expert(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    save(build(JUDGE, NETWORKS), JUDGE, NETWORKS, tmp_path / "expert")
    return tmp_path / "expert"


@pytest.fixture
def command(small_dataset: Path, bundle: Path, tracking_config: TrackingConfig, tmp_path: Path) -> EvaluateCommand:
    config = EvaluateConfig(max_frames=16, max_clips=1, protocols=("true_pose",))
    out, paths = str(tmp_path / "out"), PathsConfig(assets=str(tmp_path / "assets"))
    return EvaluateCommand(
        model=str(bundle), dataset=str(small_dataset), out=out, evaluate=config, logger=tracking_config, paths=paths
    )


def _located(command: EvaluateCommand) -> SystemsUnderTest:
    return locate_systems(command, ModelRegistry.from_config(command.logger))


def _asking(command: EvaluateCommand, expert: str | Path) -> EvaluateCommand:
    return replace(command, evaluate=replace(command.evaluate, sync_expert=str(expert)))


# ------------------------------------------------------------------------------------- who is asked
def test_weights_that_are_here_are_found(command: EvaluateCommand, assets_folder: Path, expert: Path) -> None:
    systems = _located(_asking(command, expert))
    assert systems.weights == {"alexnet": str(assets_folder / "alexnet.pth"), "sync_expert": str(expert)}
    assert systems.sync_expert_uri == str(expert)
    assert systems.fingerprint != _located(_asking(command, "")).fingerprint
    assert _located(_asking(command, "")).weights.keys() == {"alexnet"}


def test_weights_that_are_others_are_refused(command: EvaluateCommand, assets_folder: Path) -> None:
    (assets_folder / "alexnet.pth").write_bytes(b"others")
    with pytest.raises(CheckpointError, match=r"is not the right alexnet\.pth"):
        _located(command)


def test_the_newest_expert_measures_and_a_named_one_must_exist(command: EvaluateCommand, expert: Path) -> None:
    assert _located(command).sync_expert_uri == ""
    with pytest.raises(RegistryError):
        _located(_asking(command, "models:/a2h-sync-expert/7"))
    run_id = Tracker(command.logger).open_run("expert")
    ModelRegistry.from_config(command.logger).register_stage(expert, JUDGE, run_id=run_id, tags={})
    systems = _located(command)
    assert systems.sync_expert_uri == "models:/a2h-sync-expert/1"
    assert (Path(systems.weights["sync_expert"]) / "sync_expert.safetensors").is_file()


@pytest.mark.slow
def test_a_clip_is_measured_by_those_who_are_here(command: EvaluateCommand, assets_folder: Path, expert: Path) -> None:
    (clip,) = select_clips(command).clips
    result = measure_clip(clip, systems=_located(_asking(command, expert)), config=command.evaluate)
    assert result.rows["ground_truth"]["lpips"] == 0.0
    assert result.rows["true_pose"]["lpips"] > 0.0
    assert -15 <= result.rows["ground_truth"]["expert_offset"] <= 15
    assert not {"fid", "csim", "lse_d"} & result.rows["true_pose"].keys()
    reasons = reasons_not_measured(result.rows, {"alexnet", "sync_expert"})
    assert "LPIPS" not in reasons
    assert (
        reasons["FID"] == "not measured, because the weights inception.pth are not here (`a2h assets fetch inception`)"
    )
    assert not [reason for reason in reasons if "Expert" in reason]


class Means(torch.nn.Module):
    """Stands where Inception would: a frame's mean colour, instead of 2048 numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        return frames.float().mean(dim=(2, 3)) * self.weight


@pytest.mark.slow
def test_fid_stands_in_the_table_and_not_among_the_clips(
    command: EvaluateCommand, assets_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (assets_folder / "alexnet.pth").unlink()
    (assets_folder / "inception.pth").write_bytes(b"used first, so remembered")
    monkeypatch.setattr(metric_networks, "LOADERS", {"inception": lambda _: Means().eval()})
    command = replace(command, evaluate=replace(command.evaluate, max_clips=2), cluster=ClusterConfig(workers=0))
    evaluation = evaluate(command)
    rows = evaluation.summary["rows"]
    assert rows["ground_truth"]["fid"]["mean"] == pytest.approx(0, abs=1e-6)
    # an untrained network's colours are off
    assert rows["true_pose"]["fid"]["mean"] > rows["copy_portrait"]["fid"]["mean"] > 0
    assert rows["true_pose"]["fid"] | {"mean": 0} == {
        "mean": 0,
        "low": None,
        "high": None,
        "clips": None,
        "samples": 32,
    }
    assert "FID" not in evaluation.summary["not_measured"]
    assert "fid" not in pd.read_parquet(evaluation.metrics.with_name("metrics.parquet")).columns
    assert ">FID<" in evaluation.metrics.with_name("report.html").read_text()
    assert "FID" in evaluation.table
