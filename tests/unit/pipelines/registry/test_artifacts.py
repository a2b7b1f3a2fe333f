"""Files of a version against the hashes of their registration."""

from pathlib import Path

import pytest

from a2h_models.errors import RegistryError
from pipelines.registry.artifacts import BUNDLE_FOLDER, check_files, compare_hashes, file_hashes, weights_folder
from pipelines.registry.versions import ModelVersion


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.safetensors").write_bytes(b"a")
    (tmp_path / "b.json").write_bytes(b"b")
    return tmp_path


def test_hashes_are_by_path_without_mlflows_own_file(folder: Path) -> None:
    (folder / "registered_model_meta").write_bytes(b"mlflow")
    assert file_hashes(folder).keys() == {"deep/a.safetensors", "b.json"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "b.json").write_bytes(b"c"), "b.json is not the file that was registered"),
        (lambda folder: (folder / "b.json").unlink(), "b.json is missing"),
        (lambda folder: (folder / "c").write_bytes(b""), "c is not the file that was registered"),
    ],
)
def test_a_changed_missing_or_new_file_is_named(folder: Path, change, message: str) -> None:
    expected = file_hashes(folder)
    compare_hashes(expected, folder, name="mine")
    change(folder)
    with pytest.raises(RegistryError, match=message):
        compare_hashes(expected, folder, name="mine")


def test_a_version_without_hashes_is_refused(folder: Path) -> None:
    with pytest.raises(RegistryError, match="registered without hashes"):
        check_files(ModelVersion(name="m", version=1, run_id="", source=""), folder)


def test_weights_of_a_bundle_lie_in_mlflows_layout(folder: Path) -> None:
    assert weights_folder(folder) == folder
    (folder / BUNDLE_FOLDER).mkdir(parents=True)
    assert weights_folder(folder) == folder / BUNDLE_FOLDER
