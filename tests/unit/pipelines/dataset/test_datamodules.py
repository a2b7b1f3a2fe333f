"""The order is a permutation that knows nothing of processes; a resumed run sees what the
uninterrupted one would have seen.
"""

from itertools import islice
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from a2h_models.data_types import UNIT, WINDOW
from a2h_models.errors import CheckpointError, ConfigError, DatasetError, InputError
from pipelines import media
from pipelines.config import DatasetConfig
from pipelines.core.storage import Storage
from pipelines.dataset.datamodules import PairDataModule, WindowDataModule
from pipelines.dataset.datasets import FramePairDataset, PairSampling
from pipelines.dataset.index import Index
from pipelines.dataset.sampler import ClipOrder, ResumableBatchSampler, epoch_order

SIZES = st.lists(st.integers(1, 30), min_size=1, max_size=12)
STREAMS = st.integers(1, 10)
SEED = st.integers(0, 2**31)


@given(SEED, st.integers(0, 1000), SIZES, STREAMS)
def test_each_epoch_reads_each_clip_once(seed, epoch, sizes, streams):
    assert sorted(epoch_order(seed, epoch, sizes, streams)) == list(range(sum(sizes)))


@given(SEED, SIZES, STREAMS)
def test_the_order_is_a_function_of_seed_epoch_and_sizes(seed, sizes, streams):
    np.testing.assert_array_equal(epoch_order(seed, 3, sizes, streams), epoch_order(seed, 3, sizes, streams))


def test_seeds_and_epochs_have_orders_of_their_own():
    orders = {tuple(epoch_order(seed, epoch, [20, 30], 4)) for seed in range(4) for epoch in range(4)}
    assert len(orders) == 16


@given(SEED, SIZES, STREAMS)
def test_a_stream_reads_a_shard_through_before_the_next(seed, sizes, streams):
    """So at most `streams` shards are open at a time, whatever the size of the dataset."""
    shard_of = np.repeat(np.arange(len(sizes)), sizes)
    read = epoch_order(seed, 0, sizes, streams)
    for stream in range(streams):
        shards = shard_of[read[stream::streams]]
        if len(shards):
            assert 1 + np.count_nonzero(np.diff(shards)) == len(set(shards.tolist()))


def pair_dataset(sampling):
    return FramePairDataset(None, size=64, sampling=sampling, order=None, seed=0)


@given(SEED, st.integers(64, 1000), st.floats(0.02, 0.9))
def test_no_pair_is_learnt_from_unseen_frames_and_those_measured_are_driven_to_them(seed, frames, share):
    learnt, measured = (
        pair_dataset(PairSampling(pairs=1, held_out=share, drive_to_held_out=driven)) for driven in (False, True)
    )
    rng, first = np.random.default_rng(seed), frames - int(share * frames)
    source, driving = learnt.choose_pair(frames, rng)
    assert source != driving
    assert max(source, driving) < first
    source, driving = measured.choose_pair(frames, rng)
    assert source < first <= driving < frames


def test_without_unseen_frames_all_are_learnt_from_and_measured():
    rng = np.random.default_rng(0)
    for driven in (False, True):
        dataset = pair_dataset(PairSampling(pairs=1, drive_to_held_out=driven))
        assert {int(frame) for _ in range(200) for frame in dataset.choose_pair(8, rng)} == set(range(8))


@settings(max_examples=30)
@given(SEED, SIZES, st.integers(0, 50), st.sampled_from([4, 8, 12]))
def test_the_global_batch_is_the_same_for_any_number_of_processes(seed, sizes, first, clips):
    order = ClipOrder(sizes=tuple(sizes), seed=seed, streams=8)

    def batches(world):
        ranks = [islice(ResumableBatchSampler(first, clips, rank=rank, world=world), 5) for rank in range(world)]
        return [[order.clip(position) for share in shares for position in share] for shares in zip(*ranks, strict=True)]

    assert batches(1) == batches(2) == batches(4)


