"""SyncNet's protocol on made-up embeddings, and its weights under their published names.

The public file itself is not at hand here.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from a2h_models.errors import CheckpointError
from a2h_models.evaluators import syncnet
from a2h_models.evaluators.syncnet import SyncNet
from a2h_models.features.speech import mfcc
from a2h_models.metrics import lip_sync
from a2h_models.timebase import SAMPLES_PER_FRAME


def published(network: SyncNet) -> dict[str, torch.Tensor]:
    return {theirs: network.state_dict()[ours] for theirs, ours in syncnet.published_names().items()}


@given(st.integers(-12, 12), st.integers(0, 9))
@settings(deadline=None)
def test_a_planted_shift_of_the_embeddings_is_found(late: int, seed: int) -> None:
    """Positive: the sound is late. Zeros past the ends count, as in the public tool."""
    stream = torch.randn(120, 64, generator=torch.Generator().manual_seed(seed))
    found = lip_sync.from_distances(lip_sync.distances(stream[20:100], stream[20 - late : 100 - late]))
    assert found.offset == late
    assert found.confidence > 0
    if late == 0:
        assert found.distance == pytest.approx(0, abs=1e-4)


def test_confidence_is_the_median_less_the_least() -> None:
    means = torch.full((31,), 9.0)
    means[15 + 3] = 5.0
    assert lip_sync.from_distances(means) == lip_sync.LipSync(offset=3, distance=5.0, confidence=4.0)


def test_published_names_are_the_published_ones() -> None:
    """A sample of them, as the public implementation writes its file."""
    names = syncnet.published_names()
    assert names["netcnnlip.0.weight"] == "lip_tower.0.0.weight"
    assert names["netcnnlip.19.running_mean"] == "lip_tower.8.1.running_mean"
    assert names["netcnnaud.18.bias"] == "audio_tower.7.0.bias"
    assert names["netfcaud.3.weight"] == "audio_head.4.weight"
    assert sorted(names.values()) == sorted(SyncNet().state_dict())


def test_weights_under_published_names_are_read(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = SyncNet().eval()
    torch.save(published(network), tmp_path / "syncnet_v2.model")
    read = syncnet.load_syncnet(str(tmp_path / "syncnet_v2.model"))
    assert not read.training
    faces = np.random.default_rng(0).integers(0, 256, (8, 224, 224, 3), dtype=np.uint8)
    wave = np.random.default_rng(1).integers(-9000, 9000, 8 * SAMPLES_PER_FRAME).astype(np.int16)
    assert lip_sync.lip_sync(read, faces, wave) == lip_sync.lip_sync(network, faces, wave)
    assert lip_sync.lip_sync(read, faces[:5], wave) is None  # not one window


@pytest.mark.parametrize("spoil", ["missing", "unknown", "shape", "no dict"])
def test_other_weights_are_refused(tmp_path: Path, spoil: str) -> None:
    state = published(SyncNet())
    name = next(iter(state))
    if spoil == "missing":
        del state[name]
    elif spoil == "unknown":
        state["netfcother.0.weight"] = state[name]
    elif spoil == "shape":
        state[name] = state[name][:1]
    path = tmp_path / "other.model"
    torch.save(state[name] if spoil == "no dict" else state, path)
    with pytest.raises(CheckpointError, match=r"not SyncNet's weights|something else than named tensors"):
        syncnet.load_syncnet(str(path))


def test_a_file_that_would_run_code_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "evil.model"
    torch.save({"weights": Path}, path)
    with pytest.raises(CheckpointError, match="cannot be read"):
        syncnet.load_syncnet(str(path))
    with pytest.raises(CheckpointError, match="cannot be read"):
        syncnet.load_syncnet(str(tmp_path / "nowhere"))


def test_faces_are_cut_steadily_with_room_below() -> None:
    frames = np.zeros((20, 256, 256, 3), np.uint8)
    frames[:, 100:180, 90:150] = 255  # a face, 80 pixels high
    landmarks = np.zeros((20, 2, 3), np.float32)
    landmarks[:, 0, :2], landmarks[:, 1, :2] = (90, 100), (149, 179)
    landmarks[7, 1, 0] = 250  # one frame's mesh slips
    faces = lip_sync.sync_faces(frames, landmarks)
    assert faces.shape == (20, 224, 224, 3)
    assert np.array_equal(faces[7], faces[0])
    rows, columns = np.nonzero(faces[0, :, :, 0] > 127)
    assert rows.min() < 3
    assert rows.max() == pytest.approx(224 / 1.4, abs=4)
    assert columns.mean() == pytest.approx(112, abs=3)


def test_mfcc_hears_the_raw_samples() -> None:
    """Twice as loud is log 4 more energy: nothing levels it."""
    wave = np.random.default_rng(0).integers(-5000, 5000, 16_000).astype(np.int16)
    quiet, loud = mfcc(wave), mfcc((wave * 2).astype(np.int16))
    assert quiet.shape == (99, 13)
    np.testing.assert_allclose(loud[:, 0] - quiet[:, 0], np.log(4), rtol=1e-6)
    np.testing.assert_allclose(loud[:, 1:], quiet[:, 1:], atol=1e-6)
