"""Promotion, against a real MLflow: the alias moves only through every gate, and the decision stays with the version."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient

from a2h_models.errors import RegistryError
from pipelines import registry
from pipelines.config import LoggerConfig, PromoteCommand, PromoteConfig
from pipelines.registry import promotion

GATES = PromoteConfig(lower_bounds={"true_pose/psnr": 20.0}, margins={"true_pose/psnr": 0.5}, require_clean_code=False)
SET = "5" * 16


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "head_pose.safetensors").write_bytes(b"not really weights")
    return tmp_path / "weights"


def version(weights: Path, tracking: LoggerConfig, psnr: float, **changes: object) -> str:
    """A registered version with an evaluation; any registered model can be promoted, so a stage stands for the bundle."""
    run_id = registry.open_run(tracking, run_name="training")
    made = registry.register_stage(
        weights, "head_pose", run_id=run_id, tags={"dataset_fingerprint": "d" * 64}, identities=["ann"], logger=tracking
    )
    summary = {
        "set_id": SET,
        "dataset": "/data/mine",
        "dataset_fingerprint": "f" * 64,
        "split": "test",
        "clips": 2,
        "identities": ["eve"],
        "rows": {"true_pose": {"psnr": {"mean": psnr, "low": psnr, "high": psnr, "clips": 2}}},
        **changes,
    }
    evaluation = registry.open_run(tracking, run_name="evaluation")
    with registry.session(tracking) as client:
        client.log_text(evaluation, json.dumps(summary), "metrics.json")
    registry.record_evaluation(made.uri, set_id=str(summary["set_id"]), run_id=evaluation, logger=tracking)
    return made.uri


def promote(uri: str, tracking: LoggerConfig, *, dry_run: bool = False) -> registry.Decision:
    return registry.promote(PromoteCommand(model=uri.removeprefix("models:/"), promote=GATES, logger=tracking, dry_run=dry_run))


def champion(tracking: LoggerConfig) -> str:
    return str(registry.find("models:/a2h-head-pose@champion", tracking))


def test_a_better_version_replaces_the_champion(weights: Path, tracking: LoggerConfig) -> None:
    first, second = version(weights, tracking, 21.0), version(weights, tracking, 23.0)
    assert promote(first, tracking).accepted
    decision = promote(second, tracking)
    assert decision.accepted
    assert decision.previous == first
    assert champion(tracking) == second
    assert registry.find(second, tracking).tags["validation_status"] == "passed"


def test_a_worse_version_is_refused_and_told_why(weights: Path, tracking: LoggerConfig) -> None:
    first, second = version(weights, tracking, 25.0), version(weights, tracking, 24.0)
    promote(first, tracking)
    decision = promote(second, tracking)
    assert not decision.accepted
    assert champion(tracking) == first
    found = registry.find(second, tracking)
    assert found.tags["validation_status"] == "refused"
    assert "worse than the champion's 25 by more than 0.5" in found.tags["promotion_reasons"]
    recorded = json.loads(found.tags["promotion_decision"])
    assert [gate["name"] for gate in recorded["gates"]] == [gate.name for gate in decision.gates]
    files = MlflowClient(registry.tracking_uri(tracking)).list_artifacts(found.run_id, "promotion")
    assert sorted(Path(file.path).suffix for file in files) == [".json", ".txt"]


def test_a_dry_run_changes_nothing(weights: Path, tracking: LoggerConfig) -> None:
    uri = version(weights, tracking, 25.0)
    before = registry.find(uri, tracking)
    decision = promote(uri, tracking, dry_run=True)
    assert decision.accepted
    assert registry.find(uri, tracking) == before
    with pytest.raises(RegistryError):
        champion(tracking)


def test_promoting_the_champion_again_is_no_contest(weights: Path, tracking: LoggerConfig) -> None:
    uri = version(weights, tracking, 25.0)
    promote(uri, tracking)
    decision = promote(uri, tracking)
    assert decision.accepted
    assert decision.previous == ""


def test_tampered_weights_are_refused_not_raised(weights: Path, tracking: LoggerConfig) -> None:
    uri = version(weights, tracking, 25.0)
    (registry.fetch(uri, tracking) / "head_pose.safetensors").write_bytes(b"other")
    decision = promote(uri, tracking)
    assert not decision.accepted
    assert decision.reasons[0].startswith("weights: ")


def test_the_champion_is_read_on_the_candidates_set(weights: Path, tracking: LoggerConfig) -> None:
    """A champion measured again on another set still has its old numbers."""
    first, second = version(weights, tracking, 22.0), version(weights, tracking, 23.0)
    promote(first, tracking)
    registry.record_evaluation(first, set_id="9" * 16, run_id="0" * 32, logger=tracking)
    assert promote(second, tracking).accepted


def test_leaking_speakers_are_refused(weights: Path, tracking: LoggerConfig) -> None:
    decision = promote(version(weights, tracking, 25.0, identities=["ann", "eve"]), tracking)
    assert [reason.partition(":")[0] for reason in decision.reasons] == ["speakers_disjoint"]


def test_a_damaged_evaluation_is_an_error(weights: Path, tracking: LoggerConfig) -> None:
    uri = version(weights, tracking, 25.0, rows=None)
    with pytest.raises(RegistryError, match=r"metrics\.json of run .* is damaged"):
        promote(uri, tracking)


def test_somebody_else_was_faster(weights: Path, tracking: LoggerConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The alias went to another version while this one was judged."""
    first, second = version(weights, tracking, 22.0), version(weights, tracking, 23.0)
    record = promotion._record

    def overtake(*arguments: object) -> None:
        record(*arguments)
        with registry.session(tracking) as client:
            client.set_registered_model_alias("a2h-head-pose", "champion", "1")

    monkeypatch.setattr(promotion, "_record", overtake)
    with pytest.raises(RegistryError, match="went to models:/a2h-head-pose/1"):
        promote(second, tracking)
    assert champion(tracking) == first


def test_the_evaluation_set_has_a_name_of_its_own() -> None:
    values = {"fingerprint": "f", "split": "test", "clips": ["a", "b"], "max_frames": 64}
    name = registry.evaluation_set_id(**values)
    assert name == registry.evaluation_set_id(**values | {"clips": ["b", "a"]})
    others = [{"fingerprint": "g"}, {"split": "val"}, {"clips": ["a"]}, {"max_frames": 65}]
    assert len({name, *(registry.evaluation_set_id(**values | other) for other in others)}) == 5


def test_presets_load(weights: Path, tracking: LoggerConfig) -> None:
    from pipelines.compose import compose

    uri = version(weights, tracking, 9.0)
    for preset, accepted in (("demo", True), ("default", False)):
        command = compose("promote", [f"model={uri.removeprefix('models:/')}", f"promote={preset}"])
        assert registry.promote(replace(command, logger=tracking, dry_run=True)).accepted is accepted
