"""Speed of training: our loader against FOMM's two ways, Lightning's step against a bare loop; on a
GPU, our step against a plain one.
"""

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
import torch
from PIL import Image
from pytorch_lightning.callbacks import Callback
from torch.utils.flop_counter import FlopCounterMode

from a2h_models.training import losses
from a2h_models.training.image_generator import ImageGeneratorModule
from pipelines import media
from pipelines.config.compose import compose
from pipelines.config.training import TrainCommand
from pipelines.dataset.datamodules import ClipDataModule, PairDataModule
from pipelines.prepare.pipeline import prepare
from pipelines.training.build import make_stage
from pipelines.training.fit import make_data
from pipelines.training.trainer import LIGHTNING, make_trainer

TERA = 1e12
WARM_STEPS = 3  # not counted: memory is found, kernels are chosen


def a_dataset(words: Namespace, folder: Path) -> str:
    """The one given, or shards of talkers."""
    if words.dataset:
        return str(words.dataset)
    videos = measurement.videos_or_talkers("", folder, count=words.talkers, seconds=words.seconds)
    out = folder / "dataset"
    overrides = [
        f"videos={videos}",
        f"out={out}",
        f"paths.cache={folder / 'cache'}",
        "cluster.workers=0",
        "prepare.features.f0=dio",
    ]
    prepare(compose("prepare", [*overrides, "prepare.plan.val_share=0", "prepare.plan.test_share=0"]))
    return str(out)


def command_for(dataset: str, folder: Path, *options: str) -> TrainCommand:
    fixed = [
        f"dataset.path={dataset}",
        f"paths.runs={folder / 'runs'}",
        f"paths.cache={folder / 'cache'}",
        "trainer.progress_bar=false",
    ]
    command: TrainCommand = compose("train", ["stage=image_generator", "scale=smoke", *fixed, *options])
    return command


