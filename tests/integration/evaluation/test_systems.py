"""What is measured beside what: videos of another system, the champion, on Ray, after a stop; and
what stands on the page.
"""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient

import pipelines.evaluation.evaluate
from a2h_models.errors import DatasetError, InputError
from pipelines import media
from pipelines.config import ClusterConfig, EvaluateCommand, EvaluateConfig, FreezeCommand, PathsConfig, TrackingConfig
from pipelines.core.storage import Storage
from pipelines.dataset import shard_format
from pipelines.evaluation.clips import ClipResult
from pipelines.evaluation.evaluate import evaluate
from pipelines.evaluation.sets import EvaluationClip, freeze
from pipelines.tracking import Tracker

BRIEF = EvaluateConfig(max_frames=16, bootstrap_samples=20, protocols=("true_pose",))
HERE = ClusterConfig(workers=0)


@pytest.fixture
def command(small_dataset: Path, bundle: Path, tracking_config: TrackingConfig, tmp_path: Path) -> EvaluateCommand:
    return EvaluateCommand(
        model=str(bundle),
        dataset=str(small_dataset),
        out=str(tmp_path / "out"),
        evaluate=BRIEF,
        cluster=HERE,
        logger=tracking_config,
        paths=PathsConfig(assets=str(tmp_path / "assets")),
    )


@pytest.fixture
def third_party_videos(small_dataset: Path, tmp_path: Path) -> Path:
    """The true videos, as those of a system without mistakes."""
    folder = tmp_path / "videos"
    folder.mkdir()
    dataset = Storage(small_dataset)
    (sidecar,) = (found for found in shard_format.read_sidecars(dataset) if found.split == "test")
    for key in sidecar.keys:
        (folder / f"{key}.mp4").write_bytes(shard_format.read_members(dataset, sidecar, key, ("mp4",)).members["mp4"])
    return folder


# ------------------------------------------------------------------------------------ other systems
@pytest.mark.slow
def test_the_true_films_as_another_systems_are_nearly_perfect(
    command: EvaluateCommand, third_party_videos: Path
) -> None:
    config = replace(BRIEF, protocols=("true_pose", "predicted_pose"))
    evaluation = evaluate(replace(command, model=f"videos:{third_party_videos}", evaluate=config))
    rows = evaluation.summary["rows"]
    assert list(rows) == ["ground_truth", "copy_portrait", "predicted_pose"]
    theirs = rows["predicted_pose"]
    assert theirs["psnr"]["mean"] > 45.0  # decoded by another way than the crop
    assert theirs["ms_ssim"]["mean"] > 0.999
    assert theirs["akd"]["mean"] < 0.5
    assert theirs["head_diversity"]["mean"] > 0.0  # solved from what is seen
    assert not evaluation.summary["failed"]
    run = MlflowClient(Tracker(command.logger).uri).get_run(evaluation.run_id)
    assert "real_time_factor" not in run.data.metrics  # nobody knows how long it took them


@pytest.mark.slow
def test_videos_that_are_missing_or_odd_are_told(
    command: EvaluateCommand, third_party_videos: Path, tmp_path: Path
) -> None:
    (third_party_videos / "clip-a.mp4").unlink()
    summary = evaluate(replace(command, model=f"videos:{third_party_videos}")).summary
    assert summary["clips"] == 1
    assert "holds no video of the clip clip-a" in summary["failed"]["clip-a"]
    media.write_video(third_party_videos / "clip-b.mp4", [np.zeros((16, 128, 256, 3), np.uint8)], None)
    with pytest.raises(InputError, match=r"none of the 2 clips could be measured"):
        evaluate(replace(command, model=f"videos:{third_party_videos}", out=str(tmp_path / "again")))
    with pytest.raises(InputError, match="is not a folder of videos"):
        evaluate(replace(command, model=f"videos:{tmp_path / 'nowhere'}"))


# --------------------------------------------------------------------------------------------- rows
@pytest.mark.slow
def test_the_champion_stands_beside_the_candidate(
    command: EvaluateCommand, registered: TrackingConfig, tmp_path: Path
) -> None:
    """The same weights, once as the champion and once as a folder: equal numbers."""
    with Tracker(registered).session() as client:
        client.set_registered_model_alias("audio2head", "champion", "1")
    ours = replace(command, logger=registered)
    summary = evaluate(ours).summary
    assert list(summary["rows"]) == ["ground_truth", "copy_portrait", "true_pose", "champion_true_pose"]
    assert summary["rows"]["champion_true_pose"] == summary["rows"]["true_pose"]
    assert summary["champion"] == "models:/audio2head/1"
    itself = evaluate(replace(ours, model="models:/audio2head@champion", out=str(tmp_path / "itself"))).summary
    assert list(itself["rows"]) == ["ground_truth", "copy_portrait", "true_pose"]
    alone = evaluate(replace(ours, out=str(tmp_path / "alone"), evaluate=replace(BRIEF, champion=False))).summary
    assert "champion_true_pose" not in alone["rows"]


