"""Finding and probing: whatever lies in a folder becomes a planned video or a row with a reason."""

from __future__ import annotations

import os
import subprocess

import pytest

from pipelines import media
from pipelines.config import ClusterConfig, FiltersConfig, PlanConfig, PrepareCommand, PrepareConfig
from pipelines.core.storage import Storage
from pipelines.prepare.planning import probe
from pipelines.prepare.planning.probe import MAX_BATCH, batch_size, broken, content_hash, probe_file, unseen
from pipelines.prepare.sources.discover import Inputs
from pipelines.prepare.sources.manifest import ManifestEntry, OptOuts

CONFIG = PrepareConfig()
NOBODY = OptOuts()


def _make(path, *, seconds=3.0, fps=25, audio=True):
    sound = ["-f", "lavfi", "-i", f"sine=frequency=220:duration={seconds}", "-c:a", "aac"] if audio else []
    picture = ["-f", "lavfi", "-i", f"testsrc=size=160x120:rate={fps}:duration={seconds}"]
    command = [
        media.ffmpeg_path(),
        "-loglevel",
        "error",
        "-y",
        *picture,
        *sound,
        "-c:v",
        "libx264",
        "-pix_fmt",
        "yuv420p",
        str(path),
    ]
    subprocess.run(command, check=True, timeout=60)
    return path


def _probe(path, config=CONFIG, opt_outs=NOBODY, **entry):
    (video,) = probe_file(
        [ManifestEntry(path.name, path.stem)._replace(**entry)], Storage(path.parent), opt_outs, config
    )
    return video


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
        ({}, PrepareConfig(plan=PlanConfig(max_pixels=1000)), "too_large"),
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
    # fixed: ffmpeg's words held the file's place and memory addresses, and so every probe made
    # another plan
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
    assert (gone := _probe(tmp_path / "gone.mp4")).reason == "unreadable"
    assert str(tmp_path) not in gone.error_message
    (tmp_path / "folder.mp4").mkdir()
    assert _probe(tmp_path / "folder.mp4").reason == "unreadable"


@pytest.mark.parametrize("name", ["with space'\"$(x).mp4", "-dash.mp4", "new\nline.mp4", b"latin-\xe9.mp4"])
def test_odd_names_are_read(tmp_path, name):
    path = tmp_path / os.fsdecode(name)
    _make(tmp_path / "plain.mp4").rename(path)
    assert _probe(path).reason == ""


def test_without_consent_nothing_is_looked_at(tmp_path):
    path = _make(tmp_path / "a.mp4")
    refused = _probe(path, consent=False)
    assert (refused.reason, refused.frames, refused.width) == ("no_consent", 0, 0)
    assert refused.sha256  # so that its copies are known
    assert _probe(path, opt_outs=OptOuts(identities=frozenset({"a"}))).error_message == "a is on the list of opt-outs"
    assert _probe(path, opt_outs=OptOuts(hashes=frozenset({content_hash(path)[0]}))).reason == "no_consent"
    assert _probe(path, opt_outs=OptOuts(identities=frozenset({"b"}))).reason == ""


def test_the_spans_of_a_file_are_videos_of_their_own(tmp_path):
    path = _make(tmp_path / "a.mp4", seconds=6.0)
    asked = [(0, 75), (75, None), (100, 400), (0, 10), (300, 400), (200, None)]
    entries = [ManifestEntry(path.name, "ann", start, stop) for start, stop in asked]
    found = probe_file(entries, Storage(tmp_path), OptOuts(), CONFIG)
    length = found[1].frames + 75
    assert abs(length - 150) <= 1
    assert [video.frames for video in found] == [75, length - 75, length - 100, 10, 0, 0]
    assert [video.reason for video in found] == ["", "", "too_short", "too_short", "too_short", "too_short"]
    assert [(video.start, video.stop) for video in found] == asked
    assert found[3].error_message == f"10 frames of the video's {length} at 25 a second, at least 64"
    assert {video.sha256 for video in found} == {found[0].sha256}


def test_what_the_manifest_says_goes_along(tmp_path):
    said = {"licence": "CC BY", "consent": True, "video_id": "v", "utterance": "u", "extra": '{"take": 3}'}
    video = _probe(_make(tmp_path / "a.mp4"), **said)
    assert video._asdict() | said == video._asdict()


def test_a_file_that_took_its_worker_down_is_a_row_for_each_span():
    entries = [ManifestEntry("a.mp4", "ann", 0, 100), ManifestEntry("a.mp4", "bob", 100)]
    found = list(broken(entries, "decoder_crashed", "the worker died"))
    assert [(video.identity, video.start, video.frames, video.reason) for video in found] == [
        ("ann", 0, 100, "decoder_crashed"),
        ("bob", 100, 0, "decoder_crashed"),
    ]


# -------------------------------------------------------------------------------- many of them
def test_few_files_go_one_by_one_and_many_in_batches():
    assert batch_size(51, 2) == 1
    assert batch_size(0, 0) == 1
    assert batch_size(10**6, 2) == MAX_BATCH
    assert batch_size(10**6, 3200) == 19


def _fragile(batch, fatal):
    files = [entries[0].file for entries in batch]
    if fatal in files:
        os._exit(139)
    return [unseen(entry) for entries in batch for entry in entries]


@pytest.mark.slow
def test_a_file_that_takes_a_batch_down_is_alone_to_blame(monkeypatch):
    # the probe's crash, injected: no file of ours crashes ffmpeg
    monkeypatch.setattr(probe, "batch_size", lambda files, workers: 4)
    monkeypatch.setattr(probe, "probe_files", lambda batch, **_: _fragile(batch, "5.mp4"))
    inputs = Inputs(Storage("."), [(ManifestEntry(f"{number}.mp4", "ann"),) for number in range(9)])
    command = PrepareCommand(videos="", out="", cluster=ClusterConfig(workers=1, max_retries=0))
    found = {video.file: video.reason for video in probe.probe_all(inputs, command)}
    assert found == {f"{number}.mp4": "decoder_crashed" if number == 5 else "" for number in range(9)}
