"""Speed of making a head talk: frames in batches with the portrait encoded once, in 32 bits and in bf16, against the release's way; where
the time goes, and how far the drawing is from what the processor's arithmetic allows.

Networks of scale=smoke with random weights: speed does not ask what was learned.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import measurement
import numpy as np
import torch
from jaxtyping import Float32, Int16, UInt8
from torch.utils.flop_counter import FlopCounterMode

from a2h_models.animator import Animator
from a2h_models.keypoints import Keypoints
from a2h_models.networks import STAGES, NetworksConfig, build
from a2h_models.speech import speech_features
from a2h_models.timebase import SAMPLES_PER_FRAME
from pipelines import media
from pipelines.compose import compose
from pipelines.prepare.faces import crop_portrait
from pipelines.prepare.inputs import find_videos

WHITE = 255
BATCH = 8
MATRIX = 2048  # rows and columns of the product that stands for the processor's arithmetic


def untrained(scale: str) -> Animator:
    command = compose("train", ["stage=image_generator", f"scale={scale}", "dataset.path=none"])
    networks: NetworksConfig = command.networks
    torch.manual_seed(0)
    modules: dict[str, Any] = {stage: build(stage, networks) for stage in STAGES}
    return Animator(**modules, config=networks)


class Bench:
    """One portrait, one speech, one model in 32 bits and, with the same weights, in bf16."""

    def __init__(self, animator: Animator, video: Path, folder: Path, *, frames: int) -> None:
        self.animator, self.folder = animator, folder
        self.fast = Animator(animator.image_generator, animator.motion_field, animator.head_pose, animator.config, precision="bf16")
        self.wave: Int16[np.ndarray, " n"] = media.read_speech(video)[: frames * SAMPLES_PER_FRAME]
        first = next(iter(media.read_clip(video)))[0]
        self.portrait: UInt8[np.ndarray, "256 256 3"] = crop_portrait(first)
        self.speech: Float32[np.ndarray, "t 4 41"] = speech_features(self.wave)
        self.encoded = animator.encode(self.portrait)
        self.pose = animator.predict_pose(self.portrait, self.speech)
        self.driving = self.keypoints()
        self.frames = self.batched()

    # ------------------------------------------------------------------------------------------------------------ the steps
    def keypoints(self) -> Keypoints:
        pieces = list(self.animator.predict_keypoints(self.portrait, self.speech, self.pose))
        return Keypoints(*(torch.cat(part) for part in zip(*pieces, strict=True)))

    def batched(self, *, fast: bool = False) -> list[UInt8[np.ndarray, "n h w 3"]]:
        animator = self.fast if fast else self.animator
        encoded = animator.encode(self.portrait)
        spans = [slice(start, start + BATCH) for start in range(0, len(self.speech), BATCH)]
        return [animator.render(encoded, Keypoints(*(x[span] for x in self.driving))) for span in spans]

    def write(self) -> None:
        media.write_video(self.folder / "out.mp4", iter(self.frames), self.wave)

    # ------------------------------------------------------------------------------------------------------------ the two ways
    def ours(self, *, fast: bool = False) -> None:
        for _ in (self.fast if fast else self.animator).batches(self.portrait, self.speech, batch_size=BATCH):
            pass

    def releases(self) -> None:
        """The same poses and keypoints; then each frame alone, the portrait encoded anew for it. Without gradients, which it kept."""
        self.animator.predict_pose(self.portrait, self.speech)
        driving = self.keypoints()
        for _ in self.one_at_a_time(driving):
            pass

    @torch.inference_mode()
    def one_at_a_time(self, driving: Keypoints) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
        network, source = self.animator.image_generator, self.encoded
        for number in range(len(driving.value)):
            one = Keypoints(*(x[number : number + 1] for x in driving))
            frame = network.generator(source.image, source.keypoints, one).prediction[0]
            yield (frame * WHITE).to(torch.uint8).permute(1, 2, 0).numpy()


def two_ways(bench: Bench, rounds: int) -> None:
    """From speech features to frames; and the drawing alone, for predicting keypoints is the same in both ways."""
    ways = {"the release's way": bench.releases, "ours, fp32": bench.ours, "ours, bf16": lambda: bench.ours(fast=True)}
    drawing = {
        "the release's way": lambda: list(bench.one_at_a_time(bench.driving)),
        "ours, fp32": bench.batched,
        "ours, bf16": lambda: bench.batched(fast=True),
    }
    frames = len(bench.speech)
    for title, sides in (("From speech features", ways), ("Drawing alone", drawing)):
        found = measurement.alternate(sides, rounds=rounds)
        rows = measurement.speed_rows(found, amount=frames, against="the release's way")
        measurement.show(f"{title}: {frames} frames, {torch.get_num_threads()} threads", ["", "frames/s", "× the release's way"], rows)


def shares(bench: Bench, rounds: int) -> None:
    """Each step alone; in `a2h generate` the encoder runs beside the networks."""
    steps = {
        "features": lambda: speech_features(bench.wave),
        "pose": lambda: bench.animator.predict_pose(bench.portrait, bench.speech),
        "keypoints": bench.keypoints,
        "portrait": lambda: bench.animator.encode(bench.portrait),
        "render": bench.batched,
        "render in bf16": lambda: bench.batched(fast=True),
        "encode": bench.write,
    }
    found: dict[str, list[measurement.Elapsed]] = measurement.alternate(steps, rounds=rounds)
    whole = sum(measurement.median_wall(times) for times in found.values())
    rows = [
        [name, f"{1000 * measurement.median_wall(times) / len(bench.speech):.2f}", f"{100 * measurement.median_wall(times) / whole:.0f} %"]
        for name, times in found.items()
    ]
    measurement.show("Where the time goes", ["step", "ms a frame", "share"], rows)


def limit(bench: Bench, rounds: int) -> None:
    """Arithmetic of one frame, and the rate at which a large product of matrices does such: drawing cannot be faster."""
    one = bench.driving.each(lambda x: x[:1])
    with FlopCounterMode(display=False) as counter:
        bench.animator.render(bench.encoded, one)
    work = counter.get_total_flops() / 1e9
    rows = []
    for name, kind, draw in (("fp32", torch.float32, bench.batched), ("bf16", torch.bfloat16, lambda: bench.batched(fast=True))):
        matrix = torch.randn(MATRIX, MATRIX).to(kind)
        found = measurement.alternate({"product": lambda matrix=matrix: matrix @ matrix, "drawing": draw}, rounds=rounds + 1)
        peak = 2 * MATRIX**3 / 1e9 / min(measurement.walls(found["product"]))
        drawn = work * len(bench.speech) / min(measurement.walls(found["drawing"]))
        rows.append([name, f"{work:.1f}", f"{peak:.0f}", f"{drawn:.0f}", f"{100 * drawn / peak:.0f} %"])
    measurement.show("Drawing and arithmetic", ["", "GFLOP a frame", "GFLOP/s of a product", "GFLOP/s of drawing", "share"], rows)


def main(words: Namespace) -> None:
    with measurement.workplace() as folder:
        videos = measurement.videos_or_talkers(words.videos, folder, count=words.talkers, seconds=words.seconds)
        source, files = find_videos(videos)
        bench = Bench(untrained(words.scale), source.local_path(files[0]), folder, frames=words.frames)
        two_ways(bench, words.rounds)
        shares(bench, words.rounds)
        limit(bench, words.rounds)


if __name__ == "__main__":
    parser = measurement.arguments(__doc__, rounds=3, talkers=1, seconds=4.0)
    parser.add_argument("--videos", default="", help="a folder whose first video gives portrait and speech; empty makes a talker")
    parser.add_argument("--scale", default="smoke", choices=("smoke", "small", "paper"), help="of the networks")
    parser.add_argument("--frames", type=int, default=100, help="of the speech, at most")
    main(parser.parse_args())
