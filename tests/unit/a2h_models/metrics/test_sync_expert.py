"""Our own sync expert's protocol: mouths that are cut out, shifts that are compared."""

import numpy as np
import pytest
import torch

from a2h_models.metrics.av_sync import CHIN, FOREHEAD, MOUTH_CORNERS
from a2h_models.metrics.sync_expert import MAX_SHIFT, MIN_OVERLAP, cut_mouths, expert_sync, find_offset, likenesses
from a2h_models.networks.sync_expert import SyncExpert, SyncExpertConfig, SyncExpertEmbeddings

FRAMES = 60


def _face(x: float, y: float, frames: int = 4, height: float = 100.0) -> np.ndarray:
    """Landmarks of which only those count that place the mouth: its corners at (x, y)."""
    points = np.zeros((frames, 468, 3), np.float32)
    points[:, MOUTH_CORNERS, :2] = [[x - 20, y], [x + 20, y]]
    points[:, FOREHEAD, 1], points[:, CHIN, 1] = 0.0, height
    return points


def _unit(frames: int = FRAMES, seed: int = 0) -> torch.Tensor:
    values = torch.randn(1, frames, 16, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(values, dim=-1)


@pytest.mark.parametrize("side", [256, 64])
def test_the_mouth_is_found_wherever_it_is_at_any_size_of_the_film(side: int) -> None:
    frames = np.zeros((4, side, side, 3), np.uint8)
    scale = side / 256
    x, y = 150, 170
    frames[:, round((y + 5) * scale) : round((y + 10) * scale), round((x - 5) * scale) : round((x + 5) * scale)] = 255
    mouths = cut_mouths(frames, _face(x, y), 24)
    assert mouths.shape == (4, 24, 24, 3)
    assert mouths.dtype == np.uint8
    row, column = (np.argwhere(mouths[0, ..., 0] > 100).mean(axis=0) + 0.5) / 24
    assert row == pytest.approx(0.5, abs=0.05)  # the cut-out reaches a quarter of its half, 7.5 px, below the lips
    assert column == pytest.approx(0.5, abs=0.05)


def test_a_mouth_at_the_border_is_filled_up_with_the_border() -> None:
    frames = np.full((2, 64, 64, 3), 77, np.uint8)
    assert (cut_mouths(frames, _face(2, 250, frames=2), 16) == 77).all()


@pytest.mark.parametrize("late", [-15, -3, 0, 1, 15])
def test_a_planted_shift_of_made_up_embeddings_is_found(late: int) -> None:
    lips = _unit()
    found = find_offset(SyncExpertEmbeddings(lips=lips, speech=torch.roll(lips, late, dims=1)))
    assert found.offset == late
    assert found.likeness == pytest.approx(1.0)
    assert 0.8 < found.confidence <= 1.1


def test_synthetic_identities_are_not_believed() -> None:
    found = find_offset(SyncExpertEmbeddings(lips=_unit(seed=1), speech=_unit(seed=2)))
    assert found.confidence < 0.2


def test_a_short_clip_is_shifted_less_and_a_shorter_one_not_measured() -> None:
    lips = _unit(MIN_OVERLAP + 3)
    assert likenesses(SyncExpertEmbeddings(lips, lips)).shape == (1, 7)
    assert likenesses(SyncExpertEmbeddings(_unit(), _unit())).shape == (1, 2 * MAX_SHIFT + 1)
    expert = SyncExpert(SyncExpertConfig(size=16, width=4, embedding=8)).eval()
    frames = np.zeros((MIN_OVERLAP, 64, 64, 3), np.uint8)
    assert expert_sync(expert, frames, _face(128, 128, MIN_OVERLAP), np.zeros(MIN_OVERLAP * 640, np.int16)) is None
    longer = np.zeros((FRAMES, 64, 64, 3), np.uint8)
    wave = np.random.default_rng(0).integers(-9000, 9000, FRAMES * 640).astype(np.int16)
    found = expert_sync(expert, longer, _face(128, 128, FRAMES), wave)
    assert found is not None
    assert -1 <= found.likeness <= 1
    assert found.confidence >= 0
