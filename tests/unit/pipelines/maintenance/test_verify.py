"""Whatever is damaged in a dataset, verify names it."""

from __future__ import annotations

import io
import json
import shutil
import tarfile

import numpy as np
import pytest

from a2h_models.errors import InputError
from pipelines.core.storage import Storage
from pipelines.dataset.keypoint_shards import keypoint_shard_name
from pipelines.dataset.shard_format import Encoded, ShardWriter, Sidecar, npy, read_members, read_sidecars
from pipelines.maintenance.rewrite import replace_shard
from pipelines.maintenance.verify import verify
from pipelines.prepare.output import ledger
from pipelines.prepare.planning.plan import PLAN_FILE


def _tar(dataset):
    return min(path for path in dataset.glob("a2h-*.tar") if path.stat().st_size > 2000)


def _tars(dataset):
    return sorted(path for path in dataset.glob("a2h-*.tar") if path.stat().st_size > 2000)


def _edit(path, change):
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def _flip(path, offset=5000):
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)


def _swap(a, b):
    aside = a.with_name("aside")
    a.rename(aside)
    b.rename(a)
    aside.rename(b)


def _rewrite(dataset, change):
    """Seal a changed sample into its shard, hashes and all: only a look into the sample can find
    it.
    """
    out = Storage(dataset)
    sidecar = next(found for found in read_sidecars(out) if found.keys)
    with ShardWriter(out, sidecar.shard.removesuffix(".tar")) as shard:
        for key in sidecar.keys:
            members = read_members(out, sidecar, key).members
            shard.add(
                Encoded(key=key, members=change(members)), frames=sidecar.frames[key], identity=sidecar.identities[key]
            )
    shard.finish(split=sidecar.split, unit=sidecar.unit, plan=sidecar.plan, ledger=sidecar.ledger)


def _meta(change):
    return lambda members: {**members, "json": json.dumps({**json.loads(members["json"]), **change}).encode()}


def _pose_of_infinity(members):
    pose = np.load(io.BytesIO(members["pose.npy"]), allow_pickle=False)
    return {**members, "pose.npy": npy(np.full_like(pose, np.inf))}


def test_a_new_dataset_is_sound(made):
    report = verify(made, deep=1)
    assert report.sound, report
    assert (report.samples, report.decoded, report.shards) == (8, 8, len(list(made.glob("a2h-*.tar"))))
    assert str(report).endswith("8 decoded; sound")


def _both_identities(dataset):
    for path in dataset.glob("a2h-*.json"):
        _edit(path, lambda values: values.update(identities=dict.fromkeys(values["identities"], "ann")))


def _edit_ledger(dataset, change):
    out = Storage(dataset)
    rows = ledger.records(ledger.read(out))
    change(rows)
    ledger.write(out, ledger.table(rows))


def _one_key_twice(dataset):
    """The first sample of one shard, put into another as well."""
    out = Storage(dataset)
    one, other = [sidecar for sidecar in read_sidecars(out) if sidecar.keys][:2]
    key = one.keys[0]
    with ShardWriter(out, other.shard.removesuffix(".tar")) as shard:
        for name in sorted([key, *other.keys]):
            home = one if name == key else other
            shard.add(read_members(out, home, name), frames=home.frames[name], identity=home.identities[name])
    shard.finish(split=other.split, unit=other.unit, plan=other.plan, ledger=other.ledger)


