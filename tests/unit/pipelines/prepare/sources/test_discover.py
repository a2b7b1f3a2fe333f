"""What goes in: found, limited and named the same way on any machine; what is not there or cannot
be meant is an error with a hint.
"""

from __future__ import annotations

import os

import pytest

from a2h_models.errors import ConfigError, InputError
from pipelines.config import PlanConfig, PrepareCommand, PrepareConfig
from pipelines.core.storage import Storage
from pipelines.prepare.sources.discover import find_inputs, find_videos, placed
from pipelines.prepare.sources.manifest import ManifestEntry


def _find(videos, *, identity_csv="", **changes):
    config = PrepareConfig(plan=PlanConfig(identity_csv=str(identity_csv)))
    return find_inputs(PrepareCommand(videos=str(videos), out="unused", prepare=config, **changes))


def _entries(inputs):
    return [entry for entries in inputs.videos for entry in entries]


def test_folders_globs_and_files(tmp_path):
    for name in ("b.mp4", "a.MOV", "sub/c.webm", "notes.txt", "MANIFEST.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "loop").symlink_to(tmp_path)

    def found(where):
        source, names = find_videos(str(where))
        assert all(source.exists(name) for name in names)
        return names

    # what is named like a video and is none becomes a row of the ledger
    everything = ["a.MOV", "b.mp4", "pipe.mp4", "sub/c.webm"]
    assert found(tmp_path) == everything
    assert found(f"{tmp_path}/") == everything
    assert found(tmp_path / "b.mp4") == ["b.mp4"]
    assert found(tmp_path / "*.mp4") == ["b.mp4"]
    assert found(tmp_path / "**" / "*.webm") == ["sub/c.webm"]
    for nothing in (tmp_path / "none", tmp_path / "*.avi"):
        with pytest.raises(InputError, match="no videos at"):
            find_videos(str(nothing))


def test_the_limit_takes_the_first_by_name_with_all_their_spans(tmp_path):
    (tmp_path / "m.csv").write_text("url,start,end\nc.mp4,,\nb.mp4,8,9\na.mp4,,\nb.mp4,0,4\n")
    assert [(entry.file, entry.start) for entry in _entries(_find(tmp_path / "m.csv", limit=2))] == [
        ("a.mp4", 0),
        ("b.mp4", 0),
        ("b.mp4", 200),
    ]
    assert len(_find(tmp_path / "m.csv").videos) == 3
    with pytest.raises(ConfigError, match="limit=-1"):
        _find(tmp_path / "m.csv", limit=-1)


def test_a_manifest_without_rows_is_refused(tmp_path):
    (tmp_path / "m.csv").write_text("url\n")
    with pytest.raises(InputError, match=r"m\.csv lists no videos"):
        _find(tmp_path / "m.csv")


def test_who_is_in_it_is_said_by_manifest_then_table_then_layout_then_name(tmp_path):
    (tmp_path / "m.csv").write_text(
        "url,identity\nid00001/v/00001.mp4,ann\nid00002/v/00001.mp4,\nid00003/v/00007.mp4,\n"
    )
    (tmp_path / "people.csv").write_text("file,identity\nid00001/v/00001.mp4,eve\nid00002/v/00001.mp4,bob\n")
    people = tmp_path / "people.csv"
    assert [e.identity for e in _entries(_find(tmp_path / "m.csv", identity_csv=people, layout="voxceleb"))] == [
        "ann",
        "bob",
        "id00003",
    ]
    assert [e.identity for e in _entries(_find(tmp_path / "m.csv"))] == ["ann", "00001", "00007"]
    named = _entries(_find(tmp_path / "m.csv", layout="voxceleb"))[2]
    assert (named.video_id, named.utterance) == ("v", "00007")


def test_a_refusal_of_either_table_counts(tmp_path):
    (tmp_path / "m.csv").write_text("url,consent\na.mp4,yes\nb.mp4,no\nc.mp4,\nd.mp4,\n")
    (tmp_path / "people.csv").write_text("file,identity,consent\na.mp4,ann,no\nb.mp4,bob,yes\nc.mp4,cy,yes\n")
    found = _entries(_find(tmp_path / "m.csv", identity_csv=tmp_path / "people.csv"))
    assert [entry.consent for entry in found] == [False, False, True, None]


def test_a_folder_needs_no_table(tmp_path):
    for name in ("s2/bbaf2n.mpg", "s1/bbaf2n.mpg"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    assert _entries(_find(tmp_path)) == [
        ManifestEntry("s1/bbaf2n.mpg", "bbaf2n"),
        ManifestEntry("s2/bbaf2n.mpg", "bbaf2n"),
    ]
    assert [entry.identity for entry in _entries(_find(tmp_path, layout="grid"))] == ["s1", "s2"]


def test_a_manifest_may_name_several_stores(tmp_path):
    (tmp_path / "lists").mkdir()
    (tmp_path / "a.mp4").write_bytes(b"a")
    Storage("memory://bucket/raw").publish("b.mp4", b"b")
    (tmp_path / "lists" / "m.csv").write_text(
        f"url\n../a.mp4\nmemory://bucket/raw/b.mp4\n{tmp_path}/a.mp4\nfile://{tmp_path}/a.mp4\n"
    )
    inputs = _find(tmp_path / "lists" / "m.csv")
    read = {}
    for entry in _entries(inputs):
        store, name = placed(entry.file, inputs.source)
        with store.local_copy(name) as local:
            read[entry.file] = local.read_bytes()
    assert sorted(read.values()) == [b"a", b"a", b"a", b"b"]
    assert len(read) == 4


def test_a_parent_folder_on_a_store_is_found():
    Storage("memory://bucket/raw").publish("a.mp4", b"a")
    store, name = placed("../raw/a.mp4", Storage("memory://bucket/lists"))
    assert store.read(name) == b"a"
