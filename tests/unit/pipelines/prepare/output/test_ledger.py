"""The ledger balances at both levels, or says what is missing; a million rows are no trouble."""

from __future__ import annotations

import subprocess
import sys

import pytest

from a2h_models.errors import DatasetError
from a2h_models.timebase import Span
from pipelines.config import PrepareConfig
from pipelines.core.storage import Storage
from pipelines.prepare.output import ledger
from pipelines.prepare.planning.plan import Unit, Video, plan
from pipelines.prepare.reasons import Reason
from pipelines.prepare.scores import SCORES, Scores
from tests.paths import ROOT

VIDEO = Video(file="a.mp4", sha256="aa", size=1, identity="ann", frames=500, fps=25.0, width=640, height=480)
UNIT = Unit(id="u", split="train", number=0, plan="p", videos=(VIDEO,))


def _clip(key="aa_0", start=0, stop=100, reason=None, video=VIDEO):
    return ledger.clip_row(
        video, unit=UNIT, key=key, span=Span(start, stop), crop="0,0,256", scores=Scores(face_px=99.0), reason=reason
    )


def _flat(*rows):
    return [row.flat() for row in rows]


def _table(*rows):
    return ledger.table(_flat(*rows))


def test_a_balanced_ledger_passes():
    ledger.balance(
        _table(ledger.video_row(VIDEO, unit=UNIT, reason=None), _clip(), _clip("aa_1", reason=Reason.BLURRED)), inputs=1
    )


def test_two_spans_of_a_file_are_two_videos():
    second = VIDEO._replace(start=500)
    ledger.balance(
        _table(*(ledger.video_row(video, unit=UNIT, reason=Reason.NO_FACE) for video in (VIDEO, second))), inputs=2
    )


@pytest.mark.parametrize(
    ("rows", "inputs", "words"),
    [
        ((ledger.video_row(VIDEO, unit=UNIT, reason=Reason.NO_FACE),), 2, "2 videos went in"),
        ((ledger.video_row(VIDEO, unit=UNIT, reason=None),), 1, "disagree"),
        ((ledger.video_row(VIDEO, unit=UNIT, reason=Reason.NO_FACE), _clip()), 1, "disagree"),
        ((ledger.video_row(VIDEO, unit=UNIT, reason=None), _clip(), _clip()), 1, "more than once"),
        ((ledger.video_row(VIDEO, unit=UNIT, reason=Reason.NO_FACE),) * 2, 2, "more than once"),
    ],
)
def test_what_does_not_add_up_is_named(rows, inputs, words):
    with pytest.raises(DatasetError, match=words):
        ledger.balance(_table(*rows), inputs=inputs)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"status": "lost"}, "does not balance"),
        ({"reason": "bad hair"}, "nobody knows"),
        ({"reason": ""}, "contradict each other"),
    ],
)
def test_unknown_words_are_refused(change, words):
    row = ledger.video_row(VIDEO, unit=UNIT, reason=Reason.NO_FACE).flat()
    with pytest.raises(DatasetError, match=words):
        ledger.balance(ledger.table([{**row, **change}]), inputs=1)


def test_a_videos_reason_is_the_one_that_cost_the_most():
    clips = [
        _clip("1", 0, 100, Reason.BLURRED),
        _clip("2", 100, 150, Reason.TOO_SHORT),
        _clip("3", 150, 400, Reason.FACE_LOST),
    ]
    assert ledger.outcome(clips) == Reason.FACE_LOST
    assert ledger.outcome([*clips, _clip("4")]) is None
    assert ledger.outcome([]) == Reason.NO_FACE
    assert (
        ledger.outcome([_clip("1", 0, 100, Reason.BLURRED), _clip("2", 0, 100, Reason.SEVERAL_FACES)])
        == Reason.SEVERAL_FACES
    )


