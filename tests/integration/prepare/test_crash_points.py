"""A preparation that is killed between any two steps of publishing, each time resumed, ends as one
that was left in peace.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.core.storage import PART_SUFFIX, Storage
from pipelines.maintenance.verify import verify
from pipelines.prepare.planning.plan import PLAN_FILE

pytestmark = pytest.mark.slow

PHASES = ("before", "half", "whole", "after")  # nothing written; some bytes aside; all bytes aside; renamed

# Runs in a process of its own, which forks before anything has started threads. Each child
# prepares, and is killed by SIGKILL at one
# point: the first time that a file of one kind reaches one phase. What a video yields is taken from
# a finished dataset: decoding has no
# part in publishing.
HARNESS = '''
import json, os, re, signal, sys, traceback
from pathlib import Path
from pipelines.config import ClusterConfig, PathsConfig, PrepareCommand
from pipelines.dataset.shard_format import read_members, read_sidecars
from pipelines.prepare import pipeline
from pipelines.prepare.scores import SCORES, Scores
from pipelines.face.face_mesh import Square
from pipelines.prepare.output.ledger import CLIP
from pipelines.prepare.reasons import Reason
from pipelines.prepare.steps.find_clips import Clip
from pipelines.prepare.steps.state import ClipState
from a2h_models.timebase import Span
from pipelines.core import files, storage

videos, finished, out, cache = sys.argv[1:]
PHASES = ("before", "half", "whole", "after")


def kind(name):
    return re.sub(r"[0-9]{6}", "0", name).replace("val", "train").replace("test", "train")


def replay(state, context):
    dataset = storage.Storage(finished)
    for sidecar in read_sidecars(dataset):
        for row in sidecar.ledger:
            if row["kind"] == CLIP and row["sha256"] == state.video.sha256:
                scores = Scores(**{name: row[name] for name in SCORES})
                square = Square(*map(int, row["crop"].split(",")))
                clip = Clip(key=row["key"], span=Span(row["start"], row["stop"]), square=square, face_px=0, faces=1, shot=0)
                reason = Reason(row["reason"]) if row["reason"] else None
                encoded = None if reason else read_members(dataset, sidecar, row["key"])
                yield ClipState(
                    clip=clip, source=state, scores=scores, reason=reason, message=row["error_message"], encoded=encoded
                )


class Deadly:
    """A Storage whose steps can be the last."""

    def __init__(self, point, seen):
        self.point, self.seen, self.disk, self.replace = point, seen, storage.Storage._to_disk, os.replace
        storage.Storage._to_disk = lambda store, name: self.to_disk(store, name)
        os.replace = self.renamed

    def reach(self, name, phase):
        point = kind(name), phase
        if point not in self.seen:
            self.seen.append(point)
        if point == self.point:
            os.kill(os.getpid(), signal.SIGKILL)

    def to_disk(self, store, name):
        from contextlib import contextmanager

        @contextmanager
        def watched():
            self.reach(name, "before")
            with self.disk(store, name) as handle:
                write = handle.write

                class Half:
                    closed = False

                    def write(me, data):
                        count = write(data[: len(data) // 2])
                        handle.flush()
                        self.reach(name, "half")
                        return count + write(data[len(data) // 2 :])

                    def __getattr__(me, word):
                        return getattr(handle, word)

                yield Half()

        return watched()

    def renamed(self, aside, target, **more):
        name = os.path.relpath(target, out)
        ours = not name.startswith("..") and str(aside).endswith(files.PART_SUFFIX)
        if ours:
            self.reach(name, "whole")
        self.replace(aside, target, **more)
        if ours:
            self.reach(name, "after")


def prepare(point):
    """In a child; returns how it ended, and the points that it passed."""
    reader, writer = os.pipe()
    if child := os.fork():
        os.close(writer)
        with os.fdopen(reader) as told:
            passed = told.read()
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        return status, json.loads(passed or "[]")
    os.close(reader)
    try:
        pipeline.run_steps_on_file = replay
        deadly = Deadly(point, [])
        pipeline.prepare(PrepareCommand(videos=videos, out=out, cluster=ClusterConfig(workers=0), paths=PathsConfig(cache=cache)))
        os.write(writer, json.dumps(deadly.seen).encode())
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def visible():
    root = Path(out)
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file() and not p.name.endswith(files.PART_SUFFIX)}


import shutil

status, points = prepare(None)
reference = visible()
shutil.rmtree(out)
story = {"first": status, "points": points, "killed": [], "torn": [], "last": None}
for point in map(tuple, points):
    status, _ = prepare(point)
    story["killed"].append([*point, status])
    exact = {n: b for n, b in visible().items() if n.endswith((".tar", ".json")) and "timings" not in n}
    story["torn"] += [[*point, name] for name, data in exact.items() if data != reference.get(name)]
story["parts"] = len(list(Path(out).rglob("*" + files.PART_SUFFIX)))
story["last"] = prepare(None)[0]
print("STORY" + json.dumps(story))
'''


@pytest.fixture(scope="module")
def killed_everywhere(talks, prepared, tmp_path_factory):
    """The folder after it all, and the story of the kills."""
    folder = tmp_path_factory.mktemp("killed")
    arguments = [sys.executable, "-W", "ignore", "-c", HARNESS, talks, prepared, folder / "out", folder / "cache"]
    done = subprocess.run([str(word) for word in arguments], capture_output=True, text=True, timeout=300, check=False)
    assert "STORY" in done.stdout, done.stderr[-3000:]
    return folder / "out", json.loads(done.stdout.partition("STORY")[2]), done.stderr


def test_every_step_of_publishing_was_the_last_one_once(killed_everywhere):
    _, story, errors = killed_everywhere
    assert story["first"] == 0, errors[-3000:]
    kinds = {name for name, _ in story["points"]}
    assert {
        PLAN_FILE,
        "a2h-train-0.tar",
        "a2h-train-0.json",
        "ledger.parquet",
        "dataset.json",
        "report.html",
        "README.md",
    } <= kinds
    assert {(name, phase) for name, phase in story["points"]} == {(name, phase) for name in kinds for phase in PHASES}
    assert [status for _, _, status in story["killed"]] == [-9] * len(story["points"]), errors[-3000:]


def test_no_reader_ever_sees_half_a_file(killed_everywhere):
    _, story, _ = killed_everywhere
    assert story["torn"] == []


def test_after_all_kills_the_bytes_are_those_of_a_run_in_peace(killed_everywhere, prepared):
    out, story, errors = killed_everywhere
    assert story["last"] == 0, errors[-3000:]

    def shards(folder: Path) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in folder.glob("a2h-*")}

    assert shards(out) == shards(prepared)
    assert (out / PLAN_FILE).read_bytes() == (prepared / PLAN_FILE).read_bytes()
    report = verify(out, clean=True)
    assert report.sound, str(report)
    assert not Storage(out).names(f"**/*{PART_SUFFIX}")
