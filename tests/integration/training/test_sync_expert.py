"""The sync expert as a stage of `a2h train`; and for real: after some seconds with talkers it finds
offsets planted in synthetic_identities' clips.
"""

import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from jaxtyping import Float32, Int16, UInt8
from torch.utils.data import DataLoader

from a2h_models.data_types import SIZE, SyncBatch
from a2h_models.features.speech import log_mel
from a2h_models.metrics.sync_expert import MAX_SHIFT, cut_mouths, embed, find_offset
from a2h_models.networks import JUDGE, NetworksConfig, load, save
from a2h_models.networks.sync_expert import SyncExpert, SyncExpertConfig
from a2h_models.timebase import HOPS_PER_FRAME, SAMPLES_PER_FRAME, Span
from a2h_models.training.base import adam
from a2h_models.training.sync_expert import SyncExpertModule
from pipelines.config import FeaturesConfig, PrepareConfig
from pipelines.config.training import SyncExpertStage, TrainCommand
from pipelines.prepare.steps.sync_network import find_sync_network
from pipelines.registry import ModelRegistry
from pipelines.training.launch import train

SECONDS, FRAMES = 4.0, 100
PEOPLE, STRANGERS = 8, 3  # the last ones are never trained on
WINDOW, CLIPS, STEPS = 48, 6, 120  # frames and clips of a batch
CLOSE = 1  # frames
MENDED = FeaturesConfig.correct_to_frames
NETWORKS = NetworksConfig(sync_expert=SyncExpertConfig(size=32, width=8, embedding=32))


class Talk(NamedTuple):
    frames: UInt8[np.ndarray, "t 256 256 3"]
    landmarks: Float32[np.ndarray, "t 468 3"]
    mouths: UInt8[np.ndarray, "t s s 3"]
    wave: Int16[np.ndarray, " n"]

    def heard(self, start: int, stop: int) -> torch.Tensor:
        wave = self.wave[start * SAMPLES_PER_FRAME : stop * SAMPLES_PER_FRAME]
        return torch.from_numpy(log_mel(wave, frames=stop - start))


@pytest.fixture(scope="module")
def talks(tmp_path_factory: pytest.TempPathFactory) -> list[Talk]:
    """Mouths as the face mesh finds them, and the speech."""
    from pipelines import media
    from pipelines.evaluation.videos import resize
    from pipelines.face.face_mesh import mesh
    from pipelines.face.smoothing import fill_gaps
    from pipelines.synthetic import SceneConfig, make_speaker_videos

    def look(video: Path) -> Talk:
        with media.open_video(video) as opened:
            frames = resize(np.concatenate(list(opened.read(Span(0, FRAMES)))), SIZE)
        found = mesh(frames)
        landmarks = fill_gaps(np.asarray(found.landmarks, np.float32), found.found)
        return Talk(
            frames,
            landmarks,
            cut_mouths(frames, landmarks, NETWORKS.sync_expert.size),
            np.asarray(media.read_speech(video)),
        )

    return [
        look(video)
        for video in make_speaker_videos(
            tmp_path_factory.mktemp("talkers"), count=PEOPLE, seed=11, scene=SceneConfig(seconds=SECONDS, size=160)
        )
    ]


def _batch(talks: list[Talk], whole: list[torch.Tensor], rng: np.random.Generator) -> SyncBatch:
    starts = [(int(person), int(rng.integers(FRAMES - WINDOW))) for person in rng.integers(len(talks), size=CLIPS)]
    mouths = np.stack([talks[person].mouths[start : start + WINDOW] for person, start in starts])
    mel = torch.stack([whole[person][start * HOPS_PER_FRAME :][: WINDOW * HOPS_PER_FRAME] for person, start in starts])
    return SyncBatch(
        keys=[str(start) for start in starts], mouths=torch.from_numpy(mouths).permute(0, 1, 4, 2, 3) / 255, mel=mel
    )