@settings(max_examples=30)
@given(SIZES, st.integers(1, 40), st.sampled_from([1, 2, 4]))
def test_a_resumed_run_goes_on_where_the_other_stopped(sizes, consumed, world):
    clips = 4
    whole = [
        position
        for batch in islice(ResumableBatchSampler(0, clips, rank=0, world=1), consumed + 10)
        for position in batch
    ]
    ranks = [list(islice(ResumableBatchSampler(consumed, clips, rank=rank, world=world), 10)) for rank in range(world)]
    rest = [position for shares in zip(*ranks, strict=True) for share in shares for position in share]
    assert whole[: consumed * clips] + rest == whole == list(range((consumed + 10) * clips))
    order = ClipOrder(sizes=tuple(sizes), seed=0, streams=8)
    size = len(order)
    for epoch in range(len(whole) // size):
        assert sorted(order.clip(position) for position in whole[epoch * size : (epoch + 1) * size]) == list(
            range(size)
        )


@pytest.fixture
def settings_of(made_up_dataset):
    return lambda **changes: DatasetConfig(
        **({"path": str(made_up_dataset), "batch_size": 4, "pairs_per_clip": 2} | changes)
    )


def _batches(module, count):
    return list(islice(module.train_dataloader(), count))


def _poses(config, cache):
    return WindowDataModule(config, size=64, cache=cache, frames_every=0, portrait_first=True)


def _pairs(config, tmp_path):
    return PairDataModule(config, size=64, cache=tmp_path)


def test_pairs_are_two_frames_of_the_clip_that_they_name(settings_of, made_up_dataset, tmp_path):
    batch = _batches(_pairs(settings_of(), tmp_path), 1)[0]
    index = Index(Storage(made_up_dataset), "train")
    clips = {clip.key: clip for clip in index.clips}
    assert batch.source.shape == batch.driving.shape == (4, 3, 64, 64)
    for key, source, driving in zip(batch.keys, batch.source, batch.driving, strict=True):
        film = media.decode_crop(index.members(clips[key], ("mp4",)).members["mp4"], size=64)
        found = [
            [i for i, frame in enumerate(film) if np.array_equal(frame, image.permute(1, 2, 0))]
            for image in (source, driving)
        ]
        assert all(found)
        assert found[0] != found[1]


def test_a_batch_becomes_floats_in_the_unit_range_on_the_device(settings_of, tmp_path):
    module = _pairs(settings_of(), tmp_path)
    batch = _batches(module, 1)[0]
    moved = module.on_after_batch_transfer(batch, 0)
    assert moved.keys == batch.keys
    assert torch.equal(moved.source, batch.source.float() * UNIT)


def test_a_resumed_loader_gives_bit_equal_batches(settings_of, tmp_path):
    whole = _batches(_pairs(settings_of(), tmp_path), 6)
    resumed = _pairs(settings_of(), tmp_path)
    resumed.load_state_dict(_pairs(settings_of(), tmp_path).state_dict() | {"batches": 3})
    for a, b in zip(whole[3:], _batches(resumed, 3), strict=True):
        assert a.keys == b.keys
        assert torch.equal(a.source, b.source)
        assert torch.equal(a.driving, b.driving)


def _of_all(config, cache, world, count, *, consumed=0):
    """Global batches, put together from the loaders of all processes: keys, and pictures."""
    shares = []
    for rank in range(world):
        module = _pairs(config, cache)
        state = module.state_dict()
        module.trainer = SimpleNamespace(global_rank=rank, world_size=world)
        module.load_state_dict(state | {"batches": consumed})
        shares.append(_batches(module, count))
    return [
        ([key for part in parts for key in part.keys], torch.cat([part.driving for part in parts]))
        for parts in zip(*shares, strict=True)
    ]


def test_the_loaders_of_any_number_of_processes_give_the_same_batches_also_after_a_resume(settings_of, tmp_path):
    config = settings_of(batch_size=8)
    whole = _of_all(config, tmp_path, 1, 4)
    for world, consumed in ((2, 0), (4, 0), (4, 2), (1, 3)):
        there = _of_all(config, tmp_path, world, 4 - consumed, consumed=consumed)
        assert [keys for keys, _ in there] == [keys for keys, _ in whole[consumed:]]
        assert all(torch.equal(a, b) for (_, a), (_, b) in zip(there, whole[consumed:], strict=True))


@pytest.mark.slow
def test_worker_processes_change_nothing(settings_of, tmp_path):
    here, elsewhere = (_batches(_pairs(settings_of(workers=workers), tmp_path), 3) for workers in (0, 1))
    for a, b in zip(here, elsewhere, strict=True):
        assert a.keys == b.keys
        assert torch.equal(a.driving, b.driving)


@pytest.mark.parametrize("change", [{"batch_size": 8}, {"seed": 1}, {"streams": 2}])
def test_a_state_of_another_order_is_refused(settings_of, tmp_path, change):
    state = _pairs(settings_of(), tmp_path).state_dict()
    with pytest.raises(CheckpointError, match="other training clips"):
        _pairs(settings_of(**change), tmp_path).load_state_dict(state)


def test_a_batch_that_cannot_be_shared_is_refused(settings_of, tmp_path):
    module = _pairs(settings_of(batch_size=6), tmp_path)
    with pytest.raises(ConfigError, match=r"dataset\.batch_size=6 cannot be shared by 2 processes"):
        module.clips_per_batch(2)


def test_windows_of_the_head_begin_at_their_portrait(settings_of, made_up_dataset, tmp_path):
    module = _poses(settings_of(), tmp_path)
    batch = _batches(module, 1)[0]
    assert batch.frames.shape == (4, 0, 3, 64, 64)
    assert torch.equal(batch.portrait_pose, batch.pose[:, 0])
    assert batch.speech.shape == (4, WINDOW, 4, 41)
    index = Index(Storage(made_up_dataset), "train")
    clip = next(clip for clip in index.clips if clip.key == batch.keys[0])
    speech = index.array(index.members(clip, ("speech.npy",)), "speech.npy")
    starts = [i for i in range(clip.frames - WINDOW + 1) if np.array_equal(speech[i : i + WINDOW], batch.speech[0])]
    assert len(starts) == 1


def test_windows_of_the_face_bring_their_frames(settings_of, tmp_path):
    module = WindowDataModule(settings_of(batch_size=2), size=64, cache=tmp_path, frames_every=1, portrait_first=False)
    batch = _batches(module, 1)[0]
    assert batch.frames.shape == (2, WINDOW, 3, 64, 64)
    assert batch.portrait.shape == (2, 3, 64, 64)


@pytest.mark.parametrize("kind", ["pairs", "windows"])
def test_validation_is_the_same_every_time_and_for_every_seed(settings_of, tmp_path, kind):
    def everything(seed):
        config = settings_of(seed=seed)
        module = _pairs(config, tmp_path) if kind == "pairs" else _poses(config, tmp_path)
        return list(module.val_dataloader())

    once, again = everything(0), everything(7)
    assert {key for batch in once for key in batch.keys} == {"val0a", "val0b"}
    for a, b in zip(once, again, strict=True):
        assert a.keys == b.keys
        assert all(x is y is None or torch.equal(x, y) for x, y in zip(a[1:], b[1:], strict=True))


def test_a_dataset_without_training_clips_is_refused(settings_of, made_up_dataset, tmp_path):
    for path in made_up_dataset.glob("a2h-val-*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    with pytest.raises(InputError, match="no clips in its train split"):
        _pairs(settings_of(path=str(tmp_path)), tmp_path)


def test_a_damaged_film_names_its_sample(settings_of, made_up_dataset, tmp_path):
    for path in made_up_dataset.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    index = Index(Storage(tmp_path), "train")
    offset, size = index._sidecars[0].index["train0a"]["mp4"]
    with (tmp_path / "a2h-train-000000.tar").open("r+b") as tar:
        tar.seek(offset)
        tar.write(bytes(size))
    module = _pairs(settings_of(path=str(tmp_path)), tmp_path)
    with pytest.raises(DatasetError, match="sample train0a"):
        _batches(module, 5)
