"""Finding and probing: whatever lies in a folder becomes a planned video or a row with a reason."""

from __future__ import annotations

import os
import subprocess

import pytest

from a2h_models.errors import InputError
from pipelines import media
from pipelines.config import FiltersConfig, PlanConfig, PrepareConfig
from pipelines.prepare.probe import Person, find_videos, person_in, probe_video, read_people
from pipelines.storage import Storage

CONFIG = PrepareConfig()


def _make(path, *, seconds=3.0, fps=25, audio=True):
    sound = ["-f", "lavfi", "-i", f"sine=frequency=220:duration={seconds}", "-c:a", "aac"] if audio else []
    picture = ["-f", "lavfi", "-i", f"testsrc=size=160x120:rate={fps}:duration={seconds}"]
    command = [media.ffmpeg(), "-loglevel", "error", "-y", *picture, *sound, "-c:v", "libx264", "-pix_fmt", "yuv420p", str(path)]
    subprocess.run(command, check=True, timeout=60)
    return path


def _probe(path, config=CONFIG, people=None):
    return probe_video(path.name, Storage(path.parent), people or {}, config)


def test_a_sound_video_is_planned(tmp_path):
    video = _probe(_make(tmp_path / "talk.mp4"))
    assert (video.reason, video.identity, video.fps, video.width, video.height) == ("", "talk", 25.0, 160, 120)
    assert abs(video.frames - 75) <= 1
    assert len(video.sha256) == 64


@pytest.mark.parametrize(
    ("made", "config", "reason"),
    [
        ({"audio": False}, CONFIG, "no_audio"),
        ({"fps": 10}, CONFIG, "low_frame_rate"),
        ({"seconds": 1.0}, CONFIG, "too_short"),
        ({}, PrepareConfig(plan=PlanConfig(max_minutes=0.01)), "too_long"),
        ({"fps": 10}, PrepareConfig(filters=FiltersConfig(min_fps=5.0)), ""),
    ],
)
def test_each_objection_has_its_reason(tmp_path, made, config, reason):
    video = _probe(_make(tmp_path / "a.mp4", **made), config)
    assert video.reason == reason
    assert bool(video.error_message) == bool(reason)


@pytest.mark.parametrize("content", [b"", b"not a video", b"\x00" * 5000, b"<html></html>"])
def test_what_is_no_video_is_unreadable(tmp_path, content):
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    video = _probe(path)
    assert video.reason == "unreadable"
    assert "a.mp4" in video.error_message
    assert video.sha256


def test_messages_are_the_same_wherever_the_file_is(tmp_path):
    # fixed: ffmpeg's words held the file's place and memory addresses, and so every probe made another plan
    found = []
    for folder in (tmp_path / "one", tmp_path / "two"):
        folder.mkdir()
        (folder / "a.mp4").write_bytes(b"not a video")
        found += [_probe(folder / "a.mp4"), _probe(folder / "a.mp4")]
    assert len({(video.sha256, video.error_message) for video in found}) == 1


def test_a_video_that_was_cut_off_is_a_row(tmp_path):
    whole = _make(tmp_path / "whole.mp4").read_bytes()
    path = tmp_path / "cut.mp4"
    path.write_bytes(whole[: len(whole) // 2])
    assert _probe(path).reason in {"unreadable", "truncated"}


def test_a_missing_or_forbidden_file_is_a_row(tmp_path):
    assert _probe(tmp_path / "gone.mp4").reason == "unreadable"
    (tmp_path / "folder.mp4").mkdir()
    assert _probe(tmp_path / "folder.mp4").reason == "unreadable"


@pytest.mark.parametrize("name", ["with space'\"$(x).mp4", "-dash.mp4", "new\nline.mp4", b"latin-\xe9.mp4"])
def test_odd_names_are_read(tmp_path, name):
    path = tmp_path / os.fsdecode(name)
    _make(tmp_path / "plain.mp4").rename(path)
    assert _probe(path).reason == ""


def test_without_consent_nothing_is_looked_at(tmp_path):
    path = _make(tmp_path / "a.mp4")
    assert _probe(path, people={"a.mp4": Person(identity="ann", consent=False)}).reason == "no_consent"


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

    assert found(tmp_path) == ["a.MOV", "b.mp4", "sub/c.webm"]
    assert found(f"{tmp_path}/") == ["a.MOV", "b.mp4", "sub/c.webm"]
    assert found(tmp_path / "b.mp4") == ["b.mp4"]
    assert found(tmp_path / "*.mp4") == ["b.mp4"]
    assert found(tmp_path / "**" / "*.webm") == ["sub/c.webm"]
    for nothing in (tmp_path / "none", tmp_path / "*.avi"):
        with pytest.raises(InputError, match="no videos at"):
            find_videos(str(nothing))


def test_the_table_of_people(tmp_path):
    table = tmp_path / "people.csv"
    table.write_text("\ufefffile,identity,licence,consent\na.mp4,zoë,CC BY,yes\nb.mp4,,,no\n")
    people = read_people(str(table))
    assert person_in("sub/a.mp4", people) == Person(identity="zoë", licence="CC BY")
    assert person_in("b.mp4", people) == Person(identity="b", consent=False)
    assert person_in("other.mp4", people) == Person(identity="other")
    assert read_people("") == {}


def test_a_bad_table_is_named(tmp_path):
    table = tmp_path / "people.csv"
    with pytest.raises(InputError, match=r"people\.csv does not exist"):
        read_people(str(table))
    table.write_text("name,who\n")
    with pytest.raises(InputError, match="no column file and identity"):
        read_people(str(table))
    table.write_bytes(b"file,identity\n\xff\xfe,x\n")
    with pytest.raises(InputError, match="not UTF-8"):
        read_people(str(table))
