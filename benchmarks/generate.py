"""Measure the speed of generation.

Our implementation (frames in batches, the portrait encoded once, a generator optimised for the CPU;
in fp32 and in bf16) is compared with the way of the published code (one frame at a time, the
portrait encoded for each). Also measured: the time of each step, and how close rendering is to the
arithmetic limit of the processor. With --onnx, ONNX Runtime is measured as well; with --hour, only
the memory of an hour of speech against that of ten seconds. The networks have random weights.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, cast

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
LIMIT_FRAMES = 12  # rendered beside the product of matrices
HOUR_S, SHORT_S = 3600, 10
HOUR = "--hour-of"  # starts a process that measures its own memory
MIB_IN_KIB = 1024  # ru_maxrss counts KiB
MATRIX = 2048  # rows and columns of the product that measures the processor's arithmetic


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
    """One portrait, one recording, and one model in fp32, bf16 and (optionally) ONNX Runtime."""

    def __init__(self, animator: Animator, video: Path, folder: Path, *, frames: int, onnx: bool) -> None:
        self.animator, self.folder = animator, folder
        self.bf16 = Animator(
            animator.image_generator, animator.motion_field, animator.head_pose, animator.config, precision="bf16"
        )
        self.onnx = exported(animator, folder) if onnx else None
        self.wave: Int16[np.ndarray, " n"] = media.read_speech(video)[: frames * SAMPLES_PER_FRAME]
        first = next(iter(media.read_clip(video)))[0]
        self.portrait: UInt8[np.ndarray, "256 256 3"] = crop_portrait(first)
        self.speech: Float32[np.ndarray, "t 4 41"] = speech_features(self.wave)
        self.encoded = animator.encode(self.portrait)
        self.pose = animator.predict_pose(self.portrait, self.speech)
        self.driving = self.keypoints()
        self.frames = self.render_batches()

    # ------------------------------------------------------------------------------------ the steps
    def keypoints(self) -> Keypoints:
        pieces = list(self.animator.predict_keypoints(self.portrait, self.speech, self.pose))
        return Keypoints(*(torch.cat(part) for part in zip(*pieces, strict=True)))

    def render_batches(self, frames: slice = slice(None), *, bf16: bool = False) -> list[UInt8[np.ndarray, "n h w 3"]]:
        animator = self.bf16 if bf16 else self.animator
        encoded = animator.encode(self.portrait)
        driving = self.driving.each(lambda x: x[frames])
        spans = [slice(start, start + BATCH) for start in range(0, len(driving.value), BATCH)]
        return [animator.render(encoded, Keypoints(*(x[span] for x in driving))) for span in spans]

    def write(self) -> None:
        media.write_video(self.folder / "out.mp4", iter(self.frames), self.wave)

    # --------------------------------------------------------------------------------- the two ways
    def run_ours(self, animator: Animator) -> None:
        for _ in animator.batches(self.portrait, self.speech, batch_size=BATCH):
            pass

    def run_published(self) -> None:
        """Predict poses and keypoints; then render each frame alone, encoding the portrait for each.

        Gradients are off here, which the published code kept.
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


def compare_implementations(bench: Bench, rounds: int) -> None:
    """Measure from speech features to frames, and rendering alone; keypoints take equal time."""
    implementations: dict[str, measurement.Work] = {"published way": bench.run_published}
    for name, animator in (("fp32", bench.animator), ("bf16", bench.bf16), ("ONNX Runtime", bench.onnx)):
        if animator is not None:
            implementations[f"ours, {name}"] = partial(bench.run_ours, animator)
    rendering = {
        "published way": lambda: list(bench.one_at_a_time(bench.driving)),
        "ours, fp32": bench.render_batches,
        "ours, bf16": lambda: bench.render_batches(bf16=True),
    }
    frames = len(bench.speech)
    for title, sides in (("From speech features", implementations), ("Rendering alone", rendering)):
        times = measurement.alternate(sides, rounds=rounds)
        rows = measurement.speed_rows(times, amount=frames, against="published way")
        measurement.show(
            f"{title}: {frames} frames, {torch.get_num_threads()} threads",
            ["", "frames/s", "× published way"],
            rows,
        )


def time_shares(bench: Bench, rounds: int) -> None:
    """Measure each step alone; in `a2h generate` the encoder runs beside the networks."""
    steps = {
        "features": lambda: speech_features(bench.wave),
        "pose": lambda: bench.animator.predict_pose(bench.portrait, bench.speech),
        "keypoints": bench.keypoints,
        "portrait": lambda: bench.animator.encode(bench.portrait),
        "render": bench.render_batches,
        "render in bf16": lambda: bench.render_batches(bf16=True),
        "encode": bench.write,
    }
    times_of_steps: dict[str, list[measurement.Elapsed]] = measurement.alternate(steps, rounds=rounds)
    total = sum(measurement.median_wall(times) for times in times_of_steps.values())
    rows = [
        [
            name,
            f"{1000 * measurement.median_wall(times) / len(bench.speech):.2f}",
            f"{100 * measurement.median_wall(times) / total:.0f} %",
        ]
        for name, times in times_of_steps.items()
    ]
    measurement.show("Time of each step", ["step", "ms a frame", "share"], rows)


