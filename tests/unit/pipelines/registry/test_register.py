"""Versions: registered with hashes, fetched with a check, loaded as MLflow loads them."""

import json
import shutil
from pathlib import Path

import numpy as np
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


# --------------------------------------------------------------------------------------- the bundle
def test_the_bundle_knows_where_it_comes_from(registered: TrackingConfig) -> None:
    version = ModelRegistry.from_config(registered).find("models:/audio2head@challenger")
    assert str(version) == "models:/audio2head/1"
    assert version.tags["motion_field"] == "models:/a2h-motion-field/1"
    assert version.tags["dataset_fingerprint"] == "f" * 64
    provenance = read_provenance(ModelRegistry.from_config(registered).fetch(version.uri))
    assert provenance["identities"] == ["ann", "bob"]
    assert provenance["stages"]["head_pose"]["stage"] == "head_pose"


def test_the_bundle_is_an_animator(registered: TrackingConfig) -> None:
    from a2h_models.inference.animator import Animator

    animator = Animator.load(ModelRegistry.from_config(registered).fetch("models:/audio2head/latest"))
    assert animator.config.image_size == 64


def test_nothing_is_pickled(registered_world: Path) -> None:
    models = registered_world / "artifacts" / "models"  # beside it lie the artefacts of runs, other tests' pictures too
    suffixes = {path.suffix for path in models.rglob("*") if path.is_file()}
    assert ".safetensors" in suffixes
    assert suffixes <= {".safetensors", ".json", ".parquet", ".yaml", ".txt", ""}  # "" is MLmodel


def test_a_stage_that_does_not_say_who_was_seen_silences_the_bundle(
    registered: TrackingConfig, stage_folders: dict[str, Path]
) -> None:
    run_id = Tracker(registered).open_run("x")
    ModelRegistry.from_config(registered).register_stage(
        stage_folders["head_pose"], "head_pose", run_id=run_id, tags={}
    )
    version = ModelRegistry.from_config(registered).register_bundle()
    assert version.version == 2
    assert read_provenance(ModelRegistry.from_config(registered).fetch(version.uri))["identities"] == []
    assert version.tags["dataset_fingerprint"] == f"{'f' * 64},unknown"


def test_stages_of_different_networks_do_not_join(
    registered: TrackingConfig, tiny_networks: object, tmp_path: Path
) -> None:
    from dataclasses import replace

    from a2h_models.networks import build, save

    other = replace(tiny_networks, head_pose=replace(tiny_networks.head_pose, state=16))
    save(build("head_pose", other), "head_pose", other, tmp_path)
    run_id = Tracker(registered).open_run("x")
    ModelRegistry.from_config(registered).register_stage(tmp_path, "head_pose", run_id=run_id, tags={})
    with pytest.raises(RegistryError, match="different networks"):
        ModelRegistry.from_config(registered).register_bundle()


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

        model = mlflow.pyfunc.load_model(ModelRegistry.from_config(registered).find("audio2head/latest").source)
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
    from pipelines.registry.artifacts import check_files

    found = ModelRegistry.from_config(tracking_config).download(remote)
    assert found.is_relative_to(tmp_path / "cache")
    check_files(remote, found)
    shutil.rmtree(version.source)
    assert ModelRegistry.from_config(tracking_config).download(remote) == found
    assert json.loads(version.tags["sha256"]).keys() == {"head_pose.safetensors", "provenance.json", "sources.parquet"}
