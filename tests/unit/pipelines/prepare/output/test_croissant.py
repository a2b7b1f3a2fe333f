"""What the dataset says of itself to machines and to people."""

from __future__ import annotations

import json

import pytest

from pipelines.core.storage import Storage
from pipelines.dataset.shard_format import MEMBERS
from pipelines.prepare.output.croissant import CONFORMS_TO
from pipelines.prepare.output.data_card import one_line
from pipelines.prepare.output.finalize import finish
from pipelines.prepare.planning.plan import PLAN_FILE, Plan

# Croissant 1.0
REQUIRED = ("@context", "@type", "name", "conformsTo", "description", "license", "url", "creator", "datePublished")


def _croissant(dataset):
    return json.loads((dataset / "croissant.json").read_text())


def test_it_has_what_the_standard_requires(made):
    values = _croissant(made)
    assert set(REQUIRED) <= values.keys()
    assert values["conformsTo"] == CONFORMS_TO
    ids = [entry["@id"] for entry in [*values["distribution"], *values["recordSet"]]]
    assert len(ids) == len(set(ids))
    assert {"mp4-files", "speech.npy-files"} <= set(ids)
    files = {entry["@id"]: entry for entry in values["distribution"]}
    assert all(
        {"contentUrl", "encodingFormat", "sha256"} <= entry.keys()
        for entry in files.values()
        if entry["@type"] == "cr:FileObject"
    )
    assert all(part["@id"] in files for entry in files.values() for part in entry.get("containedIn", ()))
    shards = json.loads((made / "dataset.json").read_text())["shards"]
    assert {name: files[name]["sha256"] for name in files if name.endswith(".tar")}.items() <= shards.items()


def test_nobody_is_named_in_it(made):
    text = (made / "croissant.json").read_text()
    assert "ann" not in text.replace("channel", "")
    assert str(made) not in text


def test_a_dataset_that_has_not_changed_keeps_its_date(dataset):
    values = _croissant(dataset)
    (dataset / "croissant.json").write_text(json.dumps({**values, "datePublished": "2001-02-03"}))
    finish(Storage(dataset), Plan.from_bytes((dataset / PLAN_FILE).read_bytes(), name="plan"))
    assert _croissant(dataset)["datePublished"] == "2001-02-03"


@pytest.mark.filterwarnings("ignore")  # of the validator's own libraries
def test_the_standards_own_reader_takes_it(made, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    mlcroissant = pytest.importorskip("mlcroissant")
    read = mlcroissant.Dataset(str(made / "croissant.json"))
    assert {found.uuid for found in read.metadata.record_sets} == {*MEMBERS, "ledger", "splits"}
    rows = list(read.records("ledger"))
    assert sum(row["ledger/status"] == b"accepted" for row in rows) == 8 + 8  # videos and clips


def test_the_card_says_who_may_and_how_to_leave(made):
    text = (made / "README.md").read_text()
    assert "* not stated: 1 video\n* CC-BY-4.0: 9 videos" in text
    assert "a2h forget THIS_FOLDER --identity NAME" in text
    assert "{" not in text.replace("{000000..", "")
    assert all(f"`{member}`" in text for member in MEMBERS)


def test_a_licence_cannot_break_out_of_its_line():
    assert one_line("CC\n# BY `x` [a](b)") == r"CC \# BY \`x\` \[a\](b)"
