"""The published weights through the command line: into the registry, to a video, and out again with
the same bits.
"""

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from a2h_models.checkpoints.original_release import TABLE, _named, _unfilled, check_scale, from_release
from a2h_models.errors import CheckpointError
from a2h_models.networks import STAGES, NetworksConfig, build
from a2h_models.networks.keypoint_detector import KeypointDetectorConfig
from a2h_models.networks.weights import on_meta
from pipelines import media
from pipelines.cli.main import main
from pipelines.config import TrackingConfig
from pipelines.registry import BUNDLE, STAGE_MODELS, ModelRegistry


# ---------------------------------------------------------------------------------- what is refused
@pytest.fixture(scope="module")
def hollow() -> dict[str, dict[str, Tensor]]:
    """Every tensor of a release by name, shape and type, all zeros: of one number each, so that the
    file is small.
    """
    return {
        part: {name: torch.zeros((), dtype=tensor.dtype).expand(tensor.shape) for name, tensor in state.items()}
        for part, state in _named(_unfilled(NetworksConfig())).items()
    }


def refused(path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Exit code and sentence; the registry was not even opened."""
    database = path.parent / "no.db"
    code = main(
        ["import-release", str(path), f"logger.tracking_uri=sqlite:///{database}", f"logger.artifacts={path.parent}/no"]
    )
    told = capsys.readouterr().err
    assert "Traceback" not in told
    assert "trust" not in told  # torch's advice
    return code, told


class Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return (os.system, ("touch code-from-a-checkpoint-ran",))


def test_what_is_not_a_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "audio2head.pth.tar"
    assert refused(path, capsys)[0] == 2
    path.mkdir()
    assert refused(path, capsys)[0] == 2
    path.rmdir()
    for content, reason in (
        (b"", "it is empty"),
        (b"<html>Too many requests</html>", "it is damaged, or something else"),
    ):
        path.write_bytes(content)
        code, told = refused(path, capsys)
        assert code == 1
        assert f"{path} cannot be read as a checkpoint: {reason}" in told
    torch.save({part: Evil() for part in TABLE}, path)
    code, told = refused(path, capsys)
    assert code == 1
    assert "posix.system, which is code and not weights" in told
    assert not (tmp_path / "code-from-a-checkpoint-ran").exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_that_is_cut_off(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], hollow: dict[str, dict[str, Tensor]], *, zipped: bool
) -> None:
    path = tmp_path / "audio2head.pth.tar"
    torch.save(hollow, path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    for share in (0.1, 0.5, 0.99):
        path.write_bytes(whole[: int(share * len(whole))])
        code, told = refused(path, capsys)
        assert code == 1, told
        assert ("it is cut off or damaged" if zipped else "it is damaged") in told


def test_parts_that_are_missing_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], hollow: dict[str, dict[str, Tensor]]
) -> None:
    path = tmp_path / "fomm.pth.tar"
    torch.save({part: hollow[part] for part in ("kp_detector", "generator")} | {"epoch": 3}, path)
    code, told = refused(path, capsys)
    assert code == 1
    assert "not kp_detector, generator, epoch" in told
    assert "missing: audio2kp, audio2pose" in told


def test_tensors_that_do_not_fit_are_named(hollow: dict[str, dict[str, Tensor]]) -> None:
    """Each kind of fault on its own, in the file's own names."""
    name = "output.bias"

    def fault(change: dict[str, object], *, without: str = "") -> str:
        pose = {key: value for key, value in hollow["audio2pose"].items() if key != without}
        with pytest.raises(CheckpointError) as caught:
            from_release({**hollow, "audio2pose": {**pose, **change}}, source="test")
        return caught.value.message

    assert fault({}, without=name).endswith("network: audio2pose.output.bias is missing")
    assert fault({"new.bias": torch.zeros(1)}).endswith("network: audio2pose.new.bias is unknown")
    assert fault({name: torch.zeros(7)}).endswith("network: audio2pose.output.bias has shape (7,), not (6,)")
    assert fault({name: torch.zeros(6, dtype=torch.float16)}).endswith(
        "output.bias holds torch.float16, not torch.float32"
    )
    assert fault({name: "zero"}).endswith("audio2pose.output.bias is a str, not a tensor")
    with pytest.raises(CheckpointError, match="audio2pose is a list instead of tensors by name"):
        from_release({**hollow, "audio2pose": []}, source="test")


def test_a_release_of_older_torch_is_read(hollow: dict[str, dict[str, Tensor]], tmp_path: Path) -> None:
    """Before 1.6 a checkpoint was no zip file, and could not be mapped into memory."""
    from a2h_models.checkpoints.original_release import read_release

    torch.save(hollow, tmp_path / "old.pth.tar", _use_new_zipfile_serialization=False)
    assert read_release(tmp_path / "old.pth.tar").keys() == set(STAGES)


@pytest.mark.parametrize(
    "spoken", [["--champion", "x.tar"], ["x.tar", "--champion=true"], ["champion=true", "file=x.tar"]]
)
def test_a_switch_does_not_swallow_the_file_after_it(spoken: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    import yaml

    assert main(["import-release", *spoken, "--cfg", "job"]) == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert (shown["file"], shown["champion"]) == ("x.tar", True)


# ------------------------------------------------------------------------------- what cannot go out
def test_a_narrow_bundle_is_not_exported(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "out" / "x.pth.tar"
    assert main(["export-release", str(bundle), str(target)]) == 1
    assert "blends in the portrait" in capsys.readouterr().err
    assert not target.parent.exists()


def test_other_sizes_are_named() -> None:
    def check(config: NetworksConfig) -> None:
        check_scale(
            {stage: on_meta(partial(build, stage, config)) for stage in STAGES}, config, source="models:/audio2head/7"
        )

    paper = NetworksConfig()
    check(paper)
    with pytest.raises(
        CheckpointError, match=r"kp_detector\.predictor\S+ of models:/audio2head/7 has shape .*, the release's .*"
    ):
        check(replace(paper, keypoint_detector=KeypointDetectorConfig(width=16)))
    with pytest.raises(CheckpointError, match=r"has no generator\.\S+, which the release has"):
        check(replace(paper, generator=replace(paper.generator, residual_blocks=5)))
    with pytest.raises(CheckpointError, match=r"has generator\.\S+, which the release has not"):
        check(replace(paper, generator=replace(paper.generator, residual_blocks=7)))
    with pytest.raises(
        CheckpointError, match=r"made with networks\.keypoint_detector\.temperature=0\.2, the release's is 0\.1"
    ):
        check(replace(paper, keypoint_detector=KeypointDetectorConfig(temperature=0.2)))


# -------------------------------------------------------------------------------- in, and out again
@pytest.fixture(scope="module")
def release(stand_in_checkpoint: Callable[[int], Path]) -> Path:
    """Another stand-in of the released file than the networks' tests have."""
    return stand_in_checkpoint(1)


@pytest.fixture(scope="module")
def world(release: Path, empty_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tracking store into which the release was imported through the command line."""
    folder = tmp_path_factory.mktemp("imported")
    shutil.copy(empty_database, folder / "mlflow.db")
    assert main(["import-release", str(release), *words(folder)]) == 0
    return folder


def words(folder: Path) -> list[str]:
    return [
        f"logger.tracking_uri=sqlite:///{folder}/mlflow.db",
        f"logger.artifacts={folder}/artifacts",
        f"paths.cache={folder}/cache",
    ]


def logger(folder: Path) -> TrackingConfig:
    return TrackingConfig(
        tracking_uri=f"sqlite:///{folder}/mlflow.db", artifacts=f"{folder}/artifacts", cache=f"{folder}/cache"
    )


@pytest.mark.slow
def test_an_import_says_what_it_is_and_where_it_is_from(world: Path, release: Path) -> None:
    import hashlib

    with release.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    for name in (BUNDLE, *STAGE_MODELS.values()):
        version = ModelRegistry.from_config(logger(world)).find(f"{name}/1")
        assert version.tags["origin"] == "release"
        assert version.tags["source_sha256"] == digest
        assert version.tags["source_file"] == release.name
        assert version.tags["dataset_fingerprint"] == "unknown"  # so that no gate is fooled
    assert ModelRegistry.from_config(logger(world)).find("audio2head@challenger").version == 1


@pytest.mark.slow
def test_the_same_file_is_imported_once_and_crowned_on_request(
    world: Path, release: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    shutil.copy(world / "mlflow.db", tmp_path / "mlflow.db")
    assert main(["import-release", "--champion", str(release), *words(tmp_path)]) == 0
    told = capsys.readouterr().out
    assert "models:/audio2head/1, imported before from the same file" in told
    assert "is now champion: set by hand when the release was imported; no gate was looked at" in told
    champion = ModelRegistry.from_config(logger(tmp_path)).find("audio2head@champion")
    assert champion.version == ModelRegistry.from_config(logger(tmp_path)).find("audio2head/latest").version == 1
    assert champion.tags["validation_status"] == "waived"
    assert "set by hand" in champion.tags["promotion_decision"]


@pytest.mark.slow
def test_the_release_generates_a_video(
    world: Path, shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import soundfile

    wave, rate = soundfile.read(shared / "speech" / "audio2head_intro.wav")
    soundfile.write(tmp_path / "half.wav", wave[rate : rate + rate // 2], rate)
    code = main(
        [
            *("generate", "model=models:/audio2head/1", "--preprocess", "resize", "--keypoints", "absolute"),
            *("--source_image", str(shared / "portraits" / "audio2head_obama.jpg")),
            *("--driven_audio", str(tmp_path / "half.wav"), "--result_dir", str(tmp_path), *words(world)),
        ]
    )
    assert code == 0
    video = tmp_path / "audio2head_obama__half.mp4"
    assert str(video) in capsys.readouterr().out
    info = media.probe(video)
    assert (info.width, info.height, info.fps) == (256, 256, 25)
    assert info.has_audio
    frames = np.concatenate(list(media.read_clip(video)))
    assert len(frames) == 13  # that cover half a second
    assert frames.std() > 1  # random weights draw an odd picture, but they draw


@pytest.mark.slow
def test_out_come_the_same_bits(world: Path, release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "new" / "back.pth.tar"
    assert main(["export-release", "models:/audio2head/1", str(target), *words(world)]) == 0
    assert list(target.parent.iterdir()) == [target]
    there, back = (torch.load(path, weights_only=True, mmap=True) for path in (release, target))
    assert {part: set(state) for part, state in there.items()} == {part: set(state) for part, state in back.items()}
    for part, state in there.items():
        assert [name for name, tensor in state.items() if not torch.equal(tensor, back[part][name])] == []
        assert all(tensor.dtype == back[part][name].dtype for name, tensor in state.items())
    assert main(["export-release", "models:/audio2head/1", str(target), *words(world)]) == 2
    assert "exists" in capsys.readouterr().err