# --------------------------------------------------------------------------------------------- runs
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # Ray's own sockets
def test_workers_find_what_this_process_finds(
    command: EvaluateCommand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Byte for byte, if this process computes with as many threads as a worker: sums in another
    order round otherwise.
    """
    import torch

    monkeypatch.setattr(pipelines.evaluation.evaluate, "FEW_CLIPS", 1)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        here = evaluate(replace(command, out=str(tmp_path / "here")))
    finally:
        torch.set_num_threads(threads)
    there = evaluate(replace(command, out=str(tmp_path / "there"), cluster=ClusterConfig(workers=2)))
    assert there.metrics.read_bytes() == here.metrics.read_bytes()
    tables = [pd.read_parquet(tmp_path / name / "metrics.parquet") for name in ("here", "there")]
    pd.testing.assert_frame_equal(*tables)


@pytest.mark.slow
def test_an_interrupted_evaluation_goes_on(
    command: EvaluateCommand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = evaluate(replace(command, out=str(tmp_path / "whole")))
    real, measured = pipelines.evaluation.evaluate.measure_clip, []

    def stopped(clip: EvaluationClip, **rest: Any) -> ClipResult:
        if clip.key == "clip-b":
            raise KeyboardInterrupt
        return real(clip, **rest)

    def counted(clip: EvaluationClip, **rest: Any) -> ClipResult:
        measured.append(clip.key)
        return real(clip, **rest)

    monkeypatch.setattr(pipelines.evaluation.evaluate, "measure_clip", stopped)
    with pytest.raises(KeyboardInterrupt):
        evaluate(command)
    monkeypatch.setattr(pipelines.evaluation.evaluate, "measure_clip", counted)
    resumed = evaluate(command)
    assert measured == ["clip-b"]
    assert resumed.metrics.read_bytes() == whole.metrics.read_bytes()
    assert resumed.pictures.read_bytes() == whole.pictures.read_bytes()
    assert not [path for path in Path(command.out).rglob("*") if path.is_file() and "unfinished" in path.parts]
    evaluate(command)
    assert measured == ["clip-b", "clip-a", "clip-b"]  # a finished one begins anew


@pytest.mark.slow
def test_a_frozen_set_is_measured_and_a_changed_one_refused(
    command: EvaluateCommand, small_dataset: Path, tmp_path: Path
) -> None:
    path = tmp_path / "set.json"
    freeze(FreezeCommand(dataset=str(small_dataset), out=str(path), evaluate=BRIEF))
    summary = evaluate(replace(command, set=str(path), dataset="", evaluate=replace(BRIEF, max_frames=128))).summary
    assert (summary["frozen"], summary["max_frames"], summary["frames"]) == (True, 16, 32)
    assert summary["set_id"] == json.loads(path.read_text())["set_id"]
    moved = tmp_path / "moved"
    shutil.copytree(small_dataset, moved)
    tar = moved / "a2h-test-000000.tar"
    data = tar.read_bytes()
    (sidecar,) = (found for found in shard_format.read_sidecars(Storage(moved)) if found.split == "test")
    offset, size = sidecar.index["clip-a"]["pose.npy"]
    tar.write_bytes(data[: offset + size - 1] + bytes([data[offset + size - 1] ^ 1]) + data[offset + size :])
    with pytest.raises(DatasetError, match=r"clip-a\.pose\.npy .* its sha-256 differs"):
        evaluate(replace(command, set=str(path), dataset=str(moved), out=str(tmp_path / "no")))
    assert not (tmp_path / "no" / "metrics.json").exists()


# ----------------------------------------------------------------------------------------- the page
@pytest.mark.slow
def test_the_page_shows_all_and_needs_nothing_from_outside(command: EvaluateCommand) -> None:
    evaluate(command)
    page = (Path(command.out) / "report.html").read_text()
    for words in (
        "Published, another protocol",
        "The worst clips",
        "By head turns",
        "copy portrait",
        "ground truth",
        "not measured, because",
        "candidate, true pose",
        "frames a second",
    ):
        assert words in page
    assert page.count("data:image/jpeg") == 2
    assert "http://" not in page
    assert "https://" not in page
