"""A model as ONNX graphs: the numbers are torch's, any batch goes, frames are the same, and what is
wrong is told.
"""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from a2h_models.checkpoints.bundle import LISTING as BUNDLE_LISTING
from a2h_models.errors import CheckpointError, ConfigError
from a2h_models.files import sha256
from a2h_models.inference.animator import Animator
from pipelines.cli.main import main
from pipelines.config import GenerateCommand, GenerateConfig, PathsConfig
from pipelines.inference import load_animator

pytest.importorskip("onnxscript", reason="the extra export is not installed")
pytest.importorskip("onnxruntime", reason="the extra export is not installed")

from a2h_models.inference.onnx.package import LISTING, TOLERANCE, read_graphs
from a2h_models.inference.onnx.runtime import OnnxSession

NETWORKS = {"keypoint_detector", "generator_encode", "generator_render", "motion_field"}
RECURSION = {"head_pose_look", "head_pose_listen", "head_pose_step"}


@pytest.fixture(scope="module")
def exported(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("onnx") / "model"
    assert main(["export", str(bundle), str(folder), "--format", "onnx"]) == 0
    return folder


@pytest.fixture
def copy(exported: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported, tmp_path / "copy"))


def command(model: Path, cache: Path, **settings: object) -> GenerateCommand:
    return GenerateCommand(
        model=str(model), generate=GenerateConfig(backend="onnx", **settings), paths=PathsConfig(cache=str(cache))
    )


@pytest.mark.slow
def test_the_four_networks_are_there_with_torchs_numbers(exported: Path, bundle: Path) -> None:
    listing = json.loads((exported / LISTING).read_text())
    assert {Path(name).stem for name in listing["files"]} == NETWORKS | RECURSION
    assert set(listing["files"]) | {LISTING} == {path.name for path in exported.iterdir()}
    assert listing["model"] == str(bundle)
    assert max(listing["largest_difference"].values()) <= TOLERANCE


@pytest.mark.slow
def test_portraits_are_warped_by_an_operator_and_any_batch_goes(exported: Path) -> None:
    import onnx

    graph = onnx.load(exported / "generator_render.onnx")
    assert graph.opset_import[0].version >= 16
    assert "GridSample" in {node.op_type for node in graph.graph.node}
    value, jacobian = OnnxSession(exported, "keypoint_detector")(torch.rand(5, 3, 64, 64))
    assert (tuple(value.shape), tuple(jacobian.shape)) == ((5, 10, 2), (5, 10, 2, 2))


@pytest.mark.slow
def test_frames_are_those_of_torch(exported: Path, bundle: Path, astronaut: np.ndarray, tmp_path: Path) -> None:
    portrait = astronaut[20:276, 100:356]
    # more than a window, and no whole batch at the end
    wave = (np.random.default_rng(0).normal(0, 3000, 640 * 70)).astype(np.int16)
    exported_animator = load_animator(command(exported, tmp_path)).animator
    frames = [
        list(animator.animate(portrait, wave, keypoints="relative"))
        for animator in (Animator.load(bundle), exported_animator)
    ]
    assert len(frames[0]) == len(frames[1]) == 70
    apart = np.abs(np.stack(frames[0]).astype(int) - np.stack(frames[1]).astype(int))
    assert apart.max() <= 1  # a value between two greys may fall to either


@pytest.mark.slow
def test_a_bundle_is_exported_into_the_cache_and_found_there(exported: Path, bundle: Path, tmp_path: Path) -> None:
    kept = tmp_path / "onnx" / sha256(bundle / BUNDLE_LISTING)
    shutil.copytree(exported, kept)
    before = {path.name: path.stat().st_mtime_ns for path in kept.iterdir()}
    load_animator(command(bundle, tmp_path))
    assert {path.name: path.stat().st_mtime_ns for path in kept.iterdir()} == before
    assert [path.name for path in kept.parent.iterdir()] == [kept.name]


@pytest.mark.slow
def test_changed_and_foreign_folders_are_refused(copy: Path, tmp_path: Path) -> None:
    (copy / "motion_field.onnx").write_bytes(b"something else")
    with pytest.raises(CheckpointError, match=r"motion_field\.onnx is not the file that onnx\.json lists"):
        read_graphs(copy)
    (copy / LISTING).write_text('{"format": "a2h-onnx", "schema_version": 99, "files": {}}')
    with pytest.raises(CheckpointError, match="says a2h-onnx 99"):
        read_graphs(copy)
    (copy / LISTING).write_text("[]")
    with pytest.raises(CheckpointError, match="is damaged"):
        read_graphs(copy)
    with pytest.raises(CheckpointError, match=r"holds no onnx\.json"):
        read_graphs(tmp_path)
    (tmp_path / "broken.onnx").write_bytes(b"no graph")
    with pytest.raises(CheckpointError, match=r"broken\.onnx cannot be read by ONNX Runtime"):
        OnnxSession(tmp_path, "broken")


def test_what_cannot_be_exported_is_told(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, told in (
        ([str(bundle), str(tmp_path / "a"), "format=tflite"], "format=tflite does not exist\n     one of: onnx"),
        ([str(bundle), str(tmp_path)], f"{tmp_path} exists, and is not written over"),
        ([str(tmp_path / "nothing"), str(tmp_path / "a")], f"{tmp_path / 'nothing'} is neither a folder nor a model"),
        ([str(bundle)], "needs a value for out"),
    ):
        assert main(["export", *words]) == 2
        assert told in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_without_the_extra_it_is_named(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)  # as if it were not installed
    assert main(["export", str(bundle), str(tmp_path / "a")]) == 2
    assert 'onnxscript is not installed\n     install the extra "export"' in capsys.readouterr().err


def test_backends_that_do_not_exist_or_do_not_fit(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="backend=onnx supports neither compile nor bf16"):
        load_animator(command(bundle, tmp_path, compile=True))
    unknown = GenerateCommand(model=str(bundle), generate=GenerateConfig(backend="tensorrt"))
    with pytest.raises(ConfigError, match="backend=tensorrt does not exist"):
        load_animator(unknown)
