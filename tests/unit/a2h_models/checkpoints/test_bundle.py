"""A bundle's listing names its files by their hashes, and any other file is refused."""

import json
from pathlib import Path

import pytest

from a2h_models.checkpoints.bundle import check, locate, write_listing
from a2h_models.errors import CheckpointError
from a2h_models.files import sha256
from a2h_models.networks import STAGES
from a2h_models.networks.weights import file_name


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A bundle whose weights are short texts: a listing knows only their hashes."""
    files = {name: tmp_path / name for name in map(file_name, STAGES)}
    for name, path in files.items():
        path.write_text(name)
    write_listing(tmp_path, files)
    return tmp_path


def test_the_hash_is_sha256(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")  # FIPS 180-2, example B.1
    assert sha256(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_bundle_fits_its_own_listing(folder: Path) -> None:
    check(folder)
    listing = json.loads((folder / "bundle.json").read_text())
    assert listing["files"].keys() == set(map(file_name, STAGES))


@pytest.mark.parametrize("stage", STAGES)
def test_a_changed_file_and_a_missing_one_are_named(folder: Path, stage: str) -> None:
    path = folder / file_name(stage)
    path.write_text("other weights")
    with pytest.raises(CheckpointError, match=f"{path.name} is not the file"):
        check(folder)
    path.unlink()
    with pytest.raises(CheckpointError, match=f"holds no {path.name}"):
        check(folder)


@pytest.mark.parametrize(("text", "message"), [("{", "is damaged"), ('{"format": "zip"}', "it says zip None")])
def test_a_listing_that_cannot_be_read_or_is_of_another_format_is_refused(
    folder: Path, text: str, message: str
) -> None:
    (folder / "bundle.json").write_text(text)
    with pytest.raises(CheckpointError, match=message):
        check(folder)


def test_a_folder_is_located_even_with_a_colon_in_its_name(tmp_path: Path) -> None:
    (tmp_path / "gopher:1").mkdir()
    assert locate(str(tmp_path / "gopher:1")) == tmp_path / "gopher:1"
    assert locate("not/there") == Path("not/there")
    with pytest.raises(CheckpointError, match="names that begin with gopher:"):
        locate("gopher:2")