@torch.inference_mode()
def count_gflop(work: measurement.Work) -> float:
    """Count the floating-point operations of a call, in GFLOP."""
    with FlopCounterMode(display=False) as counter:
        work()
    return float(counter.get_total_flops()) / 1e9


def arithmetic_limit(bench: Bench, rounds: int) -> None:
    """Compare rendering with a large product of matrices, the fastest arithmetic of the machine.

    The optimised generator also needs fewer operations than the generator as written.
    """
    one, generator = bench.driving.each(lambda x: x[:1]), bench.animator.image_generator.generator
    written, needed = (
        count_gflop(partial(render, bench.encoded, one)) for render in (generator.render, bench.animator.render)
    )
    rows = []
    first = slice(LIMIT_FRAMES)
    sides = (
        ("fp32", torch.float32, lambda: bench.render_batches(first)),
        ("bf16", torch.bfloat16, lambda: bench.render_batches(first, bf16=True)),
    )
    for name, dtype, render in sides:
        matrix = torch.randn(MATRIX, MATRIX).to(dtype)
        times = measurement.alternate(
            {"product": partial(torch.matmul, matrix, matrix), "rendering": render}, rounds=rounds
        )
        peak = 2 * MATRIX**3 / 1e9 / min(measurement.walls(times["product"]))
        achieved = needed * LIMIT_FRAMES / min(measurement.walls(times["rendering"]))
        rows.append(
            [
                name,
                f"{written:.1f}",
                f"{needed:.1f}",
                f"{peak:.0f}",
                f"{achieved:.0f}",
                f"{100 * achieved / peak:.0f} %",
            ]
        )
    columns = ["", "GFLOP a frame, as written", "needed", "GFLOP/s of a product", "GFLOP/s of rendering", "share"]
    measurement.show("Rendering and arithmetic", columns, rows)


def main(arguments: Namespace) -> None:
    with measurement.temporary_folder() as folder:
        videos = measurement.videos_or_speakers(
            arguments.videos, folder, count=arguments.speakers, seconds=arguments.seconds
        )
        source, files = find_videos(videos)
        bench = Bench(
            untrained(arguments.scale),
            source.local_path(files[0]),
            folder,
            frames=arguments.frames,
            onnx=arguments.onnx,
        )
        compare_implementations(bench, arguments.rounds)
        time_shares(bench, 1)
        arithmetic_limit(bench, arguments.rounds)


# ------------------------------------------------------------------------------------------ an hour
class ConstantMotionField(nn.Module):
    """A stand-in for the motion field.

    The memory of the real one does not depend on the length of the speech, but an hour of speech
    would take it half an hour.
    """

    def forward(self, speech: Tensor, *_: Tensor | None) -> MotionFieldOutput:
        loud = speech.mean(dim=(2, 3)).tanh()[..., None, None]
        value = loud.expand(*loud.shape[:2], 2, 2)
        jacobian = torch.eye(2).expand(*value.shape, 2)
        return MotionFieldOutput(Keypoints(value, jacobian), value, value)


def hour_of(seconds: int) -> None:
    """Generate an H.264 file from a wave; print the peak memory of this process in MB.

    The encoder is another process and is not counted.
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
    animator.motion_field = cast("MotionField", ConstantMotionField())
    rng = np.random.default_rng(0)
    wave = np.tile((rng.normal(0, 3000, SHORT_S * SAMPLE_RATE)).astype(np.int16), seconds // SHORT_S)
    with measurement.temporary_folder() as folder:
        features = stream_features(wave, f0="dio")
        frames = animator.batches(
            np.zeros((256, 256, 3), np.uint8), features, idle_motion=1.0, keypoints="relative", batch_size=16
        )
        media.write_video(folder / "out.mp4", prefetch(frames), wave)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // MIB_IN_KIB)


def compare_hour_with_seconds() -> None:
    rows = []
    for seconds in (SHORT_S, HOUR_S):
        command = [sys.executable, __file__, HOUR, str(seconds)]
        started = time.perf_counter()
        memory_mb = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1]
        rows.append([f"{seconds} s", memory_mb, f"{time.perf_counter() - started:.0f}"])
    more = int(rows[1][1]) - int(rows[0][1])
    measurement.show("Memory over the length of the speech", ["", "MB", "s"], [*rows, ["more", f"{more:+d}", ""]])


if __name__ == "__main__":
    parser = measurement.arguments(__doc__, rounds=2, speakers=1, seconds=4.0)
    parser.add_argument(
        "--videos",
        default="",
        help="a folder whose first video gives portrait and speech; empty renders a synthetic speaker",
    )
    parser.add_argument("--scale", default="paper", choices=("smoke", "small", "paper"), help="of the networks")
    parser.add_argument("--frames", type=int, default=48, help="of the speech, at most")
    parser.add_argument("--onnx", action="store_true", help="export the networks, and measure ONNX Runtime as well")
    parser.add_argument("--hour", action="store_true", help="measure memory instead of speed")
    parser.add_argument(HOUR, type=int, default=0, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.hour_of:
        hour_of(arguments.hour_of)
    elif arguments.hour:
        compare_hour_with_seconds()
    else:
        main(arguments)
