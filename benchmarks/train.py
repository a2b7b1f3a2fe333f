"""Speed of training: our loader against decoding a whole clip for each pair (FOMM's way), Lightning's step against a bare loop."""

from __future__ import annotations

import logging
import statistics
import time
from argparse import Namespace
from itertools import islice
from pathlib import Path
from typing import Any

import measurement
import numpy as np
import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from a2h_models import losses
from a2h_models.stages.image_generator import ImageGeneratorTraining
from pipelines import media
from pipelines.compose import compose
from pipelines.dataset.windows import ClipDataModule, PairDataModule
from pipelines.prepare.flow import prepare
from pipelines.stage import make_stage
from pipelines.training.fit import make_data
from pipelines.training.trainer import LIGHTNING, make_trainer
from pipelines.training_config import TrainCommand

WARM_STEPS = 3  # not counted: memory is found, kernels are chosen


def a_dataset(words: Namespace, folder: Path) -> str:
    """The one given, or shards of talkers."""
    if words.dataset:
        return str(words.dataset)
    videos = measurement.videos_or_talkers("", folder, count=words.talkers, seconds=words.seconds)
    out = folder / "dataset"
    overrides = [f"videos={videos}", f"out={out}", f"paths.cache={folder / 'cache'}", "cluster.workers=0", "prepare.features.f0=dio"]
    prepare(compose("prepare", [*overrides, "prepare.plan.val_share=0", "prepare.plan.test_share=0"]))
    return str(out)


def command_for(dataset: str, folder: Path, *options: str) -> TrainCommand:
    fixed = [f"dataset.path={dataset}", f"paths.runs={folder / 'runs'}", f"paths.cache={folder / 'cache'}", "trainer.progress_bar=false"]
    command: TrainCommand = compose("train", ["stage=image_generator", "scale=smoke", *fixed, *options])
    return command


# ---------------------------------------------------------------------------------------------------------------- the loader
def ours(data: PairDataModule, pairs: int) -> None:
    """Offsets from the sidecar, one member read, the frames of its pairs decoded."""
    for _ in islice(data.train_dataloader(), pairs // data.config.batch_size):
        pass


def fomms(data: PairDataModule, pairs: int) -> None:
    """For each pair the whole clip is decoded, by the same decoder and to the same size, and two frames are taken."""
    rng = np.random.default_rng(0)
    for position in range(pairs):
        clip = data.train.clips[data.stream.clip(position)]
        frames = media.decode_crop(data.train.members(clip, ("mp4",)).members["mp4"], size=data.size)
        _ = frames[rng.choice(len(frames), 2, replace=False)]


def loader(dataset: str, folder: Path, *, pairs: int, rounds: int) -> None:
    per_clip = {number: _pair_data(dataset, folder, number) for number in (1, 4)}
    data = per_clip[1]
    sides = {f"ours, {number} of a clip at a time": lambda module=module: ours(module, pairs) for number, module in per_clip.items()}
    found = measurement.alternate({"FOMM's way": lambda: fomms(data, pairs), **sides}, rounds=rounds)
    rows = measurement.speed_rows(found, amount=pairs, against="FOMM's way")
    frames = statistics.mean(clip.frames for clip in data.train.clips)
    measurement.show(
        f"Loading pairs at {data.size} px from {len(data.train)} clips of {frames:.0f} frames on average, in one process",
        ["", "pairs/s", "× FOMM's way"],
        rows,
    )


def _pair_data(dataset: str, folder: Path, pairs_per_clip: int) -> PairDataModule:
    data = make_data(command_for(dataset, folder, f"dataset.pairs_per_clip={pairs_per_clip}"))
    assert isinstance(data, PairDataModule)
    return data


# ---------------------------------------------------------------------------------------------------------------- the step
class Bare(Callback):
    """After each of Lightning's steps, one of a bare loop with its own networks and batches: what slows the machine, slows both."""

    def __init__(self, stage: ImageGeneratorTraining, data: ClipDataModule) -> None:
        self.stage, self.data = stage, data
        self.batches = enumerate(data.train_dataloader())
        self.optimiser = stage.configure_optimizers()["optimizer"]
        self.since = time.perf_counter()
        self.lightning: list[float] = []  # s, from the end of a bare step to the end of Lightning's next
        self.bare: list[float] = []

    def on_train_batch_end(self, *_: Any) -> None:
        self.lightning.append(time.perf_counter() - self.since)
        self.bare.append(measurement.timed(self.step).wall)
        self.since = time.perf_counter()

    def step(self) -> None:
        number, batch = next(self.batches)
        terms = self.stage.terms(self.data.on_after_batch_transfer(batch, 0), self.stage.step_generator(number))
        self.optimiser.zero_grad()
        loss: Any = losses.total(terms, self.stage.weights)
        loss.backward()
        self.optimiser.step()


def step(dataset: str, folder: Path, *, steps: int) -> None:
    command = command_for(dataset, folder, f"trainer.max_steps={WARM_STEPS + steps}")
    pl.seed_everything(command.trainer.seed, verbose=False)
    ours, theirs = make_stage(command), make_stage(command)
    assert isinstance(theirs, ImageGeneratorTraining)
    data, bare = make_data(command), Bare(theirs, make_data(command))
    trainer: Any = make_trainer(command, folder, ours, data, LIGHTNING)
    trainer.callbacks.append(bare)  # after Lightning's and the project's own
    trainer.fit(ours, datamodule=data)
    seconds = {"bare loop": bare.bare[WARM_STEPS:], "Lightning": bare.lightning[WARM_STEPS:]}
    rows = [
        [name, f"{1000 * statistics.median(each):.0f}", measurement.ratio(each, seconds["bare loop"])] for name, each in seconds.items()
    ]
    title = f"A step of image_generator at scale=smoke, batch {command.dataset.batch_size}, {steps} steps of each in turns"
    measurement.show(title, ["", "ms", "time / bare loop's"], rows)


def main(words: Namespace) -> None:
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    with measurement.workplace() as folder:
        dataset = a_dataset(words, folder)
        loader(dataset, folder, pairs=words.pairs, rounds=words.rounds)
        step(dataset, folder, steps=words.steps)


if __name__ == "__main__":
    parser = measurement.arguments(__doc__, rounds=3, talkers=3, seconds=8.0)
    parser.add_argument("--dataset", default="", help="a prepared dataset; empty prepares talkers")
    parser.add_argument("--pairs", type=int, default=32, help="pairs loaded by each side in a round; a multiple of 8")
    parser.add_argument("--steps", type=int, default=20, help="training steps of each side")
    main(parser.parse_args())
