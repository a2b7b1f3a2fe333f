"""The model card: what is recorded with a version, as it is printed."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines import promotion, registry
from pipelines.cli.main import main
from pipelines.config import CardCommand, PromoteCommand, PromoteConfig, RollbackCommand, TrackingConfig
from pipelines.registry import ModelRegistry
from pipelines.tracking import Tracker

Maker = Callable[..., str]
ANN = "a" * 64


def test_a_card_tells_what_is_recorded(
    make_version: Maker, store: TrackingConfig, fingerprint: str, tmp_path: Path
) -> None:
    rows = {
        "true_pose": {
            "psnr": {"mean": 25.0, "low": 24.5, "high": 25.5, "clips": 2},
            "lmd": {"mean": None, "low": None, "high": None},
        }
    }
    uri = make_version(store, 25.0, rows=rows)
    promotion.promote(
        PromoteCommand(model=uri, promote=PromoteConfig(min_clips=9, require_licence=False), logger=store)
    )
    text = registry.card(CardCommand(model=uri, out=str(tmp_path / "cards" / "card.md"), logger=store))
    assert (tmp_path / "cards" / "card.md").read_text() == text
    for heading in ("Intended use", "Training data", "Licence and consent", "Metrics", "Limits", "Decision", "Lineage"):
        assert f"\n## {heading}\n" in text
    assert "| PSNR (dB) | higher | 25 [24.5, 25.5] |" in text
    assert "| LMD (px) | lower | – |" in text
    assert "for the alias `champion`: **refused**" in text
    assert "| evaluation_size | failed | 9 clips | 2 | chance could hide a loss;" in text
    assert f"* dataset `{fingerprint}`" in text
    assert "| CC-BY 4.0 | yes | 1 |" in text
    assert ANN in text


def test_a_card_of_a_bare_version_says_what_is_missing(
    registered: TrackingConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [f"logger.tracking_uri={registered.tracking_uri}", f"logger.artifacts={registered.artifacts}"]
    assert main(["card", "audio2head/1", *words]) == 0
    text = capsys.readouterr().out
    assert text.startswith("# audio2head/1 (challenger)\n")
    assert "source videos: not recorded" in text
    assert "Not evaluated." in text
    assert "No promotion was requested." in text
    assert "a2h generate --source_image face.jpg --driven_audio speech.wav model=models:/audio2head/1" in text


def test_a_card_says_what_each_kind_of_model_is_for(
    make_version: Maker, tracking_config: TrackingConfig, tmp_path: Path
) -> None:
    """Only a bundle generates."""
    stage = registry.card(CardCommand(model=make_version(tracking_config, 25.0), logger=tracking_config))
    assert "`a2h register head_pose=models:/a2h-head-pose/1` joins it" in stage
    (tmp_path / "sync_expert.safetensors").write_bytes(b"weights")
    run_id = Tracker(tracking_config).open_run("expert")
    judge = ModelRegistry.from_config(tracking_config).register_stage(tmp_path, "sync_expert", run_id=run_id, tags={})
    text = registry.card(CardCommand(model=judge.uri, logger=tracking_config))
    assert "prepare.features.sync_expert=models:/a2h-sync-expert/1" in text
    assert "a2h generate" not in stage + text


def test_a_card_remembers_a_rollback(make_version: Maker, tracking_config: TrackingConfig) -> None:
    uris = [make_version(tracking_config, 25.0) for _ in range(2)]
    for uri in uris:
        promotion.promote(PromoteCommand(model=uri, promote=PromoteConfig(min_clips=1), logger=tracking_config))
    promotion.rollback(RollbackCommand(model="a2h-head-pose", reason="it blinks sideways", logger=tracking_config))
    assert f"rolled back to {uris[0]}. it blinks sideways" in registry.card(
        CardCommand(model=uris[1], logger=tracking_config)
    )
