"""The page needs nothing beside it, and says nothing that others could make it say."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

from pipelines.core.storage import Storage
from pipelines.prepare.output import gallery, ledger, timings
from pipelines.prepare.output.previews import contact_sheet, draw_on, read_preview, spread
from pipelines.prepare.output.report import MAX_BYTES, write_report

FRAMES = np.random.default_rng(0).integers(0, 256, (20, 256, 256, 3), dtype=np.uint8)
POSE = np.tile(np.array([0.1, 0.2, 0.0, 0.0, 0.0, 300.0], np.float32), (20, 1))
LANDMARKS = np.random.default_rng(1).uniform(-20, 280, (20, 468, 3)).astype(np.float32)


def test_spread_is_even_and_within():
    assert spread(6, 3) == [1, 3, 5]
    assert spread(2, 6) == [0, 1]
    assert spread(0, 3) == []


@pytest.mark.parametrize("kind", [".png", ".jpg"])
def test_a_contact_sheet_is_a_row_of_pictures(kind):
    data = contact_sheet(FRAMES, POSE, LANDMARKS, columns=5, picture=64, kind=kind)
    assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).shape == (64, 320, 3)
    assert contact_sheet(FRAMES, columns=5) != contact_sheet(FRAMES, POSE, columns=5)


def test_drawing_stays_inside_and_leaves_the_frame_alone():
    before = FRAMES[0].copy()
    drawn = draw_on(FRAMES[0], POSE[0], np.full((468, 3), np.nan, np.float32))
    assert (drawn != before).any()
    np.testing.assert_array_equal(FRAMES[0], before)


class Page(HTMLParser):
    """Its text, and how its tags nest."""

    def __init__(self, text):
        super().__init__()
        self.words, self.open, self.ids = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        if tag not in {"meta", "img", "br", "path", "rect", "!doctype"}:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        """It closes itself."""

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def _page(dataset):
    return (dataset / "report.html").read_text()


def test_the_page_needs_nothing_beside_it(made):
    text = _page(made)
    page = Page(text)
    assert page.open == []
    assert text.count("data:image/jpeg;base64,") == 8 + gallery.MAX_OF_A_KIND
    assert not re.findall(r'(?:src|href)="(?!data:|#)[^"]*"', text)
    words = " ".join(page.words)
    for expected in (
        "From video to samples",
        "unreadable",
        "broken.mp4",
        "face too small",
        "Head poses",
        "The slowest videos",
        "duplicate",
    ):
        assert expected in words


def test_the_funnel_adds_up_to_all_video(made):
    percent = [
        float(number)
        for number in re.findall(r'<td class="number">([\d.]+) %</td><td class="number count">', _page(made))
    ]
    assert percent[0] == 100
    assert sum(percent[1:]) == pytest.approx(100, abs=0.5)


def test_time_and_cost_are_told(dataset):
    write_report(dataset, price_per_worker_hour=2.0)
    words = " ".join(" ".join(Page(_page(dataset)).words).split())
    # eight videos of 2.5 s each, beside 9 videos of 8 s of which one has no known length
    assert (
        "20.0 s of one worker in all: 0.28 worker hours for an hour of video, which is 3.6 times as fast as it plays."
        in words
    )
    assert "costs 0.56 an hour of video" in words
    for name in (dataset / "timings").iterdir():
        name.write_text("no json")
    write_report(dataset)
    assert "worker hours" not in _page(dataset)


def test_what_stands_in_a_file_name_is_text(dataset):
    out = Storage(dataset)
    rows = ledger.records(ledger.read(out))
    for row in rows:
        row["error_message"] = row["identity"] = "<script>alert(1)</script>"
    ledger.write(out, ledger.table(rows))
    write_report(dataset)
    assert "<script>" not in _page(dataset)


@pytest.mark.slow
def test_the_page_stays_small_whatever_the_dataset(dataset, monkeypatch):
    """Ten thousand clips of each reason and long names, with pictures as large as they get."""
    from pipelines.prepare.reasons import Reason, status_of

    noise = cv2.imencode(
        ".jpg", np.random.default_rng(0).integers(0, 255, (128, 768, 3), np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 40]
    )[1].tobytes()
    monkeypatch.setattr(gallery, "read_preview", lambda *_: noise)
    monkeypatch.setattr(gallery, "sample_strip", lambda *_: noise)
    out = Storage(dataset)
    rows = ledger.records(ledger.read(out))
    clip = next(row for row in rows if row["reason"] == "face_too_small")
    for number, reason in enumerate(list(Reason) * 400):
        video = {
            "kind": "video",
            "file": f"{'v' * 3000}{number}",
            "error_message": "m" * 3000,
            "status": status_of(reason).value,
            "reason": reason.value,
        }
        rows.append({**clip, **video, "key": ""})
        rows.append({**clip, "key": f"{number}", "status": status_of(reason).value, "reason": reason.value})
    ledger.write(out, ledger.table(rows))
    write_report(dataset)
    size = (dataset / "report.html").stat().st_size
    assert gallery.MAX_BYTES / 2 < size < MAX_BYTES


def test_a_dataset_without_a_sample_has_a_report(dataset):
    out = Storage(dataset)
    rows = [row for row in ledger.records(ledger.read(out)) if row["status"] != "accepted"]
    ledger.write(out, ledger.table(rows))
    write_report(dataset)
    assert "Accepted samples" in _page(dataset)


def test_damaged_times_are_left_out(tmp_path):
    out = Storage(tmp_path)
    timings.write(out, "a2h-train-000000", {"aa": {"open": 1.0, "cut": 2.0}})
    out.publish(timings.name_of("a2h-train-000001"), b"[1]")
    taken = timings.read(out)
    assert (taken.steps, taken.videos, taken.total) == ({"open": 1.0, "cut": 2.0}, {"aa": 3.0}, 3.0)


def test_a_clip_without_a_preview_has_none(tmp_path):
    assert read_preview(Storage(tmp_path), "a2h-train-000000", "key") is None
