"""Other splits, the same samples: byte for byte, nobody in two splits, and the same whenever it is
asked.
"""

from __future__ import annotations

import json
import shutil

import pytest

from a2h_models.errors import ConfigError, DatasetError, InputError
from pipelines.core.storage import Storage
from pipelines.dataset.shard_format import read_members, read_sidecars
from pipelines.maintenance.remove import forget
from pipelines.maintenance.resplit import split
from pipelines.maintenance.verify import verify
from pipelines.prepare.planning.plan import PLAN_FILE

EVERYBODY = {"ann": "test", "bob": "train", "cid": "val", "dee": "train", "eve": "train"}


def _samples(dataset):
    out = Storage(dataset)
    return {key: read_members(out, sidecar, key).members for sidecar in read_sidecars(out) for key in sidecar.keys}


def _places(dataset):
    return {who: sidecar.split for sidecar in read_sidecars(Storage(dataset)) for who in sidecar.identities.values()}


def _bytes(dataset):
    return {path.name: path.read_bytes() for path in dataset.glob("a2h-*")}


def _table(folder, places):
    file = folder / "splits.csv"
    file.write_text("identity,split\n" + "".join(f"{who},{where}\n" for who, where in places.items()))
    return str(file)


def test_the_samples_keep_their_bytes(made, tmp_path):
    out = tmp_path / "other"
    summary = split(made, out, val_share=0.3, test_share=0.3, seed=5)
    assert _samples(out) == _samples(made)
    assert summary.accepted == 8
    assert verify(out, deep=1).sound, verify(out)
    facts, before = (json.loads((folder / "dataset.json").read_text()) for folder in (out, made))
    assert facts["parents"] == [before["fingerprint"]]
    assert facts["fingerprint"] != before["fingerprint"]
    again = tmp_path / "again"
    split(made, again, val_share=0.3, test_share=0.3, seed=5)
    assert _bytes(again) == _bytes(out)


def test_the_same_settings_give_the_same_shards(made, tmp_path):
    split(made, tmp_path / "same")
    tars = {name: data for name, data in _bytes(made).items() if name.endswith(".tar")}
    assert {name: data for name, data in _bytes(tmp_path / "same").items() if name.endswith(".tar")} == tars


def test_a_table_decides(made, tmp_path):
    out = tmp_path / "other"
    split(made, out, assign=_table(tmp_path, EVERYBODY))
    assert _places(out) == EVERYBODY
    assert verify(out).sound
    assert "face too small" in (out / "report.html").read_text()
    assert len(list((out / "previews").glob("*.tar"))) == len(list(out.glob("a2h-*.tar")))


def test_an_interrupted_division_goes_on(made, tmp_path):
    whole, out = tmp_path / "whole", tmp_path / "other"
    split(made, whole, assign=_table(tmp_path, EVERYBODY))
    shutil.copytree(whole, out)
    for path in [*out.glob("a2h-train-*.json"), out / "dataset.json", out / "ledger.parquet"]:
        path.unlink()
    split(made, out, assign=_table(tmp_path, EVERYBODY))
    assert _bytes(out) == _bytes(whole)


def test_who_was_forgotten_stays_forgotten(dataset, tmp_path):
    forget(dataset, identity="ann", on="2026-01-02")
    out = tmp_path / "other"
    split(dataset, out, assign=_table(tmp_path, EVERYBODY))
    assert "ann" not in _places(out)
    assert len(_samples(out)) == 5
    assert verify(out).sound, verify(out)
    assert len(json.loads((out / "dataset.json").read_text())["parents"]) == 2


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"val_share": 0.8, "test_share": 0.4}, ConfigError, r"val_share 0\.8 and test_share 0\.4"),
        ({"val_share": -1.0}, ConfigError, "no shares of one whole"),
        ({"assign": "nowhere.csv"}, InputError, r"nowhere\.csv cannot be read"),
    ],
)
def test_settings_that_cannot_be_are_refused(made, tmp_path, settings, error, words):
    with pytest.raises(error, match=words):
        split(made, tmp_path / "other", **settings)
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("places", "words"),
    [
        ({**EVERYBODY, "ann": "dev"}, r"line 2: 'ann', 'dev'"),
        ({"ann": "train"}, r"does not say where bob belongs \(4 of 5"),
    ],
)
def test_a_table_that_is_wrong_is_refused(made, tmp_path, places, words):
    with pytest.raises(InputError, match=words):
        split(made, tmp_path / "other", assign=_table(tmp_path, places))


def test_a_table_and_shares_contradict_each_other(made, tmp_path):
    with pytest.raises(ConfigError, match="a table and seed"):
        split(made, tmp_path / "other", seed=1, assign=_table(tmp_path, EVERYBODY))


def test_a_folder_in_use_is_refused(made, dataset, tmp_path):
    with pytest.raises(InputError, match="is the dataset itself"):
        split(made, made)
    before = _bytes(dataset)
    with pytest.raises(InputError, match="holds another dataset"):
        split(made, dataset, assign=_table(tmp_path, EVERYBODY))
    (dataset / PLAN_FILE).unlink()
    with pytest.raises(InputError, match="but no plan"):
        split(made, dataset)
    assert _bytes(dataset) == before
    with pytest.raises(InputError, match="holds no dataset"):
        split(tmp_path / "nothing", tmp_path / "other")


def test_a_damaged_shard_is_not_copied(dataset, tmp_path):
    tar = max(dataset.glob("a2h-*.tar"), key=lambda path: path.stat().st_size)
    tar.write_bytes(tar.read_bytes()[:-512])
    with pytest.raises(DatasetError, match=tar.name):
        split(dataset, tmp_path / "other")
