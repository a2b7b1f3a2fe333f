"""The page needs nothing beside it, and says nothing that others could make it say."""

from __future__ import annotations

import re
import shutil

import cv2
import numpy as np
import pytest

from pipelines.prepare import ledger
from pipelines.prepare.report import contact_sheet, draw_on, read_preview, spread, write_report
from pipelines.storage import Storage

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


@pytest.mark.slow
def test_the_page_needs_nothing_beside_it(prepared):
    page = (prepared / "report.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 2
    assert not re.findall(r'(?:src|href)="(?!data:|#)[^"]*"', page)
    for words in ("From video to samples", "unreadable", "broken.mp4"):
        assert words in page


@pytest.mark.slow
def test_what_stands_in_a_file_name_is_text(prepared, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(prepared, copy)
    out = Storage(copy)
    rows = ledger.records(ledger.read(out))
    for row in rows:
        row["error_message"] = row["identity"] = "<script>alert(1)</script>"
    ledger.write(out, rows)
    write_report(copy)
    assert "<script>" not in (copy / "report.html").read_text()


def test_a_clip_without_a_preview_has_none(tmp_path):
    assert read_preview(Storage(tmp_path), "a2h-train-000000", "key") is None
