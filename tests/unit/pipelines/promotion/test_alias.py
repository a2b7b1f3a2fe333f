"""The alias goes back the way it came."""

import json
from collections.abc import Callable

import pytest
from mlflow import MlflowClient

from a2h_models.errors import RegistryError
from pipelines import promotion
from pipelines.cli.main import main
from pipelines.config import PromoteCommand, PromoteConfig, RollbackCommand, TrackingConfig
from pipelines.promotion.alias import Alias
from pipelines.registry import ModelRegistry
from pipelines.tracking import Tracker

Maker = Callable[..., str]
NAME = "a2h-head-pose"


def promote(uri: str, store: TrackingConfig) -> None:
    assert promotion.promote(PromoteCommand(model=uri, promote=PromoteConfig(min_clips=1), logger=store)).reasons == []


def rollback(store: TrackingConfig, **changes: object) -> promotion.Rollback:
    return promotion.rollback(RollbackCommand(model=NAME, logger=store, **changes))


def champion(store: TrackingConfig) -> str:
    return str(ModelRegistry.from_config(store).find(f"{NAME}@champion"))


def history(store: TrackingConfig) -> list[int]:
    return Alias(ModelRegistry.from_config(store), NAME, "champion").history()


def test_back_again_and_again_until_the_first(make_version: Maker, store: TrackingConfig) -> None:
    first, second, third = (make_version(store, 25.0) for _ in range(3))
    for uri in (first, second, third):
        promote(uri, store)
    undone = rollback(store, reason="it blinks sideways")
    assert (undone.model, undone.restored, champion(store)) == (third, second, second)
    recorded = ModelRegistry.from_config(store).find(third)
    assert recorded.tags["validation_status"] == "rolled_back"
    assert json.loads(recorded.tags["rollback"])["reason"] == "it blinks sideways"
    files = [file.path for file in MlflowClient(Tracker(store).uri).list_artifacts(recorded.run_id, "promotion")]
    assert any("rollback" in file for file in files)
    assert rollback(store).restored == first
    with pytest.raises(RegistryError, match="is the first champion"):
        rollback(store)
    assert champion(store) == first


def test_the_way_back_is_the_way_that_was_gone(make_version: Maker, tracking_config: TrackingConfig) -> None:
    """1, 2, 3, 2 again, 4: back over each of them, once."""
    uris = [make_version(tracking_config, 25.0) for _ in range(4)]
    for number in (1, 2, 3, 2, 4):
        promote(uris[number - 1], tracking_config)
    assert history(tracking_config) == [1, 2, 3, 2, 4]
    gone = [rollback(tracking_config).restored for _ in range(4)]
    assert [int(uri.rpartition("/")[2]) for uri in gone] == [2, 3, 2, 1]
    promote(uris[3], tracking_config)
    assert rollback(tracking_config).restored == uris[0]


def test_nobody_to_go_back_to(make_version: Maker, tracking_config: TrackingConfig) -> None:
    make_version(tracking_config, 25.0)
    with pytest.raises(RegistryError, match="no version of a2h-head-pose is champion"):
        rollback(tracking_config)
    with pytest.raises(RegistryError, match="nobody"):
        promotion.rollback(RollbackCommand(model="nobody", logger=tracking_config))


def test_a_deleted_version_is_passed_over(make_version: Maker, tracking_config: TrackingConfig) -> None:
    uris = [make_version(tracking_config, 25.0) for _ in range(3)]
    for uri in uris:
        promote(uri, tracking_config)
    with Tracker(tracking_config).session() as client:
        client.delete_model_version(NAME, "2")
    assert rollback(tracking_config).restored == uris[0]


def test_no_way_back_to_changed_files(make_version: Maker, tracking_config: TrackingConfig) -> None:
    first, second = make_version(tracking_config, 25.0), make_version(tracking_config, 25.0)
    for uri in (first, second):
        promote(uri, tracking_config)
    (ModelRegistry.from_config(tracking_config).fetch(first) / "head_pose.safetensors").write_bytes(b"other")
    with pytest.raises(RegistryError, match="is not the file that was registered"):
        rollback(tracking_config)
    assert champion(tracking_config) == second


def test_a_dry_run_moves_nothing(
    make_version: Maker, tracking_config: TrackingConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = make_version(tracking_config, 25.0), make_version(tracking_config, 25.0)
    for uri in (first, second):
        promote(uri, tracking_config)
    words = [f"logger.tracking_uri={tracking_config.tracking_uri}", f"logger.artifacts={tracking_config.artifacts}"]
    assert main(["rollback", NAME, "--alias", "champion", "--dry-run", *words]) == 0
    assert capsys.readouterr().out == f"{first} would be champion again, instead of {second}\n"
    assert champion(tracking_config) == second


def test_an_alias_moved_by_hand_counts(make_version: Maker, tracking_config: TrackingConfig) -> None:
    first, second, third = (make_version(tracking_config, 25.0) for _ in range(3))
    for uri in (first, second):
        promote(uri, tracking_config)
    with Tracker(tracking_config).session() as client:
        client.set_registered_model_alias(NAME, "champion", "3")
    assert history(tracking_config) == [1, 2, 3]
    assert rollback(tracking_config).model == third
    assert champion(tracking_config) == second
