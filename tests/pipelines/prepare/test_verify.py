"""Whatever is damaged in a dataset, verify names it."""

from __future__ import annotations

import json
import shutil

import pytest

from a2h_models.errors import InputError
from pipelines.prepare import ledger
from pipelines.prepare.verify import verify
from pipelines.storage import Storage

pytestmark = pytest.mark.slow


@pytest.fixture
def dataset(prepared, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(prepared, copy)
    return copy


def _tar(dataset):
    return min(dataset.glob("a2h-*.tar"))


def _rewrite(path, change):
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def test_a_new_dataset_is_sound(prepared):
    report = verify(prepared)
    assert report.sound, report
    assert (report.samples, report.shards) == (2, 2)
    assert str(report).endswith("2 samples in 2 shards; sound")


def test_a_flipped_bit_is_found(dataset):
    tar = _tar(dataset)
    data = bytearray(tar.read_bytes())
    data[5000] ^= 1
    tar.write_bytes(data)
    assert [tar.name in problem and "sha-256" in problem for problem in verify(dataset).problems] == [True]


def test_a_truncated_or_missing_tar_is_found(dataset):
    tar = _tar(dataset)
    tar.write_bytes(tar.read_bytes()[:-1024])
    assert any(f"{tar.name} has" in problem for problem in verify(dataset).problems)
    tar.unlink()
    assert any(f"{tar.name} is missing" in problem for problem in verify(dataset).problems)


def test_a_missing_sidecar_is_a_missing_shard(dataset):
    _tar(dataset).with_suffix(".json").unlink()
    problems = "\n".join(verify(dataset).problems)
    assert "has no sidecar" in problems
    assert "is missing: run `a2h prepare` again" in problems


def test_a_sidecar_of_another_plan_is_found(dataset):
    _rewrite(_tar(dataset).with_suffix(".json"), lambda values: values.update(plan="other"))
    assert any("does not belong to plan" in problem for problem in verify(dataset).problems)


def test_an_identity_in_two_splits_is_found(dataset):
    for name, split in zip(sorted(dataset.glob("a2h-*-*.json")), ("train", "val"), strict=True):
        _rewrite(name, lambda values, split=split: values.update(split=split, identities=dict.fromkeys(values["identities"], "ann")))
    assert "ann is in train and val" in verify(dataset).problems


def test_a_ledger_that_does_not_balance_is_found(dataset):
    out = Storage(dataset)
    rows = ledger.records(ledger.read(out))
    ledger.write(out, rows[1:])
    assert any("does not balance" in problem for problem in verify(dataset).problems)
    (dataset / ledger.LEDGER_FILE).unlink()
    assert any("has no ledger" in problem for problem in verify(dataset).problems)


def test_a_wrong_or_missing_dataset_json_is_found(dataset):
    _rewrite(dataset / "dataset.json", lambda values: values.update(fingerprint="0"))
    assert any("another fingerprint" in problem for problem in verify(dataset).problems)
    (dataset / "dataset.json").write_text("{")
    assert any("damaged" in problem for problem in verify(dataset).problems)
    (dataset / "dataset.json").unlink()
    assert any("dataset.json is missing" in problem for problem in verify(dataset).problems)


def test_a_damaged_plan_is_found(dataset):
    (dataset / "plan.json").write_text("{}")
    assert any("not a plan" in problem for problem in verify(dataset).problems)


def test_rests_are_named_and_cleaned(dataset):
    for name in ("a2h-train-000000.tar.12345678.part", "previews/a2h-train-000000.tar.12345678.part", "a2h-train-000077.tar"):
        (dataset / name).write_bytes(b"rest")
    assert len(verify(dataset).problems) == 3
    report = verify(dataset, clean=True)
    assert report.sound
    assert len(report.removed) == 3


def test_a_folder_without_a_dataset_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds no dataset"):
        verify(tmp_path)