# --------------------------------------------------------------------------------------- the loader
def ours(data: PairDataModule, pairs: int) -> None:
    """Offsets from the sidecar, one member read, the frames of its pairs decoded."""
    for _ in islice(data.train_dataloader(), pairs // data.config.batch_size):
        pass


def whole_films(data: PairDataModule, pairs: int) -> None:
    """FOMM's way with films: for each pair the whole clip is decoded, by our decoder and to the
    same size, and two frames are taken.
    """
    rng = np.random.default_rng(0)
    for position in range(pairs):
        clip = data.train.clips[data.stream.clip(position)]
        frames = media.decode_crop(data.train.members(clip, ("mp4",)).members["mp4"], size=data.size)
        _ = frames[rng.choice(len(frames), 2, replace=False)]


def folders(data: PairDataModule, home: Path, pairs: int) -> None:
    """FOMM's other way: each clip is a folder of PNGs, here of the right size already; it is
    listed, and two of them are read.
    """
    rng = np.random.default_rng(0)
    for position in range(pairs):
        names = sorted((home / data.train.clips[data.stream.clip(position)].key).iterdir())
        for name in rng.choice(len(names), 2, replace=False):
            with Image.open(names[name]) as picture:
                _ = np.asarray(picture)


def as_folders(data: PairDataModule, home: Path) -> int:
    """Write the clips as PNGs; gives how many bytes they take."""
    for clip in data.train.clips:
        frames = media.decode_crop(data.train.members(clip, ("mp4",)).members["mp4"], size=data.size)
        (home / clip.key).mkdir(parents=True)
        for number, frame in enumerate(frames):
            Image.fromarray(frame).save(home / clip.key / f"{number:07d}.png")
    return sum(path.stat().st_size for path in home.rglob("*.png"))


def loader(dataset: str, folder: Path, *, pairs: int, rounds: int) -> None:
    per_clip = {number: _pair_data(dataset, folder, number) for number in (1, 4)}
    data = per_clip[1]
    pictures = as_folders(data, folder / "png")
    films = sum(len(data.train.members(clip, ("mp4",)).members["mp4"]) for clip in data.train.clips)
    sides = {
        f"ours, {number} of a clip at a time": lambda module=module: ours(module, pairs)
        for number, module in per_clip.items()
    }
    theirs = {
        "whole films": lambda: whole_films(data, pairs),
        "folders of PNGs": lambda: folders(data, folder / "png", pairs),
    }
    found = measurement.alternate({**theirs, **sides}, rounds=rounds)
    against = [measurement.speed_rows(found, amount=pairs, against=name) for name in theirs]
    frames = statistics.mean(clip.frames for clip in data.train.clips)
    measurement.show(
        f"Loading pairs at {data.size} px from {len(data.train)} clips of {frames:.0f} frames on average, in one process; "
        f"the PNGs take {pictures / films:.1f} times the bytes of the films",
        ["", "pairs/s", *(f"× {name}" for name in theirs)],
        [[*film, png[-1]] for film, png in zip(*against, strict=True)],
    )


def _pair_data(dataset: str, folder: Path, pairs_per_clip: int) -> PairDataModule:
    data = make_data(command_for(dataset, folder, f"dataset.pairs_per_clip={pairs_per_clip}"))
    assert isinstance(data, PairDataModule)
    return data


# ----------------------------------------------------------------------------------------- the step
class Bare(Callback):
    """After each of Lightning's steps, one of a bare loop with its own networks and batches: what
    slows the machine, slows both.
    """

    def __init__(self, stage: ImageGeneratorModule, data: ClipDataModule) -> None:
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
        terms, _ = self.stage.attempt(self.data.on_after_batch_transfer(batch, 0), self.stage.step_generator(number))
        self.optimiser.zero_grad()
        loss: Any = losses.total(terms, self.stage.weights)
        loss.backward()
        self.optimiser.step()


def step(dataset: str, folder: Path, *, steps: int) -> None:
    command = command_for(dataset, folder, f"trainer.max_steps={WARM_STEPS + steps}")
    pl.seed_everything(command.trainer.seed, verbose=False)
    ours, theirs = make_stage(command), make_stage(command)
    assert isinstance(theirs, ImageGeneratorModule)
    data, bare = make_data(command), Bare(theirs, make_data(command))
    trainer: Any = make_trainer(command, folder, ours, data, LIGHTNING)
    trainer.callbacks.append(bare)  # after Lightning's and the project's own
    trainer.fit(ours, datamodule=data)
    seconds = {"bare loop": bare.bare[WARM_STEPS:], "Lightning": bare.lightning[WARM_STEPS:]}
    rows = [
        [name, f"{1000 * statistics.median(each):.0f}", measurement.ratio(each, seconds["bare loop"])]
        for name, each in seconds.items()
    ]
    title = (
        f"A step of image_generator at scale=smoke, batch {command.dataset.batch_size}, {steps} steps of each in turns"
    )
    measurement.show(title, ["", "ms", "time / bare loop's"], rows)


# --------------------------------------------------------------------------------------- with a GPU
class Clock(Callback):
    """How long each step takes, and how much of it is waiting for data."""

    def __init__(self) -> None:
        self.steps: list[float] = []  # s, from one step's end to the next one's
        self.waits: list[float] = []  # s, of those
        self.since = time.perf_counter()

    def on_train_batch_start(self, *_: Any) -> None:
        self.waits.append(time.perf_counter() - self.since)

    def on_train_batch_end(self, *_: Any) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        now = time.perf_counter()
        self.steps.append(now - self.since)
        self.since = now


def clocked(dataset: str, folder: Path, steps: int, *options: str) -> tuple[Clock, int]:
    """Train for some steps with our loader; gives the times, and the multiplications and additions
    of one step.
    """
    command = command_for(dataset, folder, f"trainer.max_steps={WARM_STEPS + steps}", *options)
    pl.seed_everything(command.trainer.seed, verbose=False)
    stage, data, clock = make_stage(command), make_data(command), Clock()
    assert isinstance(stage, ImageGeneratorModule)
    with FlopCounterMode(display=False) as flops:
        batch = data.on_after_batch_transfer(next(iter(data.train_dataloader())), 0)
        losses.total(stage.attempt(batch, stage.step_generator(0))[0], stage.weights).backward()
    trainer: Any = make_trainer(command, folder, stage, data, LIGHTNING)
    trainer.callbacks.append(clock)
    trainer.fit(stage, datamodule=data)
    return clock, flops.get_total_flops()


def on_gpu(dataset: str, folder: Path, words: Namespace) -> None:
    """Our step (bf16, channels last, compiled) against a plain one (fp32, eager) of the same
    networks, both with our loader.
    """
    if not torch.cuda.is_available():
        print(
            "No GPU: our step against a plain fp32 one, the share of waiting for data and the use of the GPU are not measured."
        )
        return
    fixed = [
        f"scale={words.gpu_scale}",
        "recipe=null",
        f"dataset.batch_size={words.gpu_batch}",
        f"dataset.workers={words.gpu_workers}",
    ]
    fixed += ["stage.perceptual=0", "stage.pixel=10"]
    sides = {
        "plain: fp32, eager": ["trainer.accelerator=gpu"],
        "ours: bf16, compiled": ["trainer=gpu", "trainer.compile=true"],
    }
    found = {name: clocked(dataset, folder, words.steps, *fixed, *options) for name, options in sides.items()}
    slow = found["plain: fp32, eager"][0].steps[WARM_STEPS:]
    rows = []
    for name, (clock, flops) in found.items():
        steps, waits = clock.steps[WARM_STEPS:], clock.waits[WARM_STEPS:]
        used = flops / statistics.median(steps) / (words.peak_tflops * TERA)
        milliseconds = f"{1000 * statistics.median(steps):.0f}"
        rows.append(
            [name, milliseconds, measurement.ratio(slow, steps), f"{sum(waits) / sum(steps):.0%}", f"{used:.1%}"]
        )
    title = f"A step at scale={words.gpu_scale}, batch {words.gpu_batch}, {words.gpu_workers} loader processes"
    measurement.show(title, ["", "ms", "× plain", "waits for data", f"of {words.peak_tflops:g} TFLOPS"], rows)


def main(words: Namespace) -> None:
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    with measurement.workplace() as folder:
        dataset = a_dataset(words, folder)
        loader(dataset, folder, pairs=words.pairs, rounds=words.rounds)
        step(dataset, folder, steps=words.steps)
        on_gpu(dataset, folder, words)


if __name__ == "__main__":
    parser = measurement.arguments(__doc__, rounds=3, talkers=3, seconds=8.0)
    parser.add_argument("--dataset", default="", help="a prepared dataset; empty prepares talkers")
    parser.add_argument("--pairs", type=int, default=32, help="pairs loaded by each side in a round; a multiple of 8")
    parser.add_argument("--steps", type=int, default=20, help="training steps of each side")
    parser.add_argument("--gpu-scale", default="paper", help="of the networks whose step is measured on a GPU")
    parser.add_argument("--gpu-batch", type=int, default=32)
    parser.add_argument("--gpu-workers", type=int, default=8)
    parser.add_argument(
        "--peak-tflops", type=float, default=989.0, help="of the GPU in bf16, dense; the default is an H200's"
    )
    main(parser.parse_args())