DAMAGE = {  # what is done → what must be said
    "a bit flipped": (lambda d: _flip(_tar(d)), "{tar} has other content than its sidecar says (sha-256)"),
    "a truncated tar": (lambda d: _tar(d).write_bytes(_tar(d).read_bytes()[:-1024]), "{tar} has "),
    "no tar": (lambda d: _tar(d).unlink(), "{tar} is missing, but its sidecar is there"),
    "an empty tar": (lambda d: _tars(d)[0].write_bytes(b""), "{tar} has 0 bytes instead of"),
    "two tars swapped": (lambda d: _swap(*_tars(d)[:2]), "{tar} has "),
    "two sidecars swapped": (
        lambda d: _swap(*(t.with_suffix(".json") for t in _tars(d)[:2])),
        "{sidecar} says that it is of",
    ),
    "no sidecar": (lambda d: _tar(d).with_suffix(".json").unlink(), "{tar} has no sidecar (--clean removes it)"),
    "a unit without a shard": (
        lambda d: (_tar(d).with_suffix(".json").unlink(), _tar(d).unlink()),
        "{tar} is missing: run `a2h prepare` again to build it",
    ),
    "half a sidecar": (lambda d: _flip(_tar(d).with_suffix(".json"), 0), "{sidecar} is not a sidecar"),
    "a sidecar of tomorrow": (
        lambda d: _edit(_tar(d).with_suffix(".json"), lambda v: v.update(schema_version=9)),
        "{sidecar} has schema version 9, this program reads 1",
    ),
    "a sidecar with a new field": (
        lambda d: _edit(_tar(d).with_suffix(".json"), lambda v: v.update(more=1)),
        "{sidecar} is not a sidecar of a shard",
    ),
    "a sidecar of another plan": (
        lambda d: _edit(_tar(d).with_suffix(".json"), lambda v: v.update(plan="other")),
        "{tar} does not belong to plan",
    ),
    "an index that is off": (
        lambda d: _edit(
            _tar(d).with_suffix(".json"), lambda v: next(iter(v["index"].values()))["flac"].__setitem__(0, 0)
        ),
        "{tar} holds other members than its sidecar says",
    ),
    "a member less": (
        lambda d: _rewrite(d, lambda members: {name: data for name, data in members.items() if name != "mel.npy"}),
        "lacks mel.npy",
    ),
    "a key twice": (_one_key_twice, "as well"),
    "one person everywhere": (_both_identities, "ann is in "),
    "frames of nobody": (
        lambda d: _edit(_tar(d).with_suffix(".json"), lambda v: v["frames"].update(nobody=1)),
        "{sidecar}: its index, frames and identities name different samples",
    ),
    "an edited ledger row": (
        lambda d: _edit_ledger(d, lambda rows: rows[-1].update(identity="zoe")),
        "something else than its sidecar: identity",
    ),
    "an edited score": (
        lambda d: _edit_ledger(d, lambda rows: rows[-1].update(face_px=1e6)),
        "something else than its sidecar: face_px",
    ),
    "a video struck from the ledger": (
        lambda d: _edit_ledger(d, lambda rows: rows.pop(0)),
        "the ledger does not balance",
    ),
    "a clip struck from the ledger": (
        lambda d: _edit_ledger(d, lambda rows: rows.remove(next(r for r in rows if r["reason"] == "face_too_small"))),
        "ledger.parquet has 25 rows, the plan and the sidecars have 26",
    ),
    "a row twice": (lambda d: _edit_ledger(d, lambda rows: rows.append(rows[-1])), "more than once"),
    "a ledger that is none": (lambda d: (d / ledger.LEDGER_FILE).write_bytes(b"no"), "ledger.parquet is damaged"),
    "no ledger": (lambda d: (d / ledger.LEDGER_FILE).unlink(), "has no ledger.parquet"),
    "another fingerprint": (
        lambda d: _edit(d / "dataset.json", lambda v: v.update(fingerprint="0")),
        "another fingerprint than the shards",
    ),
    "a dataset.json of tomorrow": (
        lambda d: _edit(d / "dataset.json", lambda v: v.update(schema_version=9)),
        "dataset.json has schema version 9",
    ),
    "half a dataset.json": (lambda d: (d / "dataset.json").write_text("{"), "dataset.json is damaged"),
    "no dataset.json": (lambda d: (d / "dataset.json").unlink(), "dataset.json is missing"),
    "no data card": (lambda d: (d / "README.md").unlink(), "README.md is missing"),
    "no report": (lambda d: (d / "report.html").unlink(), "report.html is missing"),
    "a plan that is none": (lambda d: (d / PLAN_FILE).write_text("{}"), "is not a plan"),
    "a stranger": (lambda d: (d / "notes.txt").write_text("mine"), "notes.txt does not belong to the dataset"),
    "a stranger among the previews": (
        lambda d: (d / "previews" / "x.jpg").write_text("mine"),
        "previews/x.jpg does not belong",
    ),
    "a preview of nobody": (
        lambda d: shutil.copy(*sorted((d / "previews").glob("*.tar"), key=lambda p: p.stat().st_size)[-2:]),
        "which is no dropped clip of",
    ),
    "a broken preview": (lambda d: min((d / "previews").glob("*.tar")).write_bytes(b"x" * 700), "is damaged"),
    "a rest": (
        lambda d: (d / "a2h-train-000000.tar.12345678.part").write_bytes(b"x"),
        "is the rest of interrupted writing",
    ),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_named(dataset, kind):
    damage, words = DAMAGE[kind]
    tar = _tar(dataset).name
    damage(dataset)
    report = verify(dataset)
    expected = words.format(tar=tar, sidecar=tar.replace(".tar", ".json"))
    assert not report.sound
    assert any(expected in problem for problem in report.problems), report


DEEP = {  # sealed with new hashes, so that only decoding finds it
    "a video that is none": (lambda members: {**members, "mp4": b"no video"}, "cannot be decoded"),
    "an array that is none": (lambda members: {**members, "pose.npy": b"no array"}, "cannot be decoded"),
    "sound that is none": (lambda members: {**members, "flac": b"no sound"}, "cannot be decoded"),
    "an array too short": (
        lambda members: {**members, "mel.npy": npy(np.zeros((3, 80), np.float16))},
        "mel must be float16",
    ),
    "infinite poses": (_pose_of_infinity, "pose holds numbers that are not finite"),
    "json that is none": (lambda members: {**members, "json": b"{"}, "is not valid"),
    "another span": (_meta({"span": [0, 99]}), "its json says 99 frames, there are 6"),
    "another identity": (_meta({"identity": "zoe"}), "its json says zoe, the sidecar"),
    "another source": (_meta({"source": {"sha256": "0" * 64}}), "names another source"),
    "no source": (_meta({"source": {}}), "lacks the span"),
    "a sample of tomorrow": (_meta({"schema_version": 9}), "schema version 9"),
}


@pytest.mark.parametrize("kind", DEEP)
def test_damage_within_samples_is_named_by_deep(dataset, kind):
    damage, words = DEEP[kind]
    _rewrite(dataset, damage)
    assert any(words in problem for problem in verify(dataset, deep=1).problems)
    assert not any(words in problem for problem in verify(dataset).problems)


def test_a_share_of_the_samples_is_drawn_the_same_each_time(made):
    some = verify(made, deep=0.5)
    assert 0 < some.decoded < 8
    assert verify(made, deep=0.5) == some
    with pytest.raises(InputError, match=r"1\.5 is no share"):
        verify(made, deep=1.5)


def test_companions_are_compared_with_their_shards(dataset):
    out = Storage(dataset)
    sidecar = next(found for found in read_sidecars(out) if len(found.keys) > 1)
    name = keypoint_shard_name(sidecar.shard.removesuffix(".tar"), "0123456789ab")
    with ShardWriter(out, name) as companion:
        for key in sidecar.keys:
            encoded = Encoded(key=key, members={"kp.npy": npy(np.zeros((sidecar.frames[key], 10, 6), np.float32))})
            companion.add(encoded, frames=sidecar.frames[key], identity=sidecar.identities[key])
    whole = companion.finish(split=sidecar.split, unit=sidecar.unit, plan=sidecar.plan, ledger=[])
    assert verify(dataset).sound
    replace_shard(out, whole, whole.keys[1:], [])
    assert any("has other samples than" in problem for problem in verify(dataset).problems)
    _flip(dataset / f"{name}.tar", 600)
    assert any(f"{name}.tar has other content" in problem for problem in verify(dataset).problems)
    (dataset / f"{name}.json").unlink()
    assert verify(dataset).problems == (f"{name}.tar has no sidecar (--clean removes it)",)


def test_rests_are_named_and_cleaned(dataset):
    for name in (
        "a2h-train-000000.tar.12345678.part",
        "previews/a2h-train-000000.tar.12345678.part",
        "a2h-train-000077.tar",
    ):
        (dataset / name).write_bytes(b"rest")
    assert len(verify(dataset).problems) == 3
    report = verify(dataset, clean=True)
    assert report.sound, report
    assert len(report.removed) == 3


def test_hidden_files_are_nobodys_business(dataset):
    (dataset / ".DS_Store").write_text("")
    assert verify(dataset).sound


def test_a_folder_without_a_dataset_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds no dataset"):
        verify(tmp_path)


def test_the_tars_are_what_others_read(made):
    with tarfile.open(_tar(made)) as tar:
        assert {member.mode for member in tar} == {0o444}
    assert Sidecar.from_bytes(_tar(made).with_suffix(".json").read_bytes(), name="x").keys
