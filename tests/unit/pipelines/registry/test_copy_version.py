"""From registry to registry: what arrives is what was sent, and can be judged there."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from a2h_models.errors import ConfigError, RegistryError
from pipelines import promotion, registry
from pipelines.config import CopyCommand, ModelsCommand, PromoteCommand, PromoteConfig, TrackingConfig
from pipelines.registry import ModelRegistry, ModelVersion

Maker = Callable[..., str]
GATES = PromoteConfig(lower_bounds={"true_pose/psnr": 20.0}, min_clips=1, margins={"true_pose/psnr": 0.0})


def copy(uri: str, here: TrackingConfig, there: TrackingConfig) -> ModelVersion:
    return registry.copy(CopyCommand(model=uri, to=there.tracking_uri, to_artifacts=there.artifacts, logger=here))


def promote(uri: str, store: TrackingConfig) -> promotion.Decision:
    return promotion.promote(PromoteCommand(model=uri, promote=GATES, logger=store))


def test_from_staging_to_production_and_on(
    make_version: Maker, elsewhere: TrackingConfig, store: TrackingConfig
) -> None:
    """Files, tags and evaluations travel; the version can be promoted where it arrives, and copied
    back.
    """
    uri = make_version(elsewhere, 25.0)
    promote(uri, elsewhere)
    make_version(store, 20.0)
    made = copy(uri, elsewhere, store)
    assert made.uri == "models:/a2h-head-pose/2"
    sent = ModelRegistry.from_config(elsewhere).find(uri)
    assert made.tags["sha256"] == sent.tags["sha256"]
    assert made.tags["promotion_decision"] == sent.tags["promotion_decision"]
    assert made.tags["copied_from"].startswith(f"{uri} of sqlite:///")
    folder = ModelRegistry.from_config(store).fetch(made.uri)
    assert registry.read_provenance(folder) == registry.read_provenance(ModelRegistry.from_config(elsewhere).fetch(uri))
    assert promote(made.uri, store).reasons == []
    assert f"copied from {made.tags['copied_from']}" in registry.models(ModelsCommand(model=made.uri, logger=store))
    back = copy(made.uri, store, elsewhere)
    assert back.uri == "models:/a2h-head-pose/2"
    assert ModelRegistry.from_config(elsewhere).read_evaluation(back) == ModelRegistry.from_config(
        elsewhere
    ).read_evaluation(sent)


def test_a_bundle_travels_whole(registered: TrackingConfig, elsewhere: TrackingConfig) -> None:
    from a2h_models.inference.animator import Animator

    made = copy("audio2head/1", registered, elsewhere)
    assert Animator.load(ModelRegistry.from_config(elsewhere).fetch(made.uri)).config.image_size == 64
    # its stages are not there, and need not be
    assert "audio2head/1" in registry.models(ModelsCommand(model=made.uri, logger=elsewhere))


def test_a_changed_file_does_not_travel(
    make_version: Maker, tracking_config: TrackingConfig, elsewhere: TrackingConfig
) -> None:
    uri = make_version(tracking_config, 25.0)
    (ModelRegistry.from_config(tracking_config).fetch(uri) / "head_pose.safetensors").write_bytes(b"other")
    with pytest.raises(RegistryError, match="is not the file that was registered"):
        copy(uri, tracking_config, elsewhere)
    with pytest.raises(RegistryError, match="no models"):
        registry.models(ModelsCommand(logger=elsewhere))


def test_damage_on_the_way_is_seen_on_arrival(
    make_version: Maker, tracking_config: TrackingConfig, elsewhere: TrackingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    download = ModelRegistry.download

    def damaging(registry: ModelRegistry, version: ModelVersion) -> Path:
        folder = download(registry, version)
        if registry.tracker.config.tracking_uri == elsewhere.tracking_uri:
            (folder / "head_pose.safetensors").write_bytes(b"half of it")
        return folder

    monkeypatch.setattr(ModelRegistry, "download", damaging)
    with pytest.raises(RegistryError, match="is not the file that was registered"):
        copy(make_version(tracking_config, 25.0), tracking_config, elsewhere)


def test_not_to_itself_and_not_to_nowhere(make_version: Maker, tracking_config: TrackingConfig) -> None:
    uri = make_version(tracking_config, 25.0)
    with pytest.raises(ConfigError, match="is the registry that"):
        copy(uri, tracking_config, tracking_config)
    with pytest.raises(ConfigError, match="neither a database nor a server"):
        copy(uri, tracking_config, replace(tracking_config, tracking_uri="production"))
