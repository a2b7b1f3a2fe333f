"""A manifest's spans, all the way: every clip lies in its span, what the manifest says goes along,
and who said no is not in it.
"""

from __future__ import annotations

import pytest

from pipelines.core.storage import Storage
from pipelines.dataset.shard_format import decode, read_shard, read_sidecars
from pipelines.maintenance.verify import verify
from pipelines.prepare.output import ledger
from pipelines.prepare.pipeline import prepare
from tests.paths import SHARED

pytestmark = pytest.mark.slow

SPANS = ((30, 100), (110, 190))  # frames


@pytest.fixture(scope="module")
def talk(tmp_path_factory, request):
    """One video of 8 s or more."""
    clip = SHARED / "clips" / "edtalk_uncrop_obama.mp4"
    if clip.is_file():
        return clip
    from pipelines.synthetic import SceneConfig, make_speaker_videos

    folder = tmp_path_factory.mktemp("talker")
    make_speaker_videos(folder, count=1, seed=1, scene=SceneConfig(seconds=8.0))
    return next(folder.glob("*.mp4"))


@pytest.fixture(scope="module")
def command(talk, tmp_path_factory, make_command):
    folder = tmp_path_factory.mktemp("spans")
    rows = [f"{talk},obama,{start / 25},{stop / 25},CC BY,yes,{start}" for start, stop in SPANS]
    rows += [
        f"{talk},obama,{SPANS[0][0] / 25 + 1},{SPANS[0][1] / 25},CC BY,yes,twice",
        f"{talk},eve,7.7,7.9,,no,refused",
    ]
    rows += ["gone.mp4,ann,,,,,"]
    manifest = folder / "m.csv"
    manifest.write_text("\n".join(["url,identity,start,end,licence,consent,take", *rows]) + "\n")
    made = make_command(manifest, folder / "dataset")
    made.prepare.features.f0 = "dio"
    return made


@pytest.fixture(scope="module")
def dataset(command):
    prepare(command)
    return Storage(command.out)


def _rows(dataset, kind):
    return ledger.records(ledger.where(ledger.read(dataset), kind=kind))


def test_every_clip_lies_in_its_span(dataset):
    clips = [row for row in _rows(dataset, "clip") if row["status"] == "accepted"]
    assert sorted((row["start"], row["stop"]) for row in clips) == sorted(SPANS)
    assert len({row["key"] for row in clips}) == 2


def test_every_row_of_the_manifest_is_one_of_the_ledger(dataset):
    found = {(row["identity"], row["start"], row["status"], row["reason"]) for row in _rows(dataset, "video")}
    assert found == {
        *(("obama", start, "accepted", "") for start, _ in SPANS),
        ("obama", 55, "rejected", "duplicate"),
        ("eve", 193, "rejected", "no_consent"),
        ("ann", 0, "failed", "unreadable"),
    }
    assert verify(dataset.url).sound


def test_a_sample_says_what_the_manifest_said(dataset):
    for sidecar in read_sidecars(dataset):
        for sample in map(decode, read_shard(dataset, sidecar)):
            assert sample.meta["licence"] == "CC BY"
            assert sample.meta["consent"] is True
            assert sample.meta["extra"] == {"take": str(sample.meta["span"][0])}


def test_a_dry_run_says_what_it_would_take_and_writes_nothing(command, tmp_path, make_command):
    dry = make_command(command.videos, tmp_path / "dry", dry_run=True)
    dry.prepare.features.f0 = "dio"
    said = str(prepare(dry))
    assert not (tmp_path / "dry").exists()
    assert "5 videos in 2 units; dropped: 1 duplicate, 1 no_consent, 1 unreadable" in said
    assert "1 video, 3 s of them, built in" in said  # the first span, of 70 frames
