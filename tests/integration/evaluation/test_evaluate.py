"""Evaluation of an untrained model on two small clips: the numbers' form, the baselines, the run,
and what promotion reads.
"""

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient
from PIL import Image

from a2h_models.errors import ConfigError
from a2h_models.metrics import DEFINITIONS, EXPERT, NEEDS
from pipelines import promotion
from pipelines.config import (
    ClusterConfig,
    EvaluateCommand,
    EvaluateConfig,
    PromoteCommand,
    PromoteConfig,
    TrackingConfig,
)
from pipelines.evaluation.evaluate import evaluate
from pipelines.registry import ModelRegistry
from pipelines.tracking import Tracker

HERE = ClusterConfig(workers=0)
BRIEF = EvaluateConfig(max_frames=20, bootstrap_samples=50)


def command(
    dataset: Path, out: Path, tracking_config: TrackingConfig, model: str | Path, config: EvaluateConfig = BRIEF
) -> EvaluateCommand:
    return EvaluateCommand(
        model=str(model), dataset=str(dataset), out=str(out), evaluate=config, cluster=HERE, logger=tracking_config
    )


@pytest.mark.slow
def test_a_registered_model_is_measured_recorded_and_promoted(
    small_dataset: Path, registered: TrackingConfig, tmp_path: Path
) -> None:
    model = "models:/audio2head/1"
    evaluation = evaluate(command(small_dataset, tmp_path / "out", registered, model))

    summary = json.loads(evaluation.metrics.read_text())
    assert summary["model"] == model
    assert (summary["clips"], summary["frames"], summary["identities"]) == (2, 40, ["eve", "zoe"])
    assert list(summary["rows"]) == ["copy_portrait", "ground_truth", "predicted_pose", "true_pose"]
    truth, copied, true_pose = (summary["rows"][row] for row in ("ground_truth", "copy_portrait", "true_pose"))
    assert truth["psnr"]["mean"] == 100.0
    assert truth["faces_found"]["mean"] == 1.0
    assert truth["head_diversity"]["mean"] > 0.1
    assert copied["head_diversity"]["mean"] == pytest.approx(0.0, abs=1e-9)
    assert true_pose["psnr"]["low"] <= true_pose["psnr"]["mean"] <= true_pose["psnr"]["high"] < 100.0
    assert "pose_ssim" in summary["rows"]["predicted_pose"]
    assert "pose_ssim" not in true_pose  # the truth drives: there is nothing to compare
    reasons = "; ".join(summary["not_measured"])
    for metric in (*(metric for metrics in NEEDS.values() for metric in metrics), *EXPERT):
        assert DEFINITIONS[metric].label in reasons
        assert not any(metric in values for values in summary["rows"].values()), "never a number"

    rows = pd.read_parquet(tmp_path / "out" / "metrics.parquet")
    assert rows.groupby("row").size().to_dict() == dict.fromkeys(summary["rows"], 2)
    assert rows.lpips.isna().all()
    metadata = pq.read_schema(tmp_path / "out" / "metrics.parquet").metadata
    assert json.loads(metadata[b"not_measured"]) == summary["not_measured"]
    assert rows[rows.row == "true_pose"].psnr.mean() == pytest.approx(true_pose["psnr"]["mean"])
    with Image.open(evaluation.pictures) as picture:
        assert picture.size == (6 * 64, 2 * 3 * 64)  # six frames across; truth and two protocols of two clips down

    run = MlflowClient(Tracker(registered).uri).get_run(evaluation.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.metrics["true_pose/psnr"] == pytest.approx(true_pose["psnr"]["mean"])
    speed = json.loads((tmp_path / "out" / "timings.json").read_text())
    assert run.data.metrics["real_time_factor"] == pytest.approx(speed["real_time_factor"])
    assert speed["fps"] * speed["real_time_factor"] == pytest.approx(25)
    assert not (tmp_path / "out" / "unfinished").exists()
    assert run.inputs.dataset_inputs[0].dataset.digest == "e" * 36

    # of weights nobody trained
    unknown = ("clean_code", "disjoint_speakers", "verified_data", "same_features", "licence", "consent")
    gates = PromoteConfig(
        min_clips=1, lower_bounds={"true_pose/psnr": 5.0}, **{f"require_{name}": False for name in unknown}
    )
    assert promotion.promote(PromoteCommand(model="audio2head/1", promote=gates, logger=registered)).accepted
    assert str(ModelRegistry.from_config(registered).find("models:/audio2head@champion")) == model


@pytest.mark.slow
def test_equal_input_gives_equal_numbers(
    small_dataset: Path, bundle: Path, tracking_config: TrackingConfig, tmp_path: Path
) -> None:
    config = replace(BRIEF, max_clips=1, protocols=("predicted_pose",))
    outs = [tmp_path / "a", tmp_path / "b"]
    for out in outs:
        evaluate(command(small_dataset, out, tracking_config, bundle, config))
    first, second = ((out / "metrics.json").read_bytes() for out in outs)
    assert first == second
    assert list(json.loads(first)["rows"]) == ["copy_portrait", "ground_truth", "predicted_pose"]


@pytest.mark.slow
def test_without_mediapipe_faces_are_not_measured(
    small_dataset: Path, bundle: Path, tracking_config: TrackingConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "mediapipe" else real(name, *rest)
    )
    config = replace(BRIEF, max_clips=1, protocols=("true_pose",))
    evaluation = evaluate(command(small_dataset, tmp_path, tracking_config, bundle, config))
    assert "not measured, because mediapipe is not installed" in str(evaluation)
    assert "lmd" not in evaluation.summary["rows"]["true_pose"]


@pytest.mark.parametrize(
    "config",
    [
        EvaluateConfig(split="all"),
        EvaluateConfig(protocols=("copied",)),
        EvaluateConfig(protocols=()),
        EvaluateConfig(pictured_clips=0),
    ],
)
def test_wrong_words_are_refused(
    config: EvaluateConfig, small_dataset: Path, tracking_config: TrackingConfig, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="evaluate"):
        evaluate(command(small_dataset, tmp_path, tracking_config, "anything", config))
