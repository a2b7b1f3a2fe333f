"""The index reads what the sidecars say, and refuses what disagrees with them."""

import json
import shutil

import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from a2h_models.errors import DatasetError, InputError
from pipelines.core.storage import Storage
from pipelines.dataset import shard_format
from pipelines.dataset.index import Index, ShardCache


@pytest.fixture
def copy(made_up_dataset, tmp_path):
    return shutil.copytree(made_up_dataset, tmp_path / "copy")


@pytest.fixture
def remote(made_up_dataset):
    """The dataset on a store that is not a local folder."""
    store = Storage("memory://made-up")
    for path in made_up_dataset.iterdir():
        store.publish(path.name, path.read_bytes())
    yield store
    MemoryFileSystem.store.clear()


def test_clips_stand_in_the_order_of_shards_and_keys(made_up_dataset):
    index = Index(Storage(made_up_dataset), "train")
    assert [clip.key for clip in index.clips] == ["train0a", "train0b", "train0c", "train1a", "train1b"]
    assert index.sizes == (3, 2)
    assert [clip.frames for clip in index.clips] == [64, 65, 66, 64, 65]
    assert index.identities == {f"person-{clip.key}" for clip in index.clips}


def test_members_read_by_offset_are_those_of_the_tar(made_up_dataset):
    store = Storage(made_up_dataset)
    index = Index(store, "train")
    whole = {
        encoded.key: encoded
        for sidecar in shard_format.read_sidecars(store)
        for encoded in shard_format.read_shard(store, sidecar)
    }
    for clip in index.clips:
        part = index.members(clip, ("pose.npy", "speech.npy"))
        assert part.members == {name: whole[clip.key].members[name] for name in ("pose.npy", "speech.npy")}
        np.testing.assert_array_equal(index.array(part, "pose.npy"), shard_format.decode(whole[clip.key]).pose)


def test_a_member_that_is_not_there_is_named(made_up_dataset):
    index = Index(Storage(made_up_dataset), "train")
    with pytest.raises(DatasetError, match=r"a2h-train-000000\.tar: sample train0a lacks kp\.npy"):
        index.members(index.clips[0], ("kp.npy",))


def test_a_truncated_tar_is_named_with_its_sizes(copy):
    tar = copy / "a2h-train-000001.tar"
    size = tar.stat().st_size
    tar.write_bytes(tar.read_bytes()[:1000])
    with pytest.raises(DatasetError, match=rf"a2h-train-000001\.tar is truncated: 1000 bytes instead of {size}"):
        Index(Storage(copy), "train")


def test_a_missing_tar_is_named(copy):
    (copy / "a2h-train-000001.tar").unlink()
    with pytest.raises(DatasetError, match=r"a2h-train-000001\.tar is missing"):
        Index(Storage(copy), "train")


def test_another_schema_version_is_refused(copy):
    sidecar = copy / "a2h-train-000000.json"
    sidecar.write_text(json.dumps(json.loads(sidecar.read_text()) | {"schema_version": 99}))
    with pytest.raises(DatasetError, match=r"a2h-train-000000\.json has schema version 99"):
        Index(Storage(copy), "train")


def test_an_empty_folder_is_no_dataset(tmp_path):
    with pytest.raises(InputError, match="holds no dataset"):
        Index(Storage(tmp_path), "train")


def test_the_fingerprint_is_the_datasets_own_or_follows_the_content(copy):
    by_content = Index(Storage(copy), "train").fingerprint
    assert Index(Storage(copy), "val").fingerprint == by_content
    (copy / "dataset.json").write_text(json.dumps({"fingerprint": "f" * 64}))
    assert Index(Storage(copy), "train").fingerprint == "f" * 64
    (copy / "dataset.json").write_text("{")
    with pytest.raises(DatasetError, match=r"dataset\.json is damaged"):
        Index(Storage(copy), "train")


def test_a_remote_shard_is_copied_once_and_read_alike(remote, made_up_dataset, tmp_path):
    local = Index(Storage(made_up_dataset), "train")
    index = Index(remote, "train", cache=ShardCache(tmp_path, limit_bytes=10**9))
    for clip in index.clips:
        assert index.members(clip, ("mp4",)) == local.members(clip, ("mp4",))
    copies = list(tmp_path.rglob("*.tar"))
    assert sorted(path.name for path in copies) == ["a2h-train-000000.tar", "a2h-train-000001.tar"]
    remote.remove("a2h-train-000000.tar")
    assert index.members(index.clips[0], ("mp4",)) == local.members(local.clips[0], ("mp4",))


def test_the_cache_keeps_to_its_limit(remote, tmp_path):
    limit = max(sidecar.size for sidecar in shard_format.read_sidecars(remote))
    index = Index(remote, "train", cache=ShardCache(tmp_path, limit_bytes=limit))
    for clip in (index.clips[0], index.clips[-1], index.clips[0]):
        index.members(clip, ("pose.npy",))
        assert sum(path.stat().st_size for path in tmp_path.rglob("*.tar")) <= limit
