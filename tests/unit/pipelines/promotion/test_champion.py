"""Promotion, against a real MLflow: the alias moves only through every gate, and the decision stays
with the version.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient

from a2h_models.errors import RegistryError
from pipelines import promotion
from pipelines.config import PromoteCommand, PromoteConfig, TrackingConfig
from pipelines.dataset.provenance import DatasetOrigin, as_table, read_origin
from pipelines.promotion import champion
from pipelines.registry import ModelRegistry
from pipelines.tracking import Tracker

GATES = PromoteConfig(
    lower_bounds={"true_pose/psnr": 20.0},
    margins={"true_pose/psnr": 0.5},
    min_clips=2,
    max_real_time_factor=2.0,
    licences=("cc-by*",),
)
Maker = Callable[..., str]


def promote(uri: str, store: TrackingConfig, *, dry_run: bool = False) -> promotion.Decision:
    return promotion.promote(
        PromoteCommand(model=uri.removeprefix("models:/"), promote=GATES, logger=store, dry_run=dry_run)
    )


def current_champion(store: TrackingConfig) -> str:
    return str(ModelRegistry.from_config(store).find("models:/a2h-head-pose@champion"))


def test_a_better_version_replaces_the_champion(make_version: Maker, store: TrackingConfig) -> None:
    first, second = make_version(store, 21.0), make_version(store, 23.0)
    assert promote(first, store).reasons == []
    decision = promote(second, store)
    assert decision.accepted
    assert decision.previous == first
    assert current_champion(store) == second
    assert ModelRegistry.from_config(store).find(second).tags["validation_status"] == "passed"


def test_a_worse_version_is_refused_and_told_why(make_version: Maker, store: TrackingConfig) -> None:
    first, second = make_version(store, 25.0), make_version(store, 24.0)
    promote(first, store)
    decision = promote(second, store)
    assert not decision.accepted
    assert current_champion(store) == first
    found = ModelRegistry.from_config(store).find(second)
    assert found.tags["validation_status"] == "refused"
    assert "24 against the champion's 25: worse by more than chance and 0.5" in found.tags["promotion_reasons"]
    recorded = json.loads(found.tags["promotion_decision"])
    assert [gate["name"] for gate in recorded["gates"]] == [gate.name for gate in decision.gates]
    files = MlflowClient(Tracker(store).uri).list_artifacts(found.run_id, "promotion")
    assert sorted(Path(file.path).suffix for file in files) == [".json", ".txt"]


def test_a_dry_run_changes_nothing(make_version: Maker, tracking_config: TrackingConfig) -> None:
    uri = make_version(tracking_config, 25.0)
    before = ModelRegistry.from_config(tracking_config).find(uri)
    decision = promote(uri, tracking_config, dry_run=True)
    assert decision.accepted
    assert ModelRegistry.from_config(tracking_config).find(uri) == before
    with pytest.raises(RegistryError):
        current_champion(tracking_config)


def test_promoting_the_champion_again_is_no_contest(make_version: Maker, tracking_config: TrackingConfig) -> None:
    uri = make_version(tracking_config, 25.0)
    promote(uri, tracking_config)
    decision = promote(uri, tracking_config)
    assert decision.accepted
    assert decision.previous == ""


def test_tampered_weights_are_refused_not_raised(make_version: Maker, tracking_config: TrackingConfig) -> None:
    uri = make_version(tracking_config, 25.0)
    (ModelRegistry.from_config(tracking_config).fetch(uri) / "head_pose.safetensors").write_bytes(b"other")
    decision = promote(uri, tracking_config)
    assert not decision.accepted
    assert decision.reasons[0].startswith("weights: ")


def test_the_champion_is_read_on_the_candidates_set(make_version: Maker, tracking_config: TrackingConfig) -> None:
    """A champion measured again on another set still has its old numbers."""
    first, second = make_version(tracking_config, 22.0), make_version(tracking_config, 23.0)
    promote(first, tracking_config)
    ModelRegistry.from_config(tracking_config).record_evaluation(first, set_id="9" * 16, run_id="0" * 32)
    assert promote(second, tracking_config).accepted


@pytest.fixture
def spoiled(paper_dataset: Path, fingerprint: str) -> Callable[..., DatasetOrigin]:
    """The training data's origin, with other words about its one source video."""
    origin = read_origin(str(paper_dataset), fingerprint, split="train")
    row = origin.sources.to_pylist()[0]
    return lambda **changes: replace(origin, sources=as_table([tuple((row | changes).values())]))


def _refused(make_version: Maker, store: TrackingConfig, changes: dict[str, object]) -> set[str]:
    """The gates that refuse a version which is made so."""
    uri = make_version(store, changes.pop("psnr", 25.0), **changes)
    found = {reason.partition(": ")[0] for reason in promote(uri, store).reasons}
    assert ModelRegistry.from_config(store).find(uri).tags["validation_status"] == "refused"
    return found


