"""Versions: registered with hashes, found by name, fetched with a check."""

import json
import shutil
from pathlib import Path

import pytest

from a2h_models.errors import ConfigError, InputError, RegistryError
from pipelines.config import TrackingConfig
from pipelines.registry import ModelRegistry, ModelVersion, read_provenance
from pipelines.tracking import Tracker


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "head_pose.safetensors").write_bytes(b"not really weights")
    (folder / "optimiser.ckpt").write_bytes(b"not for the registry")
    return folder


def register(weights: Path, tracking_config: TrackingConfig) -> ModelVersion:
    run_id = Tracker(tracking_config).open_run("training")
    tags = {"dataset_fingerprint": "f" * 64, "config_hash": "c" * 16}
    return ModelRegistry.from_config(tracking_config).register_stage(
        weights, "head_pose", run_id=run_id, tags=tags, identities=["bob", "ann", "bob"]
    )


def test_a_stage_goes_in_and_comes_out(weights: Path, tracking_config: TrackingConfig) -> None:
    version = register(weights, tracking_config)
    assert str(version) == "models:/a2h-head-pose/1"
    assert {"git_sha", "dataset_fingerprint", "config_hash", "schema_version", "sha256"} <= version.tags.keys()
    folder = ModelRegistry.from_config(tracking_config).fetch(str(version))
    assert (folder / "head_pose.safetensors").read_bytes() == b"not really weights"
    assert not (folder / "optimiser.ckpt").exists()
    assert read_provenance(folder)["identities"] == ["ann", "bob"]


def test_every_way_to_name_a_version(weights: Path, tracking_config: TrackingConfig) -> None:
    register(weights, tracking_config)
    second = register(weights, tracking_config)
    assert second.version == 2
    for uri in ("models:/a2h-head-pose/2", "a2h-head-pose/2", "models:/a2h-head-pose/latest"):
        assert ModelRegistry.from_config(tracking_config).find(uri) == second


@pytest.mark.parametrize(
    "uri", ["models:/a2h-head-pose@champion", "models:/a2h-head-pose/9", "models:/nobody/1", "models:/nobody/latest"]
)
def test_a_version_that_is_not_there(weights: Path, tracking_config: TrackingConfig, uri: str) -> None:
    register(weights, tracking_config)
    with pytest.raises(RegistryError, match=uri):
        ModelRegistry.from_config(tracking_config).fetch(uri)


@pytest.mark.parametrize("uri", ["models:/", "models:/a/b/c", "models:/a", "a/staging"])
def test_what_names_no_version(tracking_config: TrackingConfig, uri: str) -> None:
    with pytest.raises(ConfigError, match="names no version"):
        ModelRegistry.from_config(tracking_config).find(uri)


def test_a_folder_is_given_back_as_it_is(weights: Path, tracking_config: TrackingConfig) -> None:
    assert ModelRegistry.from_config(tracking_config).fetch(str(weights)) == weights
    with pytest.raises(InputError, match="neither a folder"):
        ModelRegistry.from_config(tracking_config).fetch(str(weights / "nothing"))


def test_a_changed_file_is_refused(weights: Path, tracking_config: TrackingConfig) -> None:
    version = register(weights, tracking_config)
    file = ModelRegistry.from_config(tracking_config).fetch(str(version)) / "head_pose.safetensors"
    file.write_bytes(b"not really weightz")
    with pytest.raises(RegistryError, match=r"head_pose\.safetensors is not the file that was registered"):
        ModelRegistry.from_config(tracking_config).fetch(str(version))


def test_a_missing_and_an_added_file_are_refused(weights: Path, tracking_config: TrackingConfig) -> None:
    version = register(weights, tracking_config)
    folder = ModelRegistry.from_config(tracking_config).fetch(str(version))
    (folder / "more.safetensors").write_bytes(b"")
    with pytest.raises(RegistryError, match=r"more\.safetensors"):
        ModelRegistry.from_config(tracking_config).fetch(str(version))
    (folder / "more.safetensors").unlink()
    (folder / "head_pose.safetensors").unlink()
    with pytest.raises(RegistryError, match="is missing"):
        ModelRegistry.from_config(tracking_config).fetch(str(version))


def test_nothing_to_register(tmp_path: Path, tracking_config: TrackingConfig) -> None:
    with pytest.raises(RegistryError, match="nothing to register"):
        ModelRegistry.from_config(tracking_config).register_stage(tmp_path, "head_pose", run_id="x", tags={})
    with pytest.raises(ConfigError, match="no stage 'renderer'"):
        ModelRegistry.from_config(tracking_config).register_stage(tmp_path, "renderer", run_id="x", tags={})


def test_weights_of_a_server_are_kept_in_the_cache(
    weights: Path, tracking_config: TrackingConfig, tmp_path: Path
) -> None:
    """A store that is not a local folder is copied once, whole, and checked all the same."""
    from dataclasses import replace

    version = register(weights, tracking_config)
    remote = replace(version, source=f"file:{version.source}")
    from pipelines.registry.artifacts import check_files

    found = ModelRegistry.from_config(tracking_config).download(remote)
    assert found.is_relative_to(tmp_path / "cache")
    check_files(remote, found)
    shutil.rmtree(version.source)
    assert ModelRegistry.from_config(tracking_config).download(remote) == found
    assert json.loads(version.tags["sha256"]).keys() == {"head_pose.safetensors", "provenance.json", "sources.parquet"}
