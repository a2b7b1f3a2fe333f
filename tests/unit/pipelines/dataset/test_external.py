"""Shards that others made with webdataset are read as a stream, never shorter than they are, and
refused where they do not fit.
"""

import io
import json
from itertools import islice

import numpy as np
import pytest
import webdataset

from a2h_models.data_types import WINDOW
from a2h_models.errors import ConfigError, DatasetError, InputError
from pipelines.config import DatasetConfig
from pipelines.core.storage import Storage
from pipelines.dataset import shard_format
from pipelines.dataset.datamodules import PairDataModule, WindowDataModule
from pipelines.dataset.external import ExternalDataset, ExternalShards


@pytest.fixture
def samples(made_up_dataset):
    """The made-up training clips as webdataset writes them: key → members."""
    store = Storage(made_up_dataset)
    encoded = (
        sample
        for sidecar in shard_format.read_sidecars(store)
        if sidecar.split == "train"
        for sample in shard_format.read_shard(store, sidecar)
    )
    return {sample.key: {name: data for name, data in sample.members.items() if name != "json"} for sample in encoded}


@pytest.fixture
def written(samples, tmp_path):
    """Writes them into so many shards, changed as asked; gives the pattern that names the shards."""

    def write(count=2, **changes):
        for number in range(count):
            with webdataset.TarWriter(str(tmp_path / f"theirs-{number:06d}.tar")) as tar:
                for key in sorted(samples)[number::count]:
                    tar.write({"__key__": f"talks/{key}", **samples[key], **changes})
        return f"{tmp_path}/theirs-{{000000..{count - 1:06d}}}.tar"

    return write


def _pairs(path, cache, **changes):
    return PairDataModule(
        DatasetConfig(**({"path": path, "batch_size": 4, "pairs_per_clip": 2} | changes)), size=64, cache=cache
    )


def _batches(module, count):
    return list(islice(module.train_dataloader(), count))


def test_pairs_come_from_shards_without_sidecars(written, samples, tmp_path, caplog):
    module = _pairs(written(), tmp_path)
    assert "read as a stream; a resumed run reads other samples" in caplog.text
    batches = _batches(module, 10)
    assert {key for batch in batches for key in batch.keys} == {f"talks/{key}" for key in samples}
    assert all(
        batch.source.shape == (4, 3, 64, 64) and not np.array_equal(batch.source, batch.driving) for batch in batches
    )
    assert module.val_dataloader() == []
    assert "2 external shards" in module.train.summary


def test_windows_come_from_them_as_well(written, samples, tmp_path):
    config = DatasetConfig(path=written(), batch_size=2)
    batch = _batches(WindowDataModule(config, size=64, cache=tmp_path, frames_every=0, portrait_first=True), 1)[0]
    assert batch.speech.shape == (2, WINDOW, 4, 41)
    whole = np.load(io.BytesIO(samples[batch.keys[0].removeprefix("talks/")]["speech.npy"]))
    assert any(
        np.array_equal(whole[start : start + WINDOW], batch.speech[0]) for start in range(len(whole) - WINDOW + 1)
    )


@pytest.mark.parametrize("count", [1, 2])
def test_processes_share_the_samples(written, samples, count):
    """Two shards: one each; one shard: every second sample."""
    shards = ExternalShards(written(count))
    streams = [
        ExternalDataset(shards, dataset=None, seed=(0,), rank=rank, world=2)._read_forever(rank, 2) for rank in range(2)
    ]
    first = [{sample.key for sample in islice(stream, 2)} for stream in streams]
    assert not first[0] & first[1]
    rest = {sample.key for stream in streams for sample in islice(stream, 20)}
    assert rest == {f"talks/{key}" for key in samples}


def test_a_resumed_run_draws_anew(written, tmp_path):
    path = written()
    first, again, resumed = (_pairs(path, tmp_path) for _ in range(3))
    resumed.load_state_dict(first.state_dict() | {"batches": 3})
    whole = [batch.source for batch in _batches(first, 6)]
    assert all(np.array_equal(a, batch.source) for a, batch in zip(whole, _batches(again, 6), strict=True))
    assert not all(np.array_equal(a, batch.source) for a, batch in zip(whole[3:], _batches(resumed, 3), strict=True))


def test_another_dataset_can_be_measured(written, made_up_dataset, tmp_path):
    module = _pairs(written(), tmp_path, measured=str(made_up_dataset))
    assert {key for batch in module.val_dataloader() for key in batch.keys} == {"val0a", "val0b"}


@pytest.mark.parametrize("keep", [0.5, "all but its end"])
def test_a_truncated_shard_is_an_error(written, tmp_path, keep):
    """Also one that ends between two members, which tar readers take for whole."""
    path = written(1)
    tar = tmp_path / "theirs-000000.tar"
    data = tar.read_bytes()
    tar.write_bytes(data.rstrip(bytes(1)) if keep != 0.5 else data[: int(len(data) * keep) // 512 * 512])
    with pytest.raises(DatasetError, match=r"theirs-000000\.tar is (truncated|damaged)"):
        _batches(_pairs(path, tmp_path), 9)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"json": json.dumps({"schema_version": 99}).encode()}, "has schema version 99"),
        ({"mp4": b"no film"}, "cannot be opened"),
        ({"json": b"{"}, "its json is damaged"),
    ],
    ids=["schema", "film", "json"],
)
def test_a_sample_that_does_not_fit_is_named_with_its_shard(written, tmp_path, change, complaint):
    with pytest.raises(DatasetError, match=rf"theirs-000000\.tar: sample talks/train\w+: .*{complaint}"):
        _batches(_pairs(written(1, **change), tmp_path), 1)


def test_poses_of_another_length_than_the_film_are_refused(written, tmp_path):
    pose = shard_format.npy(np.zeros((10, 6), np.float32))
    module = WindowDataModule(
        DatasetConfig(path=written(**{"pose.npy": pose})), size=64, cache=tmp_path, frames_every=0, portrait_first=True
    )
    with pytest.raises(DatasetError, match=r"pose\.npy has 10 rows, and mp4 has 6\d frames"):
        _batches(module, 1)


def test_what_names_no_shard_is_refused(written, tmp_path):
    with pytest.raises(InputError, match="names no shards"):
        _pairs(f"{tmp_path}/*.tar", tmp_path)
    with pytest.raises(InputError, match=r"theirs-000002\.tar does not exist"):
        _pairs(written().replace("000001", "000002"), tmp_path)


def test_they_have_no_companions(written, tmp_path):
    config = DatasetConfig(path=written())
    with pytest.raises(ConfigError, match="no keypoint shards"):
        WindowDataModule(config, size=64, cache=tmp_path, frames_every=1, portrait_first=False, detector="d" * 12)
