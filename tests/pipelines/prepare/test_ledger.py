"""The ledger balances at both levels, or says what is missing."""

from __future__ import annotations

import pytest

from a2h_models.errors import DatasetError
from a2h_models.timebase import Span
from pipelines.config import PrepareConfig
from pipelines.prepare import ledger
from pipelines.prepare.filters import SCORES, Reason, Scores
from pipelines.prepare.plan import Unit, Video, plan
from pipelines.storage import Storage

VIDEO = Video(file="a.mp4", sha256="aa", size=1, identity="ann", frames=500, fps=25.0, width=640, height=480)
UNIT = Unit(id="u", split="train", number=0, plan="p", videos=(VIDEO,))


def _clip(key="aa_0", start=0, stop=100, reason=None, video=VIDEO):
    return ledger.clip_row(video, unit=UNIT, key=key, span=Span(start, stop), crop="0,0,256", scores=Scores(face_px=99.0), reason=reason)


def _flat(*rows):
    return [row.flat() for row in rows]


def test_a_balanced_ledger_passes():
    ledger.balance(_flat(ledger.video_row(VIDEO, unit=UNIT, reason=None), _clip(), _clip("aa_1", reason=Reason.BLURRED)), inputs=1)


@pytest.mark.parametrize(
    ("rows", "inputs", "words"),
    [
        ((ledger.video_row(VIDEO, unit=UNIT, reason=Reason.NO_FACE),), 2, "2 videos went in"),
        ((ledger.video_row(VIDEO, unit=UNIT, reason=None),), 1, "disagree"),
        ((ledger.video_row(VIDEO, unit=UNIT, reason=Reason.NO_FACE), _clip()), 1, "disagree"),
        ((ledger.video_row(VIDEO, unit=UNIT, reason=None), _clip(), _clip()), 1, "more than once"),
        ((ledger.video_row(VIDEO, unit=UNIT, reason=None),) * 2, 2, "more than once"),
    ],
)
def test_what_does_not_add_up_is_named(rows, inputs, words):
    with pytest.raises(DatasetError, match=words):
        ledger.balance(_flat(*rows), inputs=inputs)


def test_unknown_words_are_refused():
    row = ledger.video_row(VIDEO, unit=UNIT, reason=Reason.NO_FACE).flat()
    with pytest.raises(DatasetError, match="does not balance"):
        ledger.balance([{**row, "status": "lost"}], inputs=1)
    with pytest.raises(DatasetError, match="nobody knows"):
        ledger.balance([{**row, "reason": "bad hair"}], inputs=1)


def test_a_videos_reason_is_the_one_that_cost_the_most():
    clips = [_clip("1", 0, 100, Reason.BLURRED), _clip("2", 100, 150, Reason.TOO_SHORT), _clip("3", 150, 400, Reason.FACE_LOST)]
    assert ledger.outcome(clips) == Reason.FACE_LOST
    assert ledger.outcome([*clips, _clip("4")]) is None
    assert ledger.outcome([]) == Reason.NO_FACE
    assert ledger.outcome([_clip("1", 0, 100, Reason.BLURRED), _clip("2", 0, 100, Reason.SEVERAL_FACES)]) == Reason.SEVERAL_FACES


def test_collecting_adds_what_the_plan_dropped(tmp_path):
    dropped = Video(file="b\udcff.mp4", sha256="bb", size=1, identity="b", reason="no_audio", error_message="there is no audio stream")
    made = plan([VIDEO, dropped], PrepareConfig())
    rows = ledger.collect(made, _flat(ledger.video_row(VIDEO, unit=UNIT, reason=None), _clip()))
    out = Storage(tmp_path)
    ledger.write(out, rows)
    table = ledger.read(out)
    assert list(table.file) == ["a.mp4", "b\\xff.mp4", "a.mp4"]
    assert set(SCORES) <= set(table.columns)
    assert table.face_px.tolist()[-1] == 99.0
    assert [row["status"] for row in ledger.records(table)] == ["accepted", "rejected", "accepted"]
    with pytest.raises(DatasetError, match="2 videos went in"):
        ledger.collect(made, [])


def test_a_missing_or_damaged_ledger_is_named(tmp_path):
    out = Storage(tmp_path)
    with pytest.raises(DatasetError, match=r"has no ledger\.parquet"):
        ledger.read(out)
    out.publish(ledger.LEDGER_FILE, b"not parquet")
    with pytest.raises(DatasetError, match=r"ledger\.parquet is damaged"):
        ledger.read(out)
