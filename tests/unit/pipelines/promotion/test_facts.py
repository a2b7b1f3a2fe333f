"""What promotion reads of a version, from a real store."""

from collections.abc import Callable
from pathlib import Path

from pipelines.config import TrackingConfig
from pipelines.promotion.facts import load_champion_facts, load_facts
from pipelines.registry import ModelRegistry

Maker = Callable[..., str]


def test_facts_are_what_was_recorded(
    make_version: Maker, tracking_config: TrackingConfig, paper_dataset: Path, fingerprint: str
) -> None:
    registry = ModelRegistry.from_config(tracking_config)
    facts = load_facts(registry, registry.find(make_version(tracking_config, 25.0)))
    assert facts.files_problem == ""
    assert facts.training_identities == ("ann",)
    assert facts.sources == {"a" * 64}
    assert facts.rights == {("CC-BY 4.0", "yes")}
    assert facts.evaluation is not None
    assert facts.evaluation.means == {"true_pose/psnr": 25.0}
    assert facts.dataset_problems == {f"{paper_dataset} (fingerprint {fingerprint[:12]})": ""}


def test_changed_weights_are_a_fact_and_hide_the_provenance(
    make_version: Maker, tracking_config: TrackingConfig
) -> None:
    registry = ModelRegistry.from_config(tracking_config)
    version = registry.find(make_version(tracking_config, 25.0))
    (registry.fetch_version(version) / "head_pose.safetensors").write_bytes(b"other")
    facts = load_facts(registry, version)
    assert "is not the file that was registered" in facts.files_problem
    assert (facts.training_identities, facts.sources, facts.dataset_problems) == ((), frozenset(), {})


def test_the_champion_is_read_on_the_candidates_set(make_version: Maker, tracking_config: TrackingConfig) -> None:
    registry = ModelRegistry.from_config(tracking_config)
    first, second = (registry.find(make_version(tracking_config, psnr)) for psnr in (22.0, 23.0))
    registry.record_evaluation(first.uri, set_id="9" * 16, run_id="0" * 32)
    champion = load_champion_facts(registry, registry.find(first.uri), load_facts(registry, second))
    assert champion.uri == first.uri
    assert champion.evaluation is not None
    assert champion.evaluation.means == {"true_pose/psnr": 22.0}
