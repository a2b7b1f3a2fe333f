"""Versions: registered with hashes, fetched with a check, loaded as MLflow loads them."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from a2h_models.errors import ConfigError, InputError, RegistryError
from pipelines import registry, tracking
from pipelines.config import RegisterCommand, TrackingConfig


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "head_pose.safetensors").write_bytes(b"not really weights")
    (folder / "optimiser.ckpt").write_bytes(b"not for the registry")
    return folder


def register(weights: Path, tracking_config: TrackingConfig) -> registry.ModelVersion:
    run_id = tracking.open_run(tracking_config, run_name="training")
    tags = {"dataset_fingerprint": "f" * 64, "config_hash": "c" * 16}
    return registry.register_stage(
        weights, "head_pose", run_id=run_id, tags=tags, identities=["bob", "ann", "bob"], logger=tracking_config
    )


def test_a_stage_goes_in_and_comes_out(weights: Path, tracking_config: TrackingConfig) -> None:
    version = register(weights, tracking_config)
    assert str(version) == "models:/a2h-head-pose/1"
    assert {"git_sha", "dataset_fingerprint", "config_hash", "schema_version", "sha256"} <= version.tags.keys()
    folder = registry.fetch(str(version), tracking_config)
    assert (folder / "head_pose.safetensors").read_bytes() == b"not really weights"
    assert not (folder / "optimiser.ckpt").exists()
    assert registry.read_provenance(folder)["identities"] == ["ann", "bob"]


def test_every_way_to_name_a_version(weights: Path, tracking_config: TrackingConfig) -> None:
    register(weights, tracking_config)
    second = register(weights, tracking_config)
    assert second.version == 2
    for uri in ("models:/a2h-head-pose/2", "a2h-head-pose/2", "models:/a2h-head-pose/latest"):
        assert registry.find(uri, tracking_config) == second


@pytest.mark.parametrize(
    "uri", ["models:/a2h-head-pose@champion", "models:/a2h-head-pose/9", "models:/nobody/1", "models:/nobody/latest"]
)
def test_a_version_that_is_not_there(weights: Path, tracking_config: TrackingConfig, uri: str) -> None:
    register(weights, tracking_config)
    with pytest.raises(RegistryError, match=uri):
        registry.fetch(uri, tracking_config)


@pytest.mark.parametrize("uri", ["models:/", "models:/a/b/c", "models:/a", "a/staging"])
def test_what_names_no_version(tracking_config: TrackingConfig, uri: str) -> None:
    with pytest.raises(ConfigError, match="names no version"):
        registry.find(uri, tracking_config)


def test_a_folder_is_given_back_as_it_is(weights: Path, tracking_config: TrackingConfig) -> None:
    assert registry.fetch(str(weights), tracking_config) == weights
    with pytest.raises(InputError, match="neither a folder"):
        registry.fetch(str(weights / "nothing"), tracking_config)


def test_a_changed_file_is_refused(weights: Path, tracking_config: TrackingConfig) -> None:
    version = register(weights, tracking_config)
    file = registry.fetch(str(version), tracking_config) / "head_pose.safetensors"
    file.write_bytes(b"not really weightz")
    with pytest.raises(RegistryError, match=r"head_pose\.safetensors is not the file that was registered"):
        registry.fetch(str(version), tracking_config)


def test_a_missing_and_an_added_file_are_refused(weights: Path, tracking_config: TrackingConfig) -> None:
    version = register(weights, tracking_config)
    folder = registry.fetch(str(version), tracking_config)
    (folder / "more.safetensors").write_bytes(b"")
    with pytest.raises(RegistryError, match=r"more\.safetensors"):
        registry.fetch(str(version), tracking_config)
    (folder / "more.safetensors").unlink()
    (folder / "head_pose.safetensors").unlink()
    with pytest.raises(RegistryError, match="is missing"):
        registry.fetch(str(version), tracking_config)


def test_nothing_to_register(tmp_path: Path, tracking_config: TrackingConfig) -> None:
    with pytest.raises(RegistryError, match="nothing to register"):
        registry.register_stage(tmp_path, "head_pose", run_id="x", tags={}, logger=tracking_config)
    with pytest.raises(ConfigError, match="no stage 'renderer'"):
        registry.register_stage(tmp_path, "renderer", run_id="x", tags={}, logger=tracking_config)


# --------------------------------------------------------------------------------------- the bundle
def test_the_bundle_knows_where_it_comes_from(registered: TrackingConfig) -> None:
    version = registry.find("models:/audio2head@challenger", registered)
    assert str(version) == "models:/audio2head/1"
    assert version.tags["motion_field"] == "models:/a2h-motion-field/1"
    assert version.tags["dataset_fingerprint"] == "f" * 64
    provenance = registry.read_provenance(registry.fetch(version.uri, registered))
    assert provenance["identities"] == ["ann", "bob"]
    assert provenance["stages"]["head_pose"]["stage"] == "head_pose"


def test_the_bundle_is_an_animator(registered: TrackingConfig) -> None:
    from a2h_models.inference.animator import Animator

    animator = Animator.load(registry.fetch("models:/audio2head/latest", registered))
    assert animator.config.image_size == 64


def test_nothing_is_pickled(registered_world: Path) -> None:
    models = registered_world / "artifacts" / "models"  # beside it lie the artefacts of runs, other tests' pictures too
    suffixes = {path.suffix for path in models.rglob("*") if path.is_file()}
    assert ".safetensors" in suffixes
    assert suffixes <= {".safetensors", ".json", ".parquet", ".yaml", ".txt", ""}  # "" is MLmodel


def test_a_stage_that_does_not_say_who_was_seen_silences_the_bundle(
    registered: TrackingConfig, stage_folders: dict[str, Path]
) -> None:
    run_id = tracking.open_run(registered, run_name="x")
    registry.register_stage(stage_folders["head_pose"], "head_pose", run_id=run_id, tags={}, logger=registered)
    version = registry.register_bundle(RegisterCommand(logger=registered))
    assert version.version == 2
    assert registry.read_provenance(registry.fetch(version.uri, registered))["identities"] == []
    assert version.tags["dataset_fingerprint"] == f"{'f' * 64},unknown"


def test_stages_of_different_networks_do_not_join(
    registered: TrackingConfig, tiny_networks: object, tmp_path: Path
) -> None:
    from dataclasses import replace

    from a2h_models.networks import build, save

    other = replace(tiny_networks, head_pose=replace(tiny_networks.head_pose, state=16))
    save(build("head_pose", other), "head_pose", other, tmp_path)
    run_id = tracking.open_run(registered, run_name="x")
    registry.register_stage(tmp_path, "head_pose", run_id=run_id, tags={}, logger=registered)
    with pytest.raises(RegistryError, match="different networks"):
        registry.register_bundle(RegisterCommand(logger=registered))


@pytest.mark.slow
def test_mlflow_serves_the_bundle(registered: TrackingConfig, tmp_path: Path) -> None:
    """As `mlflow models serve` loads it: rows of bytes in, mp4s out."""
    import io

    import pandas as pd
    import soundfile
    from PIL import Image

    from pipelines import media
    from pipelines.tracking.tracker import quiet

    data = pytest.importorskip("skimage.data")
    picture, sound = io.BytesIO(), io.BytesIO()
    Image.fromarray(data.astronaut()).save(picture, format="PNG")
    soundfile.write(sound, np.sin(np.arange(16_000) / 20) / 2, 16_000, format="WAV")
    with quiet():
        import mlflow.pyfunc

        model = mlflow.pyfunc.load_model(registry.find("audio2head/latest", registered).source)
        (video,) = model.predict(pd.DataFrame({"portrait": [picture.getvalue()], "speech": [sound.getvalue()]}))[
            "video"
        ]
    (tmp_path / "x.mp4").write_bytes(video)
    info = media.probe(tmp_path / "x.mp4")
    assert info.has_audio
    assert info.duration_s == pytest.approx(1.0, abs=0.05)


def test_weights_of_a_server_are_kept_in_the_cache(
    weights: Path, tracking_config: TrackingConfig, tmp_path: Path
) -> None:
    """A store that is not a local folder is copied once, whole, and checked all the same."""
    from dataclasses import replace

    version = register(weights, tracking_config)
    remote = replace(version, source=f"file:{version.source}")
    from pipelines.registry.artifacts import check, download

    found = download(remote, tracking_config)
    assert found.is_relative_to(tmp_path / "cache")
    check(remote, found)
    shutil.rmtree(version.source)
    assert download(remote, tracking_config) == found
    assert json.loads(version.tags["sha256"]).keys() == {"head_pose.safetensors", "provenance.json", "sources.parquet"}
