"""A reader never sees half a file, and the order of names never comes from the store."""

from __future__ import annotations

import os
import pickle

import pytest

from a2h_models.errors import FailedError, InputError
from pipelines.core.files import PART_SUFFIX
from pipelines.core.storage import Storage, open_url


@pytest.fixture(params=["local", "memory"])
def store(request, tmp_path):
    if request.param == "local":
        return Storage(tmp_path / "data")
    return Storage(f"memory://{tmp_path}/data")


def test_what_is_published_is_read_back(store):
    store.publish("a/b.bin", b"123")
    assert store.read("a/b.bin") == b"123"
    assert store.exists("a/b.bin")
    with store.open("a/b.bin") as handle:
        handle.seek(1)
        assert handle.read() == b"23"
    with store.local_copy("a/b.bin") as path:
        assert path.read_bytes() == b"123"


def test_an_interrupted_writer_leaves_what_was_there(tmp_path):
    store = Storage(tmp_path)
    store.publish("a.bin", b"old")

    def write_half():
        with store.writer("a.bin") as handle:
            handle.write(b"ne")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert store.read("a.bin") == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]


def test_nothing_is_visible_before_the_end(tmp_path):
    store = Storage(tmp_path)
    with store.writer("a.bin") as handle:
        handle.write(b"1")
        handle.flush()
        assert not store.exists("a.bin")
        assert len(store.names(f"*{PART_SUFFIX}")) == 1
    assert store.names() == ["a.bin"]


def test_names_are_sorted_and_relative(store):
    for name in ("b.txt", "a.txt", "c/d.txt"):
        store.publish(name, b"")
    assert store.names("*.txt") == ["a.txt", "b.txt"]
    assert store.files("**") == ["a.txt", "b.txt", "c/d.txt"]


def test_files_leaves_out_pipes_and_folders(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file.mp4").touch()
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "link.mp4").symlink_to(tmp_path / "file.mp4")
    (tmp_path / "broken.mp4").symlink_to(tmp_path / "gone.mp4")
    assert Storage(tmp_path).files("**") == ["file.mp4", "link.mp4"]


def test_entries_tell_also_of_what_is_no_file(tmp_path):
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "file.mp4").touch()
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "broken.mp4").symlink_to(tmp_path / "gone.mp4")
    (tmp_path / "loop.mp4").symlink_to("loop.mp4")
    assert Storage(tmp_path).entries("**") == ["broken.mp4", "file.mp4", "loop.mp4", "pipe.mp4"]


@pytest.mark.parametrize("name", ["pipe.mp4", "gone.mp4", "loop.mp4"])
def test_nobody_waits_for_a_pipe(tmp_path, name):
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "loop.mp4").symlink_to("loop.mp4")
    with pytest.raises(InputError, match=name), Storage(tmp_path).local_copy(name):
        pass


def test_a_folder_whose_name_looks_like_a_glob_is_that_folder(tmp_path):
    for name in ("data[1]", "data1"):
        Storage(tmp_path / name).publish(f"of {name}.bin", b"")
    assert Storage(tmp_path / "data[1]").names() == ["of data[1].bin"]
    assert Storage(tmp_path / "data[1]").files("**") == ["of data[1].bin"]


def test_parts_are_removed_wherever_they_are_and_nothing_else(tmp_path):
    store = Storage(tmp_path)
    for name in (f"a.tar.0123{PART_SUFFIX}", f"previews/a.tar.0123{PART_SUFFIX}", "previews/a.tar", "a.tar"):
        store.publish(name, b"")
    assert store.remove_parts() == [f"a.tar.0123{PART_SUFFIX}", f"previews/a.tar.0123{PART_SUFFIX}"]
    assert store.files("**") == ["a.tar", "previews/a.tar"]


def test_a_folder_is_removed_with_everything_below_it(store):
    for name in ("kept.bin", "gone/a.bin", "gone/deep/b.bin"):
        store.publish(name, b"1")
    store.remove_folder("gone")
    store.remove_folder("never there")
    assert store.names("**/*") == ["kept.bin"]
    assert not store.exists("gone")


def test_a_missing_file_is_named(store):
    with pytest.raises(InputError, match=r"none\.bin does not exist"):
        store.read("none.bin")
    with pytest.raises(InputError, match=r"none\.bin does not exist"):
        store.open("none.bin")


def test_an_unwritable_place_is_a_clear_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(FailedError, match="cannot write"):
        Storage(tmp_path / "file").publish("a.bin", b"1")


def test_storage_travels_to_a_worker(store):
    store.publish("a.bin", b"1")
    assert pickle.loads(pickle.dumps(store)).read("a.bin") == b"1"


def test_local_path_is_for_local_stores_only(tmp_path):
    assert Storage(tmp_path).local_path("a") == tmp_path / "a"
    with pytest.raises(InputError, match="not a local folder"):
        Storage("memory://x").local_path("a")


def test_open_url_reads_any_store(tmp_path):
    (tmp_path / "a.bin").write_bytes(b"1")
    with open_url(tmp_path / "a.bin") as handle:
        assert handle.read() == b"1"
