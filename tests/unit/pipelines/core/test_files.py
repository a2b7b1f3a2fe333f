"""A reader sees the whole new content or the whole old one, never a part."""

from pathlib import Path

import pytest

from a2h_models.errors import FailedError
from pipelines.core.files import PART_SUFFIX, create_folder, replace_file, replace_folder, write_text


def test_a_file_is_replaced_when_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "new" / "file.txt"
    with replace_file(target) as part:
        part.write_text("whole")
        assert part.name.endswith(PART_SUFFIX)
        assert not target.exists()
    assert [path.name for path in target.parent.iterdir()] == ["file.txt"]
    write_text(target, "newer é")
    assert target.read_text(encoding="utf-8") == "newer é"


def test_a_failed_block_leaves_the_old_file_alone(tmp_path: Path) -> None:
    target = tmp_path / "file.txt"
    target.write_text("old")

    def write_half() -> None:
        with replace_file(target) as part:
            part.write_text("ne")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert [path.name for path in tmp_path.iterdir()] == ["file.txt"]
    assert target.read_text() == "old"


def test_what_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FailedError, match=r"cannot write .*file/below\.txt"):
        write_text(tmp_path / "file" / "below.txt", "")
    with pytest.raises(FailedError, match=r"cannot write .*file/folder"), create_folder(tmp_path / "file" / "folder"):
        pass


def test_a_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    for name in ("old", "new"):
        with replace_folder(target) as part:
            (part / name).touch()
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
    assert [path.name for path in target.iterdir()] == ["new"]


def test_a_folder_that_exists_is_not_created_again(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    for name in ("first", "second"):
        with create_folder(target) as part:
            (part / name).touch()
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
    assert [path.name for path in target.iterdir()] == ["first"]
