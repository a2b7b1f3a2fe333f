"""Speed of making a head talk: frames in batches, the portrait encoded once, drawn by a copy of the
generator that does the same by less work, in 32 bits and in bf16, against the release's way with
the generator as it is written; where the time goes, and how far the drawing is from what the
processor's arithmetic allows. With --onnx, ONNX Runtime beside them; with --hour, only the memory
of an hour of speech against that of ten seconds.

Networks with random weights: speed does not ask what was learned.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import measurement
import numpy as np
import torch
from jaxtyping import Float32, Int16, UInt8
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from a2h_models.features.keypoints import Keypoints
from a2h_models.features.speech import speech_features, stream_features
from a2h_models.inference.animator import Animator
from a2h_models.inference.onnx.package import read_graphs, write_graphs
from a2h_models.networks import STAGES, HeadPose, ImageGenerator, MotionField, NetworksConfig, build
from a2h_models.networks.dense_motion import DenseMotionConfig
from a2h_models.networks.generator import GeneratorConfig
from a2h_models.networks.head_pose import HeadPoseConfig
from a2h_models.networks.keypoint_detector import KeypointDetectorConfig
from a2h_models.networks.motion_field import MotionFieldConfig, MotionFieldOutput
from a2h_models.timebase import SAMPLE_RATE, SAMPLES_PER_FRAME
from pipelines import media
from pipelines.config.compose import compose
from pipelines.core.threads import prefetch
from pipelines.face.face_mesh import crop_portrait
from pipelines.prepare.sources.discover import find_videos

WHITE = 255
BATCH = 4  # frames, as generate.batch_size
LIMIT_FRAMES = 12  # that are drawn beside the product of matrices
HOUR_S, SHORT_S = 3600, 10
HOUR = "--hour-of"  # of a process that measures its own memory
MIB_IN_KIB = 1024  # ru_maxrss counts KiB
MATRIX = 2048  # rows and columns of the product that stands for the processor's arithmetic


def untrained(scale: str) -> Animator:
    command = compose("train", ["stage=image_generator", f"scale={scale}", "dataset.path=none"])
    networks: NetworksConfig = command.networks
    torch.manual_seed(0)
    modules: dict[str, Any] = {stage: build(stage, networks) for stage in STAGES}
    return Animator(**modules, config=networks)


def exported(animator: Animator, folder: Path) -> Animator:
    (folder / "onnx").mkdir()
    write_graphs(animator, folder / "onnx", model="untrained")
    return read_graphs(folder / "onnx")


class Bench:
    """One portrait, one speech, one model in 32 bits and, with the same weights, in bf16."""

    def __init__(self, animator: Animator, video: Path, folder: Path, *, frames: int, onnx: bool) -> None:
        self.animator, self.folder = animator, folder
        self.fast = Animator(
            animator.image_generator, animator.motion_field, animator.head_pose, animator.config, precision="bf16"
        )
        self.ported = exported(animator, folder) if onnx else None
        self.wave: Int16[np.ndarray, " n"] = media.read_speech(video)[: frames * SAMPLES_PER_FRAME]
        first = next(iter(media.read_clip(video)))[0]
        self.portrait: UInt8[np.ndarray, "256 256 3"] = crop_portrait(first)
        self.speech: Float32[np.ndarray, "t 4 41"] = speech_features(self.wave)
        self.encoded = animator.encode(self.portrait)
        self.pose = animator.predict_pose(self.portrait, self.speech)
        self.driving = self.keypoints()
        self.frames = self.batched()

    # ------------------------------------------------------------------------------------ the steps
    def keypoints(self) -> Keypoints:
        pieces = list(self.animator.predict_keypoints(self.portrait, self.speech, self.pose))
        return Keypoints(*(torch.cat(part) for part in zip(*pieces, strict=True)))

    def batched(self, some: slice = slice(None), *, fast: bool = False) -> list[UInt8[np.ndarray, "n h w 3"]]:
        animator = self.fast if fast else self.animator
        encoded = animator.encode(self.portrait)
        driving = self.driving.each(lambda x: x[some])
        spans = [slice(start, start + BATCH) for start in range(0, len(driving.value), BATCH)]
        return [animator.render(encoded, Keypoints(*(x[span] for x in driving))) for span in spans]

    def write(self) -> None:
        media.write_video(self.folder / "out.mp4", iter(self.frames), self.wave)

    # --------------------------------------------------------------------------------- the two ways
    def ours(self, animator: Animator) -> None:
        for _ in animator.batches(self.portrait, self.speech, batch_size=BATCH):
            pass

    def releases(self) -> None:
        """The same poses and keypoints; then each frame alone, the portrait encoded anew for it.

        Without gradients, which it kept.
        """
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
    """From speech features to frames; and the drawing alone, for predicting keypoints is the same
    in both ways.
    """
    ways = {"the release's way": bench.releases}
    for name, animator in (("fp32", bench.animator), ("bf16", bench.fast), ("ONNX Runtime", bench.ported)):
        if animator is not None:
            ways[f"ours, {name}"] = lambda animator=animator: bench.ours(animator)
    drawing = {
        "the release's way": lambda: list(bench.one_at_a_time(bench.driving)),
        "ours, fp32": bench.batched,
        "ours, bf16": lambda: bench.batched(fast=True),
    }
    frames = len(bench.speech)
    for title, sides in (("From speech features", ways), ("Drawing alone", drawing)):
        found = measurement.alternate(sides, rounds=rounds)
        rows = measurement.speed_rows(found, amount=frames, against="the release's way")
        measurement.show(
            f"{title}: {frames} frames, {torch.get_num_threads()} threads",
            ["", "frames/s", "× the release's way"],
            rows,
        )


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
        [
            name,
            f"{1000 * measurement.median_wall(times) / len(bench.speech):.2f}",
            f"{100 * measurement.median_wall(times) / whole:.0f} %",
        ]
        for name, times in found.items()
    ]
    measurement.show("Where the time goes", ["step", "ms a frame", "share"], rows)


@torch.inference_mode()
def arithmetic(draw: measurement.Work) -> float:
    """GFLOP of something."""
    with FlopCounterMode(display=False) as counter:
        draw()
    return counter.get_total_flops() / 1e9


def limit(bench: Bench, rounds: int) -> None:
    """The rate at which a large product of matrices is computed: drawing cannot be faster.

    It does less than the generator says.
    """
    one, generator = bench.driving.each(lambda x: x[:1]), bench.animator.image_generator.generator
    written, work = (
        arithmetic(lambda draw=draw: draw(bench.encoded, one)) for draw in (generator.render, bench.animator.render)
    )
    rows = []
    some = slice(LIMIT_FRAMES)
    ways = (
        ("fp32", torch.float32, lambda: bench.batched(some)),
        ("bf16", torch.bfloat16, lambda: bench.batched(some, fast=True)),
    )
    for name, kind, draw in ways:
        matrix = torch.randn(MATRIX, MATRIX).to(kind)
        found = measurement.alternate(
            {"product": lambda matrix=matrix: matrix @ matrix, "drawing": draw}, rounds=rounds
        )
        peak = 2 * MATRIX**3 / 1e9 / min(measurement.walls(found["product"]))
        drawn = work * LIMIT_FRAMES / min(measurement.walls(found["drawing"]))
        rows.append(
            [name, f"{written:.1f}", f"{work:.1f}", f"{peak:.0f}", f"{drawn:.0f}", f"{100 * drawn / peak:.0f} %"]
        )
    columns = ["", "GFLOP a frame, as written", "done", "GFLOP/s of a product", "GFLOP/s of drawing", "share"]
    measurement.show("Drawing and arithmetic", columns, rows)


def main(words: Namespace) -> None:
    with measurement.workplace() as folder:
        videos = measurement.videos_or_talkers(words.videos, folder, count=words.talkers, seconds=words.seconds)
        source, files = find_videos(videos)
        bench = Bench(untrained(words.scale), source.local_path(files[0]), folder, frames=words.frames, onnx=words.onnx)
        two_ways(bench, words.rounds)
        shares(bench, 1)
        limit(bench, words.rounds)


# ------------------------------------------------------------------------------------------ an hour
class Nodding(nn.Module):
    """Stands in for the motion field, whose one window costs the same memory whatever the length,
    and an hour of them half an hour.
    """

    def forward(self, speech: Tensor, *_: Tensor | None) -> MotionFieldOutput:
        loud = speech.mean(dim=(2, 3)).tanh()[..., None, None]
        value = loud.expand(*loud.shape[:2], 2, 2)
        jacobian = torch.eye(2).expand(*value.shape, 2)
        return MotionFieldOutput(Keypoints(value, jacobian), value, value)


def hour_of(seconds: int) -> None:
    """The engine end to end, from a wave to an H.264 file; tells this process's most memory in MB,
    without the encoder's.
    """
    torch.set_num_threads(1)
    torch.manual_seed(0)
    narrow = {"width": 2, "max_width": 4, "depth": 1, "downscale": 1, "head_kernel": 3}
    config = NetworksConfig(
        image_size=32,
        keypoints=2,
        keypoint_detector=KeypointDetectorConfig(**narrow),
        generator=GeneratorConfig(
            width=2, max_width=4, depth=1, residual_blocks=1, dense_motion=DenseMotionConfig(**narrow)
        ),
        motion_field=MotionFieldConfig(width=1, max_width=1, depth=1, grid=32, head_kernel=3),
        head_pose=HeadPoseConfig(width=2, blocks=(1, 1, 1, 1), state=4, layers=1),
    )
    animator = Animator(
        ImageGenerator(config),
        MotionField(config.motion_field, keypoints=2, image_size=32),
        HeadPose(config.head_pose),
        config,
    )
    animator.motion_field = Nodding()
    rng = np.random.default_rng(0)
    wave = np.tile((rng.normal(0, 3000, SHORT_S * SAMPLE_RATE)).astype(np.int16), seconds // SHORT_S)
    with measurement.workplace() as folder:
        features = stream_features(wave, f0="dio")
        frames = animator.batches(
            np.zeros((256, 256, 3), np.uint8), features, idle_motion=1.0, keypoints="relative", batch_size=16
        )
        media.write_video(folder / "out.mp4", prefetch(frames), wave)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // MIB_IN_KIB)


def hour() -> None:
    rows = []
    for seconds in (SHORT_S, HOUR_S):
        command = [sys.executable, __file__, HOUR, str(seconds)]
        begun = time.perf_counter()
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1]
        rows.append([f"{seconds} s", said, f"{time.perf_counter() - begun:.0f}"])
    more = int(rows[1][1]) - int(rows[0][1])
    measurement.show("Memory over the length of the speech", ["", "MB", "s"], [*rows, ["more", f"{more:+d}", ""]])


if __name__ == "__main__":
    parser = measurement.arguments(__doc__, rounds=2, talkers=1, seconds=4.0)
    parser.add_argument(
        "--videos", default="", help="a folder whose first video gives portrait and speech; empty makes a talker"
    )
    parser.add_argument("--scale", default="paper", choices=("smoke", "small", "paper"), help="of the networks")
    parser.add_argument("--frames", type=int, default=48, help="of the speech, at most")
    parser.add_argument("--onnx", action="store_true", help="export the networks, and measure ONNX Runtime as well")
    parser.add_argument("--hour", action="store_true", help="measure memory instead of speed")
    parser.add_argument(HOUR, type=int, default=0, help=argparse.SUPPRESS)
    words = parser.parse_args()
    if words.hour_of:
        hour_of(words.hour_of)
    elif words.hour:
        hour()
    else:
        main(words)