def test_collecting_adds_what_the_plan_dropped(tmp_path):
    dropped = Video(
        file="b\udcff.mp4",
        sha256="bb",
        size=1,
        identity="b",
        reason="no_audio",
        error_message="there is no audio stream",
    )
    made = plan([VIDEO, dropped], PrepareConfig())
    rows = ledger.collect(made, [_flat(ledger.video_row(VIDEO, unit=UNIT, reason=None), _clip())])
    out = Storage(tmp_path)
    ledger.write(out, rows)
    table = ledger.read(out)
    assert table["file"].to_pylist() == ["a.mp4", "b\\xff.mp4", "a.mp4"]
    assert set(SCORES) <= set(table.column_names)
    assert table["face_px"].to_pylist() == [None, None, 99.0]
    assert [row["status"] for row in ledger.records(table)] == ["accepted", "rejected", "accepted"]
    assert ledger.read(out, ["status"]).column_names == ["status"]
    with pytest.raises(DatasetError, match="2 videos went in"):
        ledger.collect(made, [])


def test_differences_name_row_and_column():
    rows = _flat(ledger.video_row(VIDEO, unit=UNIT, reason=None), _clip())
    edited = [rows[0], {**rows[1], "identity": "bob", "face_px": 1.0}]
    expected = ledger.table(rows)
    assert list(ledger.differences(ledger.table(edited), expected)) == [
        "ledger.parquet says of the clip aa_0 something else than its sidecar: identity, face_px"
    ]
    assert "has 1 rows" in next(ledger.differences(expected.slice(0, 1), expected))
    assert "lacks the columns face_px" in next(ledger.differences(expected.drop_columns(["face_px"]), expected))
    # a score that nobody measured
    assert list(ledger.differences(expected.drop_columns(["jitter_px"]), expected)) == []


def test_a_missing_or_damaged_ledger_is_named(tmp_path):
    out = Storage(tmp_path)
    with pytest.raises(DatasetError, match=r"has no ledger\.parquet"):
        ledger.read(out)
    out.publish(ledger.LEDGER_FILE, b"not parquet")
    with pytest.raises(DatasetError, match=r"ledger\.parquet is damaged"):
        ledger.read(out)


MILLION = """
import sys
from pathlib import Path
from pipelines.prepare.output import ledger
from pipelines.prepare.scores import SCORES
from pipelines.core.storage import Storage
from pipelines.config import PrepareConfig
from pipelines.prepare.planning.plan import Plan

def peak():  # of this program; getrusage's is also that of the one that started it
    return int(next(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")))

before = peak()
UNITS, CLIPS = {units}, 100
def rows(unit):
    texts = dict(identity=f"person {{unit}}", split="train", shard=f"a2h-train-{{unit:06d}}")
    texts |= dict(status="accepted", reason="", error_message="")
    texts |= dict(file=f"some/folder/of/videos/{{unit:07d}}.mp4", sha256=f"{{unit:064x}}", fps=25.0, width=640, height=480)
    yield dict(kind="video", key="", start=0, stop=9999, crop="", **texts)
    for clip in range(CLIPS - 1):
        scores = dict.fromkeys(SCORES, 0.5)
        yield dict(kind="clip", key=f"{{unit:020x}}_{{clip:07d}}_0000x0000", start=0, stop=99, crop="0,0,256", **texts, **scores)
plan = Plan(hash="", config={{}}, splits={{}}, units=(), dropped=())
ledger.balance = lambda rows, inputs, check=ledger.balance: check(rows, inputs=UNITS)
out = Storage(sys.argv[1])
ledger.write(out, ledger.collect(plan, (list(rows(unit)) for unit in range(UNITS))))
assert len(ledger.read(out)) == UNITS * CLIPS
print((peak() - before) // 1024)
"""


@pytest.mark.slow
def test_the_memory_of_many_rows_is_that_of_their_columns(tmp_path):
    """A fifth of a million rows, written and read, in a process of its own: as dicts they would
    take a GB.
    """
    script = tmp_path / "million.py"
    script.write_text(MILLION.format(units=2000))
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
    )
    assert 0 < int(done.stdout) < 600  # MB; 330 when this was written
