"""The keypoints that are stored are the detector's own, in every engine the same bytes."""

from __future__ import annotations

import gc
import io
import json

import numpy as np
import pytest
import torch

from a2h_models.data_types import SIZE, UNIT, Sample
from a2h_models.errors import ConfigError, DatasetError, InputError
from a2h_models.networks import ImageGenerator, load
from a2h_models.timebase import SAMPLES_PER_FRAME
from pipelines import media
from pipelines.config import ClusterConfig, KeypointsCommand, PathsConfig
from pipelines.core.storage import Storage
from pipelines.dataset.keypoint_shards import detectors_of, read_keypoint_shard, read_keypoints
from pipelines.dataset.shard_format import encode, read_members, read_sidecars, write_shard
from pipelines.training.keypoints import keypoints

FRAMES = {"aa_1": 7, "bb_2": 4, "cc_3": 5}


def _sample(key, frames):
    rng = np.random.default_rng(frames)
    picture = rng.integers(0, 255, (frames, 8, 8, 3), np.uint8).repeat(SIZE // 8, axis=1).repeat(SIZE // 8, axis=2)
    return Sample(
        key=key,
        frames=picture,
        wave=np.zeros(frames * SAMPLES_PER_FRAME, np.int16),
        speech=np.zeros((frames, 4, 41), np.float32),
        mel=np.zeros((4 * frames, 80), np.float16),
        pose=np.zeros((frames, 6), np.float32),
        landmarks=np.zeros((frames, 468, 3), np.float16),
    )


@pytest.fixture(scope="module")
def detector(stage_folders):
    """The folder with its weights, the network itself, and the size of the pictures that it wants."""
    network, config = load(stage_folders["image_generator"], "image_generator")
    assert isinstance(network, ImageGenerator)
    return stage_folders["image_generator"], network.detector, config.image_size


@pytest.fixture
def dataset(tmp_path):
    out = Storage(tmp_path / "dataset")
    for number, keys in enumerate((["aa_1", "bb_2"], ["cc_3"], [])):
        write_shard(
            *(out, f"a2h-train-{number:06d}", [encode(_sample(key, FRAMES[key])) for key in keys]),
            split="train",
            unit=f"u{number}",
            plan="p",
            frames={key: FRAMES[key] for key in keys},
            identities=dict.fromkeys(keys, "ann"),
        )
    return out


def _command(made, folder, **changes):
    command = KeypointsCommand(
        dataset=made.url,
        detector=str(folder),
        batch_size=3,
        cluster=ClusterConfig(workers=0),
        paths=PathsConfig(cache=f"{made.url}/../cache"),
    )
    for name, value in changes.items():
        setattr(command, name, value)
    return command


def _companions(dataset):
    return {name: dataset.read(name) for name in dataset.names("a2h-*.kp-*")}


def test_they_are_the_detectors_own(dataset, detector):
    folder, network, size = detector
    summary = keypoints(_command(dataset, folder))
    assert (summary.shards, summary.made, summary.frames) == (3, 3, 16)
    for sidecar in read_sidecars(dataset):
        companion = read_keypoint_shard(dataset, sidecar, summary.detector)
        assert companion.keys == sidecar.keys
        for key in sidecar.keys:
            stored = read_keypoints(dataset, companion, key)
            frames = media.decode_crop(read_members(dataset, sidecar, key).members["mp4"], None, size)
            with torch.inference_mode():
                found = network(torch.from_numpy(frames).permute(0, 3, 1, 2).float() * UNIT)
            assert stored.shape == (FRAMES[key], found.value.shape[1], 6)
            np.testing.assert_allclose(stored[..., :2], found.value, atol=1e-6)
            np.testing.assert_allclose(stored[..., 2:].reshape(found.jacobian.shape), found.jacobian, atol=1e-5)


def test_the_same_call_makes_only_what_is_missing(dataset, detector):
    folder, *_ = detector
    first = keypoints(_command(dataset, folder))
    whole = _companions(dataset)
    dataset.remove(f"a2h-train-000001.kp-{first.detector}.json")
    dataset.remove(f"a2h-train-000000.kp-{first.detector}.tar")
    again = keypoints(_command(dataset, folder))
    assert (again.made, again.frames) == (2, 16)
    assert _companions(dataset) == whole
    assert detectors_of(dataset, "a2h-train-000000") == [first.detector]


@pytest.mark.slow
def test_ray_writes_the_same_bytes(dataset, detector):
    folder, *_ = detector
    keypoints(_command(dataset, folder))
    whole = _companions(dataset)
    for name in whole:
        dataset.remove(name)
    keypoints(_command(dataset, folder, cluster=ClusterConfig(workers=2, max_retries=0)))
    assert _companions(dataset) == whole


# webdataset leaves the closing of files to the collector
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_plain_webdataset_reads_them(dataset, detector):
    import webdataset

    summary = keypoints(_command(dataset, detector[0]))
    load = webdataset.handle_extension("npy", lambda data: np.load(io.BytesIO(data), allow_pickle=False))
    url = f"{dataset.url}/a2h-train-000000.kp-{summary.detector}.tar"
    samples = list(webdataset.WebDataset(url, shardshuffle=False).decode(load, partial=True))
    gc.collect()
    assert [(sample["__key__"], len(sample["kp.npy"])) for sample in samples] == [("aa_1", 7), ("bb_2", 4)]


def test_companions_of_other_samples_are_refused(dataset, detector):
    summary = keypoints(_command(dataset, detector[0]))
    name = f"a2h-train-000000.kp-{summary.detector}.json"
    values = json.loads(dataset.read(name))
    values["frames"]["aa_1"] = 99
    dataset.publish(name, json.dumps(values).encode())
    with pytest.raises(DatasetError, match="has other samples than a2h-train-000000"):
        keypoints(_command(dataset, detector[0]))


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"batch_size": 0}, ConfigError, "batch_size=0"),
        ({"dataset": "nowhere"}, InputError, "holds no dataset"),
        ({"detector": "nowhere"}, InputError, "neither a folder nor a model"),
    ],
)
def test_what_cannot_be_is_refused(dataset, detector, change, error, words):
    with pytest.raises(error, match=words):
        keypoints(_command(dataset, detector[0], **change))
