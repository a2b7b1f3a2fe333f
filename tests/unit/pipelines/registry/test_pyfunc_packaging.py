"""The bundle as MLflow loads it: complete, unchanged, and with no more than the extra `generate`."""

import json
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from a2h_models.errors import A2HError, RegistryError
from pipelines.config import TrackingConfig
from pipelines.registry import ModelRegistry
from tests.paths import ROOT


@pytest.fixture
def model(registered: TrackingConfig, tmp_path: Path) -> Path:
    """A copy of a registered bundle's files, as MLflow would download them."""
    return shutil.copytree(ModelRegistry.from_config(registered).find("audio2head/1").source, tmp_path / "model")


def load(folder: Path) -> object:
    from pipelines.tracking.tracker import quiet

    with quiet():
        import mlflow.pyfunc

        return mlflow.pyfunc.load_model(str(folder))


def test_it_says_what_goes_in_and_out(model: Path) -> None:
    import yaml

    described = yaml.safe_load((model / "MLmodel").read_text())
    columns = {
        name: [column["name"] for column in json.loads(described["signature"][name])]
        for name in ("inputs", "outputs", "params")
    }
    assert columns["inputs"] == ["portrait", "speech"]
    assert columns["outputs"] == ["video"]
    assert "preprocess" in columns["params"]
    assert described["flavors"]["python_function"]["loader_module"] == "pipelines.inference.pyfunc"
    assert "python_model" not in described["flavors"]["python_function"]  # a pickle
    names = [line.partition("==")[0] for line in (model / "requirements.txt").read_text().split()]
    assert names == ["mlflow", "audio2head[generate]"]


BLOCKED = (
    "ray",
    "mediapipe",
    "pytorch_lightning",
    "lightning",
    "webdataset",
    "decord",
    "torchmetrics",
    "gradio",
    "skimage",
    "s3fs",
)
CLEAN = f"""
import importlib.abc, sys

class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {BLOCKED!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
import mlflow.pyfunc

model = mlflow.pyfunc.load_model(sys.argv[1])
rows, params = model.input_example, model.metadata.load_input_example_params(sys.argv[1])
(video,) = model.predict(rows, params=params)["video"]
sys.stdout.buffer.write(video)
"""


@pytest.mark.slow
def test_its_example_runs_where_only_the_package_is_installed(model: Path, tmp_path: Path) -> None:
    """Without any extra at all: the example is a crop, so not even MediaPipe is needed."""
    answer = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CLEAN, str(model)],
        capture_output=True,
        check=False,
        cwd=tmp_path,
        env=environment(),
    )
    assert answer.returncode == 0, answer.stderr.decode()
    (tmp_path / "video.mp4").write_bytes(answer.stdout)
    from pipelines import media

    info = media.probe(tmp_path / "video.mp4")
    assert info.has_audio
    assert info.duration_s == pytest.approx(0.2, abs=0.1)


def environment() -> dict[str, str]:
    import os

    return os.environ | {"PYTHONPATH": str(ROOT), "MLFLOW_DISABLE_TELEMETRY": "true"}


def test_blocked_packages_are_no_requirement_of_the_bundle() -> None:
    """The bundle asks for the extra `generate`, whose one package finds faces."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert [line.partition("==")[0] for line in project["optional-dependencies"]["generate"]] == ["mediapipe"]
    needed = " ".join(project["dependencies"])
    assert not [name for name in BLOCKED if name.replace("_", "-") in needed]


@pytest.mark.parametrize(
    "file",
    [
        "data/bundle/image_generator.safetensors",
        "data/bundle/head_pose.safetensors",
        "data/bundle/bundle.json",
        "data/bundle/provenance.json",
        "data/bundle/sources.parquet",
    ],
)
def test_one_flipped_byte_is_refused(model: Path, file: str) -> None:
    data = bytearray((model / file).read_bytes())
    data[len(data) // 2] ^= 1
    (model / file).write_bytes(bytes(data))
    with pytest.raises(RegistryError, match=f"{Path(file).name} is not the file that was registered"):
        load(model)


def test_weights_exchanged_with_their_hashes_are_refused(
    model: Path, stage_folders: dict[str, Path], bundle: Path
) -> None:
    """bundle.json lists the weights' hashes; whoever can change the weights can change that as
    well, but not what MLmodel says.
    """
    import torch

    from a2h_models.inference.animator import Animator

    other = Animator.load(bundle)
    with torch.no_grad():
        for weight in other.image_generator.parameters():
            weight.mul_(10)
    other.save(model / "data" / "bundle")
    with pytest.raises(RegistryError, match="is not the file that was registered"):
        load(model)


def test_an_added_and_a_missing_file_are_refused(model: Path) -> None:
    extra = model / "data" / "bundle" / "more.pkl"
    extra.write_bytes(b"\x80")
    with pytest.raises(RegistryError, match=r"more\.pkl is not the file that was registered"):
        load(model)
    extra.unlink()
    (model / "data" / "bundle" / "motion_field.safetensors").unlink()
    with pytest.raises(A2HError, match=r"motion_field\.safetensors is missing"):
        load(model)


def test_a_bundle_that_does_not_list_its_files_is_refused(model: Path) -> None:
    import yaml

    described = yaml.safe_load((model / "MLmodel").read_text())
    del described["metadata"]
    (model / "MLmodel").write_text(yaml.safe_dump(described))
    with pytest.raises(RegistryError, match="does not say which files"):
        load(model)


@pytest.mark.parametrize("file", ["MLmodel", "requirements.txt", "data/bundle/bundle.json"])
def test_our_own_way_in_checks_every_file(registered: TrackingConfig, model: Path, file: str) -> None:
    """The registry's database has all hashes, so that not even MLmodel or a requirement can be
    exchanged.
    """
    from pipelines.registry.artifacts import check_files

    version = ModelRegistry.from_config(registered).find("audio2head/1")
    check_files(version, model)
    (model / file).write_text((model / file).read_text() + "\n")
    with pytest.raises(RegistryError, match="is not the file that was registered"):
        check_files(version, model)
    (model / "data" / "bundle" / "run_me.py").write_text("")
    with pytest.raises(RegistryError):
        check_files(version, model)
