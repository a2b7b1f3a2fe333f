"""Measure the speed of training.

Our data loader is compared with the two ways of FOMM (whole videos, folders of PNGs), a Lightning
step with a bare loop, and on a GPU our step (bf16, compiled) with a plain one.
"""

from __future__ import annotations

import logging
import statistics
import time
from argparse import Namespace
from functools import partial
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
from pipelines.dataset.index import Index
from pipelines.prepare.pipeline import prepare
from pipelines.training.build import make_stage
from pipelines.training.fit import make_data
from pipelines.training.trainer import LIGHTNING, make_trainer

TERA = 1e12
WARM_STEPS = 3  # not counted: memory is allocated, kernels are selected


def find_or_prepare_dataset(arguments: Namespace, folder: Path) -> str:
    """Return the given dataset, or prepare one of synthetic speakers."""
    if arguments.dataset:
        return str(arguments.dataset)
    videos = measurement.videos_or_speakers("", folder, count=arguments.speakers, seconds=arguments.seconds)
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
def load_ours(data: PairDataModule, pairs: int) -> None:
    """Load pairs our way: seek by the sidecar's offsets, read one member, decode needed frames."""
    for _ in islice(data.train_dataloader(), pairs // data.config.batch_size):
        pass


def load_whole_videos(data: PairDataModule, pairs: int) -> None:
    """Load pairs as FOMM does from videos: decode the whole clip for each pair, keep two frames."""
    rng = np.random.default_rng(0)
    for position in range(pairs):
        clip = train_index(data).clips[data.order.clip(position)]
        frames = media.decode_crop(train_index(data).members(clip, ("mp4",)).members["mp4"], size=data.size)
        _ = frames[rng.choice(len(frames), 2, replace=False)]


def load_from_folders(data: PairDataModule, home: Path, pairs: int) -> None:
    """Load pairs as FOMM does from folders of PNGs: list the folder, read two files.

    The PNGs have the right size already.
    """
    rng = np.random.default_rng(0)
    for position in range(pairs):
        names = sorted((home / train_index(data).clips[data.order.clip(position)].key).iterdir())
        for name in rng.choice(len(names), 2, replace=False):
            with Image.open(names[name]) as picture:
                _ = np.asarray(picture)


def write_png_folders(data: PairDataModule, home: Path) -> int:
    """Write the clips as PNGs and return their size in bytes."""
    for clip in train_index(data).clips:
        frames = media.decode_crop(train_index(data).members(clip, ("mp4",)).members["mp4"], size=data.size)
        (home / clip.key).mkdir(parents=True)
        for number, frame in enumerate(frames):
            Image.fromarray(frame).save(home / clip.key / f"{number:07d}.png")
    return sum(path.stat().st_size for path in home.rglob("*.png"))


def loader(dataset: str, folder: Path, *, pairs: int, rounds: int) -> None:
    per_clip = {number: _pair_data(dataset, folder, number) for number in (1, 4)}
    data = per_clip[1]
    png_bytes = write_png_folders(data, folder / "png")
    video_bytes = sum(len(train_index(data).members(clip, ("mp4",)).members["mp4"]) for clip in train_index(data).clips)
    sides = {
        f"ours, {number} of a clip at a time": partial(load_ours, module, pairs) for number, module in per_clip.items()
    }
    baselines = {
        "whole videos": lambda: load_whole_videos(data, pairs),
        "folders of PNGs": lambda: load_from_folders(data, folder / "png", pairs),
    }
    times = measurement.alternate({**baselines, **sides}, rounds=rounds)
    against = [measurement.speed_rows(times, amount=pairs, against=name) for name in baselines]
    frames = statistics.mean(clip.frames for clip in train_index(data).clips)
    measurement.show(
        f"Loading pairs at {data.size} px from {len(data.train)} clips of {frames:.0f} frames on average, in one process; "
        f"the PNGs take {png_bytes / video_bytes:.1f} times the bytes of the videos",
        ["", "pairs/s", *(f"× {name}" for name in baselines)],
        [[*video, png[-1]] for video, png in zip(*against, strict=True)],
    )


def train_index(data: PairDataModule) -> Index:
    """Return the index of the training shards, which are of our own format here."""
    assert isinstance(data.train, Index)
    return data.train


def _pair_data(dataset: str, folder: Path, pairs_per_clip: int) -> PairDataModule:
    data = make_data(command_for(dataset, folder, f"dataset.pairs_per_clip={pairs_per_clip}"))
    assert isinstance(data, PairDataModule)
    return data


# ----------------------------------------------------------------------------------------- the step
class BareLoop(Callback):
    """Runs a step of a bare loop, with its own networks and batches, after each Lightning step.

    Both are slowed by the same other load of the machine.
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
    ours, other = make_stage(command), make_stage(command)
    assert isinstance(other, ImageGeneratorModule)
    data, bare = make_data(command), BareLoop(other, make_data(command))
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
class StepTimer(Callback):
    """Measures how long each step takes, and how much of it is waiting for data."""

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


def timed_training(dataset: str, folder: Path, steps: int, *options: str) -> tuple[StepTimer, int]:
    """Train for some steps with our loader; return the times, and the FLOP of one step."""
    command = command_for(dataset, folder, f"trainer.max_steps={WARM_STEPS + steps}", *options)
    pl.seed_everything(command.trainer.seed, verbose=False)
    stage, data, timer = make_stage(command), make_data(command), StepTimer()
    assert isinstance(stage, ImageGeneratorModule)
    with FlopCounterMode(display=False) as flops:
        batch = data.on_after_batch_transfer(next(iter(data.train_dataloader())), 0)
        loss: Any = losses.total(stage.attempt(batch, stage.step_generator(0))[0], stage.weights)
        loss.backward()
    trainer: Any = make_trainer(command, folder, stage, data, LIGHTNING)
    trainer.callbacks.append(timer)
    trainer.fit(stage, datamodule=data)
    return timer, flops.get_total_flops()


def on_gpu(dataset: str, folder: Path, arguments: Namespace) -> None:
    """Compare our step (bf16, channels last, compiled) with a plain one (fp32, eager)."""
    if not torch.cuda.is_available():
        print(
            "No GPU: our step against a plain fp32 one, the share of waiting for data and the use of the GPU are not measured."
        )
        return
    fixed = [
        f"scale={arguments.gpu_scale}",
        "recipe=null",
        f"dataset.batch_size={arguments.gpu_batch}",
        f"dataset.workers={arguments.gpu_workers}",
    ]
    fixed += ["stage.perceptual=0", "stage.pixel=10"]
    sides = {
        "plain: fp32, eager": ["trainer.accelerator=gpu"],
        "ours: bf16, compiled": ["trainer=gpu", "trainer.compile=true"],
    }
    found = {
        name: timed_training(dataset, folder, arguments.steps, *fixed, *options) for name, options in sides.items()
    }
    slow = found["plain: fp32, eager"][0].steps[WARM_STEPS:]
    rows = []
    for name, (timer, flops) in found.items():
        steps, waits = timer.steps[WARM_STEPS:], timer.waits[WARM_STEPS:]
        used = flops / statistics.median(steps) / (arguments.peak_tflops * TERA)
        milliseconds = f"{1000 * statistics.median(steps):.0f}"
        rows.append(
            [name, milliseconds, measurement.ratio(slow, steps), f"{sum(waits) / sum(steps):.0%}", f"{used:.1%}"]
        )
    title = (
        f"A step at scale={arguments.gpu_scale}, batch {arguments.gpu_batch}, {arguments.gpu_workers} loader processes"
    )
    measurement.show(title, ["", "ms", "× plain", "waits for data", f"of {arguments.peak_tflops:g} TFLOPS"], rows)


def main(arguments: Namespace) -> None:
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    with measurement.temporary_folder() as folder:
        dataset = find_or_prepare_dataset(arguments, folder)
        loader(dataset, folder, pairs=arguments.pairs, rounds=arguments.rounds)
        step(dataset, folder, steps=arguments.steps)
        on_gpu(dataset, folder, arguments)


if __name__ == "__main__":
    parser = measurement.arguments(__doc__, rounds=3, speakers=3, seconds=8.0)
    parser.add_argument("--dataset", default="", help="a prepared dataset; empty prepares one of synthetic speakers")
    parser.add_argument("--pairs", type=int, default=32, help="pairs loaded by each side in a round; a multiple of 8")
    parser.add_argument("--steps", type=int, default=20, help="training steps of each side")
    parser.add_argument("--gpu-scale", default="paper", help="of the networks whose step is measured on a GPU")
    parser.add_argument("--gpu-batch", type=int, default=32)
    parser.add_argument("--gpu-workers", type=int, default=8)
    parser.add_argument(
        "--peak-tflops", type=float, default=989.0, help="of the GPU in bf16, dense; the default is an H200's"
    )
    main(parser.parse_args())
