"""Whoever is forgotten is gone from every file, everybody else keeps every byte, and no
interruption or resumption brings anybody back.
"""

from __future__ import annotations

import hashlib
import io
import shutil
import tarfile

import pytest

from a2h_models.errors import ConfigError, DatasetError, InputError
from pipelines.core.storage import Storage
from pipelines.dataset.keypoint_shards import keypoint_shard_name
from pipelines.dataset.shard_format import Encoded, ShardWriter, read_members, read_sidecars
from pipelines.maintenance.remove import forget
from pipelines.maintenance.rewrite import FOLDER
from pipelines.maintenance.verify import verify
from pipelines.prepare.output import ledger
from pipelines.prepare.pipeline import prepare
from pipelines.prepare.planning.plan import PLAN_FILE, Plan

DAY = "2026-01-02"


def _files(dataset):
    """Everything that the content alone decides."""
    fixed = ("croissant.json",)  # its date
    return {
        path.relative_to(dataset).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in dataset.rglob("*")
        if path.is_file() and path.name not in fixed and path.parent.name != "timings"
    }


def _samples(dataset):
    out = Storage(dataset)
    return {key: read_members(out, sidecar, key).members for sidecar in read_sidecars(out) for key in sidecar.keys}


def _texts(dataset):
    """All that stands in the files of a dataset, tables and tars unpacked."""
    found = {}
    for path in dataset.rglob("*"):
        if path.suffix == ".parquet":
            found[path.name] = str(ledger.read(Storage(dataset)).to_pylist())
        elif path.is_file():
            found[path.name] = path.read_bytes().decode("latin-1")
    return found


def _with_companions(dataset):
    out = Storage(dataset)
    for sidecar in read_sidecars(out):
        with ShardWriter(out, keypoint_shard_name(sidecar.shard.removesuffix(".tar"), "0123456789ab")) as companion:
            for key in sidecar.keys:
                encoded = Encoded(key=key, members={"kp.npy": key.encode()})
                companion.add(encoded, frames=sidecar.frames[key], identity=sidecar.identities[key])
        companion.finish(split=sidecar.split, unit=sidecar.unit, plan=sidecar.plan, ledger=[])


def test_a_person_is_gone_and_the_others_keep_their_bytes(dataset):
    _with_companions(dataset)
    before, old = _samples(dataset), _files(dataset)
    report = forget(dataset, identity="ann", on=DAY)
    assert (report.videos, sum(report.samples.values())) == (4, 3)  # three videos and a copy under another name
    after = _samples(dataset)
    assert len(after) == 5
    assert all(members == before[key] for key, members in after.items())
    untouched = {name for name in old if name.startswith("a2h-") and not name.startswith(report.shards)}
    assert untouched
    assert {name: old[name] for name in untouched} == {
        name: found for name, found in _files(dataset).items() if name in untouched
    }
    assert verify(dataset, deep=1).sound, verify(dataset, deep=1)
    assert not (dataset / FOLDER).exists() or not list((dataset / FOLDER).iterdir())
    gone = set(before) - set(after)
    for name, text in _texts(dataset).items():
        assert not any(word in text for word in ("ann/", "copy of ann", "ann again", "'ann'", '"ann"', *gone)), name


def test_the_ledger_keeps_a_nameless_row_a_video(dataset):
    inputs = len(ledger.where(ledger.read(Storage(dataset)), kind="video"))
    report = forget(dataset, identity="cid", on=DAY)
    rows = ledger.records(ledger.read(Storage(dataset)))
    assert sum(row["kind"] == "video" for row in rows) == inputs
    (row,) = [row for row in rows if row["reason"] == "no_consent"]
    assert (row["status"], row["identity"], row["error_message"]) == ("rejected", "", f"forgotten on {DAY}")
    assert row["file"].startswith("forgotten/")
    assert report.before != report.after
    plan = Plan.from_bytes((dataset / PLAN_FILE).read_bytes(), name="plan")
    assert plan.parents == report.before
    assert "cid" not in plan.splits


def test_a_video_is_forgotten_by_the_beginning_of_its_hash(dataset):
    row = next(row for row in ledger.records(ledger.read(Storage(dataset))) if row["file"] == "bob/1.mp4")
    report = forget(dataset, source=row["sha256"][:14].upper(), on=DAY)
    assert (report.videos, report.sources) == (1, (row["sha256"],))
    identities = {who for sidecar in read_sidecars(Storage(dataset)) for who in sidecar.identities.values()}
    assert "bob" in identities  # there is another video of his
    again = forget(dataset, source=row["sha256"], on=DAY)
    assert (again.videos, again.shards, again.sources, again.after) == (0, (), report.sources, report.after)


