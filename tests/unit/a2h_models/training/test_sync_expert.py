"""The sync expert's training: what it learns from, and what it is judged by."""

from functools import partial

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from a2h_models.data_types import WINDOW, SyncBatch
from a2h_models.errors import ConfigError
from a2h_models.metrics.sync_expert import MAX_SHIFT
from a2h_models.networks import JUDGE, NetworksConfig, SyncExpert, build, load, save
from a2h_models.networks.sync_expert import SyncExpertConfig
from a2h_models.training import losses
from a2h_models.training.base import adam
from a2h_models.training.sync_expert import SyncExpertModule

NETWORKS = NetworksConfig(sync_expert=SyncExpertConfig(size=16, width=4, embedding=16))
ADAM = partial(adam, lr=3e-3, betas=(0.9, 0.999), milestones=())
FLASHES = 40  # batches: enough for a mouth that is as bright as its speech is loud


def _stage(**settings) -> SyncExpertModule:
    torch.manual_seed(0)
    network = build(JUDGE, NETWORKS)
    assert isinstance(network, SyncExpert)
    return SyncExpertModule(network, weights={"contrastive": 1.0}, optimise=ADAM, seed=0, **settings)


def _flashing(seed: int, count: int = 6) -> SyncBatch:
    """Mouths whose brightness is the loudness of the speech: what belongs together can be seen from
    any frame.
    """
    loud = torch.rand(count, WINDOW, generator=torch.Generator().manual_seed(seed))
    mouths = loud[:, :, None, None, None].expand(-1, -1, 3, 16, 16).clone()
    mouths[..., :8, :] = 0.5  # a group norm sees no brightness, only contrast
    mel = loud.repeat_interleave(4, dim=1)[..., None].expand(-1, -1, 80)
    return SyncBatch(keys=[f"clip{seed}{n}" for n in range(count)], mouths=mouths, mel=mel.to(torch.float16))


def _fit(stage: SyncExpertModule, batches: list[SyncBatch]) -> None:
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    trainer = pl.Trainer(max_epochs=1, accelerator="cpu", limit_val_batches=0, **quiet)
    loader = DataLoader(range(len(batches)), batch_size=1, collate_fn=lambda places: batches[places[0]])
    trainer.fit(stage, loader, loader)


QUIET = pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning", "ignore:.*does not have many workers.*")


class TestLoss:
    def test_it_is_small_where_each_frame_is_most_like_itself(self) -> None:
        likeness = 50 * torch.eye(WINDOW)[None]
        assert losses.contrastive_in_time(likeness, MAX_SHIFT) < 1e-6

    def test_what_is_out_of_reach_counts_for_nothing(self) -> None:
        likeness = torch.randn(2, WINDOW, WINDOW)
        far = (torch.arange(WINDOW)[:, None] - torch.arange(WINDOW)).abs() > MAX_SHIFT
        other = torch.where(far, torch.tensor(1e4), likeness)
        assert torch.equal(
            losses.contrastive_in_time(likeness, MAX_SHIFT), losses.contrastive_in_time(other, MAX_SHIFT)
        )

    def test_of_a_frame_in_the_middle_it_is_the_cross_entropy_of_31(self) -> None:
        """All alike: log 31 in the middle, log 16 at the ends, where half of the frames are
        missing.
        """
        value = losses.contrastive_in_time(torch.zeros(1, WINDOW, WINDOW), MAX_SHIFT)
        counts = [min(t, MAX_SHIFT) + min(WINDOW - 1 - t, MAX_SHIFT) + 1 for t in range(WINDOW)]
        assert float(value) == pytest.approx(torch.tensor(counts).float().log().mean().item(), rel=1e-6)


@QUIET
def test_it_learns_to_find_planted_offsets_of_mouths_that_flash_with_the_speech() -> None:
    stage = _stage()
    before = {name: parameter.detach().clone() for name, parameter in stage.network.named_parameters()}
    held_out = _flashing(seed=1000, count=20)
    untrained = stage.eval().metrics(held_out)
    _fit(stage.train(), [_flashing(seed) for seed in range(FLASHES)])
    with torch.inference_mode():
        found = stage.eval().metrics(held_out)
    assert untrained["offset_found"] < 0.5
    assert found["offset_found"] >= 0.95
    assert found["offset_error"] < 1
    assert found["offset_found_chance"] == pytest.approx(3 / 31)
    assert not [name for name, parameter in stage.network.named_parameters() if torch.equal(before[name], parameter)]


def test_windows_are_varied_as_wholes() -> None:
    stage = _stage(jitter=0.2, mirror=0.5)
    batch = torch.rand(8, 1, 3, 16, 16).expand(-1, 5, -1, -1, -1)
    varied = stage.varied(batch, 0)
    assert torch.allclose(varied, varied[:, :1].expand_as(varied), atol=1e-6)
    assert not torch.allclose(varied, batch, atol=1e-3)
    assert torch.equal(varied, stage.varied(batch, 0)), "the randomness of a step is the step's own"
    assert torch.equal(_stage().varied(batch, 0), batch)


def test_mirroring_turns_about_half_of_the_windows() -> None:
    batch = torch.rand(64, 1, 3, 4, 4)
    turned = _stage(mirror=0.5).varied(batch, 3)
    which = (turned == batch.flip(-1)).flatten(1).all(dim=1)
    assert torch.equal(turned[~which], batch[~which])
    assert 16 < int(which.sum()) < 48


def test_its_picture_shows_mouths_and_likenesses() -> None:
    picture = _stage().eval().picture(_flashing(seed=0))
    assert picture.shape == (3, 16 + 8 * 16, 8 * 16)
    assert 0 <= picture.min() <= picture.max() <= 1


def test_it_is_saved_and_loaded_as_any_other_stage(tmp_path) -> None:
    network = build(JUDGE, NETWORKS)
    assert save(network, JUDGE, NETWORKS, tmp_path).name == "sync_expert.safetensors"
    again, config = load(tmp_path, JUDGE)
    assert isinstance(again, SyncExpert)
    assert config == NETWORKS
    assert all(torch.equal(again.state_dict()[name], tensor) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize(
    ("broken", "named"), [({"width": 6}, "sync_expert.width=6"), ({"size": 2}, "sync_expert.size=2")]
)
def test_sizes_that_cannot_be_are_named(broken: dict[str, int], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        build(JUDGE, NetworksConfig(sync_expert=SyncExpertConfig(**broken)))