def _train(talks: list[Talk]) -> SyncExpert:
    torch.manual_seed(0)
    network = SyncExpert(NETWORKS.sync_expert)
    optimise = partial(adam, lr=1e-3, betas=(0.9, 0.999), milestones=())
    stage = SyncExpertModule(network, weights={"contrastive": 1.0}, optimise=optimise, seed=0, mirror=0.5)
    rng = np.random.default_rng(0)
    whole = [talk.heard(0, FRAMES) for talk in talks]
    loader = DataLoader([_batch(talks, whole, rng) for _ in range(STEPS)], batch_size=None)
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    pl.Trainer(max_epochs=1, accelerator="cpu", limit_val_batches=0, **quiet).fit(stage, loader, loader)
    return network.eval()


@pytest.fixture(scope="module")
def expert(talks: list[Talk]) -> SyncExpert:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*LeafSpec.*", FutureWarning)
        warnings.filterwarnings("ignore", ".*does not have many workers.*")
        return _train(talks[:-STRANGERS])


@pytest.mark.slow
def test_planted_offsets_of_synthetic_identities_are_found(talks: list[Talk], expert: SyncExpert) -> None:
    """Within a frame in 95 of 100, among ± 15: by chance it would be 10."""
    start, stop = MAX_SHIFT, FRAMES - MAX_SHIFT
    planted = [(talk, late) for talk in talks[-STRANGERS:] for late in range(-MAX_SHIFT, MAX_SHIFT + 1)]
    errors = [
        find_offset(embed(expert, talk.mouths[start:stop], talk.heard(start - late, stop - late).numpy())).offset - late
        for talk, late in planted
    ]
    assert np.mean(np.abs(errors) <= CLOSE) >= 0.95


@pytest.mark.slow
def test_preparation_that_asks_it_mends_six_frames_and_rejects_more(
    talks: list[Talk], expert: SyncExpert, tmp_path: Path
) -> None:
    """As `a2h prepare` does with each clip, with synthetic_identities' sound shifted: what is left is a frame
    at most.
    """
    from pipelines.prepare.reasons import Reason
    from pipelines.prepare.scores import Scores
    from pipelines.prepare.sound import cut_wave
    from pipelines.prepare.steps.align_sound import correction, find_offset, with_sync_scores
    from pipelines.prepare.steps.filter import judge

    save(expert, JUDGE, NETWORKS, tmp_path)
    config = PrepareConfig(features=FeaturesConfig(sync_expert=str(tmp_path)))
    asked, inner = find_sync_network(config), Span(MENDED + 2, FRAMES - MENDED - 2)

    def left(talk: Talk, late: int) -> tuple[int, Reason | None]:
        wave = cut_wave(talk.wave, inner, late=-late)
        found = find_offset(
            talk.frames[inner.start : inner.stop], talk.landmarks[inner.start : inner.stop], wave, asked
        )
        mended = correction(found, config.features)
        return late - mended, judge(with_sync_scores(Scores(), found, mended), config.filters)

    near = [left(talk, late) for talk in talks[-STRANGERS:] for late in range(-MENDED, MENDED + 1)]
    assert max(abs(rest) for rest, _ in near) <= CLOSE
    assert {reason for _, reason in near} == {None}
    far = [left(talk, late) for talk in talks[-STRANGERS:] for late in (-MENDED - 2, MENDED + 2)]
    assert {reason for _, reason in far} == {Reason.OUT_OF_SYNC}


def test_it_is_trained_registered_and_resumed_as_any_other_stage(command: Callable[..., TrainCommand]) -> None:
    def asked(steps: int) -> TrainCommand:
        made = command(SyncExpertStage(), steps=steps)
        made.networks.sync_expert = SyncExpertConfig(size=16, width=4, embedding=8)
        made.register = True
        return made

    first = train(asked(3))
    assert first.model_uri == "models:/a2h-sync-expert/1"
    assert {"val/offset_found", "val/offset_error"} <= first.metrics.keys()
    assert list((first.folder / "pictures").iterdir())
    again = train(asked(5))
    assert (again.folder, again.steps) == (first.folder, 5)
    network, config = load(ModelRegistry.from_config(asked(5).logger).fetch("models:/a2h-sync-expert/latest"), JUDGE)
    assert isinstance(network, SyncExpert)
    assert config.sync_expert.size == 16