def test_a_dry_run_changes_nothing(dataset):
    before = _files(dataset)
    report = forget(dataset, identity="bob", dry_run=True)
    assert _files(dataset) == before
    assert str(report).startswith(f"{dataset}: would forget 2 videos; samples: 2 in ")


@pytest.mark.parametrize(
    ("wanted", "error", "words"),
    [
        ({}, ConfigError, "an identity or a source"),
        ({"identity": "ann", "source": "0" * 64}, ConfigError, "an identity or a source"),
        ({"identity": "anne"}, InputError, "nobody called 'anne'; did you mean 'ann'"),
        ({"source": "xyz"}, InputError, "'xyz' is no SHA-256"),
        ({"source": "0" * 64}, InputError, "no video with the SHA-256"),
    ],
)
def test_what_cannot_be_meant_is_refused(dataset, wanted, error, words):
    before = _files(dataset)
    with pytest.raises(error, match=words):
        forget(dataset, **wanted)
    assert _files(dataset) == before


def test_a_damaged_shard_is_not_sealed_with_a_new_hash(dataset):
    sidecar = next(found for found in read_sidecars(Storage(dataset)) if found.keys)
    tar = dataset / sidecar.shard
    data = bytearray(tar.read_bytes())
    data[-3000] ^= 1
    tar.write_bytes(data)
    with pytest.raises(DatasetError, match="sha-256"):
        forget(dataset, identity=next(iter(sidecar.identities.values())), on=DAY)


class Killed(BaseException):
    """Like SIGKILL: nothing of ours catches it."""


@pytest.mark.slow
def test_whenever_it_is_killed_the_same_call_finishes_it(made, tmp_path, monkeypatch):
    """Before each change of a file: the run is killed there, and then repeated."""
    whole = tmp_path / "whole"
    shutil.copytree(made, whole)
    _with_companions(whole)
    start = tmp_path / "start"
    shutil.copytree(whole, start)
    forget(whole, identity="ann", on=DAY)
    expected = _files(whole)
    changes = 0
    original = {name: getattr(Storage, name) for name in ("writer", "move", "remove")}

    def counted(name, limit):
        def call(self, *arguments):
            nonlocal changes
            changes += 1
            if changes > limit:
                raise Killed
            return original[name](self, *arguments)

        return call

    limit = 0
    while True:
        broken = tmp_path / f"killed {limit}"
        shutil.copytree(start, broken)
        changes = 0
        for name in original:
            monkeypatch.setattr(Storage, name, counted(name, limit))
        try:
            forget(broken, identity="ann", on=DAY)
        except Killed:
            pass
        else:
            break
        finally:
            for name, function in original.items():
                monkeypatch.setattr(Storage, name, function)
        forget(broken, identity="ann", on=DAY)
        # the folder's name stands in the report
        assert {**_files(broken), "report.html": ""} == {**expected, "report.html": ""}, limit
        shutil.rmtree(broken)
        limit += 1
    assert limit > 15


@pytest.mark.slow
def test_a_resumed_preparation_brings_nobody_back(talks, prepared, tmp_path, make_command):
    out = tmp_path / "dataset"
    shutil.copytree(prepared, out)
    who = min(identity for sidecar in read_sidecars(Storage(out)) for identity in sidecar.identities.values())
    forget(out, identity=who, on=DAY)
    expected = _files(out)
    prepare(make_command(talks, out))
    assert _files(out) == expected
    for path in out.glob("a2h-*"):
        path.unlink()
    prepare(make_command(talks, out))  # every shard is built again, from the same videos
    assert {**_files(out), "report.html": ""} == {**expected, "report.html": ""}  # other times stand in the report
    assert verify(out).sound


def test_an_unfinished_dataset_can_forget_too(dataset):
    (dataset / "dataset.json").unlink()
    missing = next(path for path in dataset.glob("a2h-*.json") if b"eve" in path.read_bytes())
    missing.unlink()
    report = forget(dataset, identity="ann", on=DAY)
    assert report.after == ""
    assert not any("'ann'" in str(sidecar.identities) for sidecar in read_sidecars(Storage(dataset)))


def test_members_of_a_tar_are_read_as_others_read_them(dataset):
    forget(dataset, identity="ann", on=DAY)
    for path in dataset.glob("a2h-*.tar"):
        with tarfile.open(fileobj=io.BytesIO(path.read_bytes())) as tar:
            assert tar.getnames() == sorted(tar.getnames())
