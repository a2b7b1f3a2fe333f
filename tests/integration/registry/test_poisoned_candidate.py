"""From end to end: a bundle is measured and becomes champion; one whose weights were scaled is
measured on the same clips, and refused.
"""

import json
from pathlib import Path

import pytest

from pipelines.cli.main import main
from pipelines.config import ClusterConfig, EvaluateCommand, EvaluateConfig, TrackingConfig
from pipelines.registry import ModelRegistry
from pipelines.registry.model_registry import LATEST_STAGES
from pipelines.tracking import Tracker

SCALE = 3.0  # of every weight of the image generator: enough to be seen, not enough for numbers that are none
# These weights were trained on nothing, so there is no data to verify
WORDS = [
    "promote=demo",
    "promote.margins={true_pose/psnr: 0}",
    "promote.require_verified_data=false",
    "promote.require_same_features=false",
]


def measure(model: str, dataset: Path, out: Path, store: TrackingConfig) -> None:
    from pipelines.evaluation.evaluate import evaluate

    config = EvaluateConfig(max_frames=16, bootstrap_samples=50, protocols=("true_pose", "predicted_pose"))
    evaluate(
        EvaluateCommand(
            model=model,
            dataset=str(dataset),
            out=str(out),
            evaluate=config,
            cluster=ClusterConfig(workers=0),
            logger=store,
        )
    )


def promote(model: str, store: TrackingConfig) -> int:
    return main(
        ["promote", model, *WORDS, f"logger.tracking_uri={store.tracking_uri}", f"logger.artifacts={store.artifacts}"]
    )


@pytest.mark.slow
def test_a_poisoned_candidate_is_refused(
    small_dataset: Path,
    registered: TrackingConfig,
    stage_folders: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import torch

    from a2h_models.networks import load, save

    measure("models:/audio2head/1", small_dataset, tmp_path / "good", registered)
    assert promote("audio2head/1", registered) == 0, capsys.readouterr().out

    network, config = load(stage_folders["image_generator"], "image_generator")
    with torch.no_grad():
        for weight in network.parameters():
            weight.mul_(SCALE)
    (tmp_path / "poisoned").mkdir()
    save(network, "image_generator", config, tmp_path / "poisoned")
    run_id = Tracker(registered).open_run("poisoned")
    stage = ModelRegistry.from_config(registered).register_stage(
        tmp_path / "poisoned",
        "image_generator",
        run_id=run_id,
        tags={"dataset_fingerprint": "f" * 64},
        identities=["ann"],
    )
    poisoned = ModelRegistry.from_config(registered).register_bundle(LATEST_STAGES | {"image_generator": stage.uri})
    measure(poisoned.uri, small_dataset, tmp_path / "bad", registered)
    capsys.readouterr()
    assert promote("audio2head/2", registered) == 3
    table = capsys.readouterr().out
    assert "models:/audio2head/2 is refused" in table
    decision = json.loads(ModelRegistry.from_config(registered).find(poisoned.uri).tags["promotion_decision"])
    refusing = {gate["name"] for gate in decision["gates"] if gate["status"] == "failed"}
    assert refusing == {"true_pose/psnr against champion"}
    assert ModelRegistry.from_config(registered).find("audio2head@champion").version == 1
