"""Files of browser sessions: deleted with the last session that used them."""

from pathlib import Path

from pipelines.app.session_files import SessionFiles


def test_files_are_deleted_with_their_last_session(tmp_path: Path) -> None:
    files = SessionFiles(tmp_path)
    upload = tmp_path / "1f2e" / "face.png"
    upload.parent.mkdir()
    upload.touch()
    outside = tmp_path.parent / "theirs.txt"
    outside.touch()
    folder = files.folder_for("ann")
    files.keep("ann", upload, outside)
    files.keep("bob", upload)
    files.delete("ann")
    assert (folder.exists(), upload.exists(), outside.exists()) == (False, True, True)
    files.delete("bob")
    assert not upload.exists()
    assert tmp_path.exists()
