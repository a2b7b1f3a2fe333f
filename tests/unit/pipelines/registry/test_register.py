"""The bundle: three stages joined into one version, loaded as MLflow loads it."""

from pathlib import Path

import numpy as np
import pytest

from a2h_models.errors import RegistryError
from pipelines.config import TrackingConfig
from pipelines.registry import ModelRegistry, read_provenance
from pipelines.tracking import Tracker


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


def test_a_stage_without_identities_leaves_the_bundle_without(
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
