"""A shard's bytes are a function of its samples; plain tools read it; damage is named."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from a2h_models.data_types import Sample
from a2h_models.errors import DatasetError
from pipelines.core.storage import Storage
from pipelines.dataset import shard_format
from pipelines.dataset.shard_format import Encoded, ShardWriter, Sidecar

FRAMES = 8


def _sample(key="abc_0000000_0001x0002", seed=0):
    noise = np.random.default_rng(seed)
    ramp = np.linspace(40, 200, 256, dtype=np.uint8)
    frames = np.broadcast_to(
        ramp[None, :, None, None] // 2 + ramp[None, None, :, None] // 2, (FRAMES, 256, 256, 3)
    ).copy()
    return Sample(
        key=key,
        frames=frames,
        wave=noise.integers(-3000, 3000, FRAMES * 640, dtype=np.int16),
        speech=noise.normal(size=(FRAMES, 4, 41)).astype(np.float32),
        mel=noise.normal(size=(FRAMES * 4, 80)).astype(np.float16),
        pose=noise.normal(size=(FRAMES, 6)).astype(np.float32),
        landmarks=noise.normal(size=(FRAMES, 468, 3)).astype(np.float16),
        meta={"identity": "zoë", "span": [0, FRAMES]},
    )


def _encoded(key, text=b"x"):
    return Encoded(key=key, members={name: text + name.encode() for name in shard_format.MEMBERS})


def _write(out, samples, name="a2h-train-000000"):
    frames = {sample.key: FRAMES for sample in samples}
    identities = {sample.key: "someone" for sample in samples}
    return shard_format.write_shard(
        out, name, samples, split="train", unit="u", plan="p", frames=frames, identities=identities
    )


def test_a_sample_survives_the_way_to_bytes_and_back():
    sample = _sample()
    back = shard_format.decode(shard_format.encode(sample))
    for name in ("wave", "speech", "mel", "pose", "landmarks"):
        np.testing.assert_array_equal(getattr(back, name), getattr(sample, name))
    assert back.meta == sample.meta
    error = np.mean((back.frames.astype(float) - sample.frames) ** 2)
    assert 10 * np.log10(255**2 / error) >= 40


def test_encoding_is_a_pure_function():
    assert shard_format.encode(_sample()) == shard_format.encode(_sample())


@settings(deadline=None, max_examples=25)
@given(st.lists(st.text("abc019_-", min_size=1, max_size=8), unique=True, min_size=1, max_size=6), st.randoms())
def test_bytes_do_not_depend_on_the_order_of_samples(keys, random):
    first, second = Storage("memory://one"), Storage("memory://two")
    samples = [_encoded(key) for key in keys]
    one = _write(first, samples)
    random.shuffle(samples)
    two = _write(second, samples)
    assert one == two
    assert first.read(one.shard) == second.read(two.shard)


def test_the_sidecar_tells_the_truth(tmp_path):
    out = Storage(tmp_path)
    sidecar = _write(out, [_encoded("b"), _encoded("a")])
    data = out.read(sidecar.shard)
    assert (hashlib.sha256(data).hexdigest(), len(data)) == (sidecar.sha256, sidecar.size)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        found = [
            (member.name, member.offset_data, member.size, member.mtime, member.uid, member.mode) for member in tar
        ]
    told = [(f"{key}.{ext}", *place, 0, 0, 0o444) for key in sidecar.keys for ext, place in sidecar.index[key].items()]
    assert found == told
    assert shard_format.read_sidecars(out) == [sidecar]
    assert shard_format.read_members(out, sidecar, "b", ["json"]).members == {"json": b"xjson"}
    assert [sample.key for sample in shard_format.read_shard(out, sidecar)] == ["a", "b"]


def test_a_shard_without_samples_is_still_a_tar(tmp_path):
    sidecar = _write(Storage(tmp_path), [])
    with tarfile.open(tmp_path / sidecar.shard) as tar:
        assert tar.getnames() == []


# webdataset leaves the closing of files to the collector
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_plain_webdataset_reads_it(tmp_path):
    import gc

    import webdataset

    out = Storage(tmp_path)
    samples = [shard_format.encode(_sample(key, seed)) for seed, key in enumerate(("k1", "k2"))]
    _write(out, samples)
    decoders = [
        webdataset.handle_extension("npy", lambda data: np.load(io.BytesIO(data), allow_pickle=False)),
        webdataset.handle_extension("json", json.loads),
    ]
    read = list(
        webdataset.WebDataset(str(tmp_path / "a2h-train-{000000..000000}.tar"), shardshuffle=False).decode(
            *decoders, partial=True
        )
    )
    assert [item["__key__"] for item in read] == ["k1", "k2"]
    assert read[0]["speech.npy"].shape == (FRAMES, 4, 41)
    assert read[1]["json"]["identity"] == "zoë"
    assert read[1]["mp4"] == samples[1].members["mp4"]
    gc.collect()


@pytest.mark.parametrize("key", ["A", "a.b", "a#b", "ä", ""])
def test_keys_that_webdataset_would_misread_are_refused(tmp_path, key):
    with pytest.raises(DatasetError, match="not a usable key"):
        _write(Storage(tmp_path), [_encoded(key)])


def test_a_key_may_not_stand_twice_nor_out_of_order(tmp_path):
    out = Storage(tmp_path)
    with pytest.raises(DatasetError, match="does not come after"):
        _write(out, [_encoded("a"), _encoded("a")])
    assert out.names() == []


def test_a_failed_shard_leaves_nothing(tmp_path):
    out = Storage(tmp_path)

    def fail():
        with ShardWriter(out, "a2h-train-000000") as writer:
            writer.add(_encoded("a"), frames=1, identity="x")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert out.names() == []


def test_a_truncated_tar_is_named(tmp_path):
    out = Storage(tmp_path)
    sidecar = _write(out, [_encoded("a")])
    path = tmp_path / sidecar.shard
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(DatasetError, match=r"a2h-train-000000\.tar is truncated"):
        list(shard_format.read_shard(out, sidecar))


def test_a_damaged_or_foreign_sidecar_is_named(tmp_path):
    sidecar = _write(Storage(tmp_path), [_encoded("a")])
    with pytest.raises(DatasetError, match="not a sidecar"):
        Sidecar.from_bytes(sidecar.to_bytes()[:50], name="x.json")
    other = sidecar.to_bytes().replace(b'"schema_version": 1', b'"schema_version": 99')
    with pytest.raises(DatasetError, match="schema version 99"):
        Sidecar.from_bytes(other, name="x.json")


@pytest.mark.parametrize("member", ["speech.npy", "flac"])
def test_damaged_members_are_named(member):
    good = shard_format.encode(_sample())
    with pytest.raises(DatasetError, match="damaged"):
        shard_format.decode(Encoded(key="k", members={**good.members, member: good.members[member][:40]}))
    with pytest.raises(DatasetError, match=f"lacks {member}"):
        shard_format.decode(
            Encoded(key="k", members={name: data for name, data in good.members.items() if name != member})
        )


def test_nothing_untrusted_is_unpickled():
    buffer = io.BytesIO()
    np.save(buffer, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DatasetError, match="damaged array"):
        shard_format.decode_npy(buffer.getvalue(), key="k")