def test_each_reason_refuses_and_leaves_the_champion(
    make_version: Maker, tracking_config: TrackingConfig, spoiled: Callable[..., DatasetOrigin]
) -> None:
    """Through the store: what is recorded at registration and evaluation comes back, and decides."""
    origin = spoiled()
    reasons: dict[str, dict[str, object]] = {
        "schema_version": {"tags": {"schema_version": "0"}},
        "code_version": {"tags": {"code_clean": "false"}},
        "training_data": {"tags": {"dataset_fingerprint": "unknown"}},
        "data_verified": {"origin": replace(origin, fingerprint="0" * 64)},
        "feature_version": {"origin": replace(origin, features=origin.features | {"f0": "dio"})},
        "licence": {"origin": spoiled(licence="")},
        "consent": {"origin": spoiled(consent="no")},
        "evaluation_size": {"psnr": [25.0]},
        "speakers_disjoint": {"identities": ["ann", "eve"]},
        "sources_disjoint": {"origin": spoiled(sha256="e" * 64)},
        "real_time_factor": {"speed": 3.0},
        "true_pose/psnr": {"psnr": 19.0},
        "true_pose/psnr against champion": {"psnr": 24.0},
    }
    first = make_version(tracking_config, 25.0)
    assert promote(first, tracking_config).reasons == []
    also = {
        "evaluation_size": {"true_pose/psnr against champion"},
        "true_pose/psnr": {"true_pose/psnr against champion"},
    }
    for gate, changes in reasons.items():
        assert _refused(make_version, tracking_config, changes) == {gate} | also.get(gate, set())
    assert current_champion(tracking_config) == first


def test_every_store_gives_back_every_reason(
    make_version: Maker, store: TrackingConfig, spoiled: Callable[..., DatasetOrigin]
) -> None:
    """The same reasons in three bad versions: what is alone above comes together here, from each
    kind of store.
    """
    first, worse = make_version(store, 25.0), "true_pose/psnr against champion"
    assert promote(first, store).reasons == []
    unlawful: dict[str, object] = {
        "tags": {"schema_version": "0", "code_clean": "false"},
        "origin": spoiled(licence="", consent="no", sha256="e" * 64),
        "identities": ["ann", "eve"],
        "speed": 3.0,
        "psnr": 24.0,
    }
    lawful = {
        "schema_version",
        "code_version",
        "licence",
        "consent",
        "sources_disjoint",
        "speakers_disjoint",
        "real_time_factor",
    }
    assert _refused(make_version, store, unlawful) == lawful | {worse}
    origin = spoiled()
    other = {
        "tags": {"dataset_fingerprint": "unknown"},
        "origin": replace(origin, features=origin.features | {"f0": "dio"}),
        "psnr": 19.0,
    }
    assert _refused(make_version, store, other) == {"training_data", "feature_version", "true_pose/psnr", worse}
    unproven: dict[str, object] = {"origin": replace(origin, fingerprint="0" * 64), "psnr": [25.0]}
    assert _refused(make_version, store, unproven) == {"data_verified", "evaluation_size", worse}
    assert current_champion(store) == first


def test_a_damaged_evaluation_is_an_error(make_version: Maker, tracking_config: TrackingConfig) -> None:
    uri = make_version(tracking_config, 25.0, rows=None)
    with pytest.raises(RegistryError, match=r"metrics\.json of run .* is damaged"):
        promote(uri, tracking_config)


def test_somebody_else_was_faster(
    make_version: Maker, tracking_config: TrackingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The alias went to another version while this one was judged."""
    first, second = make_version(tracking_config, 22.0), make_version(tracking_config, 23.0)
    record = champion.record_decision

    def overtake(*arguments: object) -> None:
        record(*arguments)
        with Tracker(tracking_config).session() as client:
            client.set_registered_model_alias("a2h-head-pose", "champion", "1")

    monkeypatch.setattr(champion, "record_decision", overtake)
    with pytest.raises(RegistryError, match="went to models:/a2h-head-pose/1"):
        promote(second, tracking_config)
    assert current_champion(tracking_config) == first


def test_presets_load(make_version: Maker, tracking_config: TrackingConfig) -> None:
    from pipelines.config.compose import compose

    uri = make_version(tracking_config, 9.0)
    for preset, accepted in (("demo", True), ("default", False)):
        command = compose("promote", [f"model={uri.removeprefix('models:/')}", f"promote={preset}"])
        assert promotion.promote(replace(command, logger=tracking_config, dry_run=True)).accepted is accepted


def test_a_promotion_connects_once(
    make_version: Maker, tracking_config: TrackingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its registry is one object; a config that travels would connect at each use."""
    uri = make_version(tracking_config, 25.0)
    connected = []
    session = Tracker.session

    def counted(tracker: Tracker) -> object:
        connected.append(id(tracker))
        return session(tracker)

    monkeypatch.setattr(Tracker, "session", counted)
    assert promote(uri, tracking_config).accepted
    assert len(set(connected)) == 1
