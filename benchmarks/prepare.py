"""Measure the speed of preparation: pitch trackers, steps, publishing, workers, and memory."""

from __future__ import annotations

import itertools
import os
import statistics
import subprocess
import sys
import time
from argparse import Namespace
from collections import defaultdict, deque
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

import measurement
import psutil

from a2h_models.features.speech import speech_features
from a2h_models.timebase import FPS
from pipelines import media
from pipelines.config import ClusterConfig, PrepareCommand, PrepareConfig
from pipelines.config.compose import compose
from pipelines.core.storage import Storage
from pipelines.dataset.shard_format import read_shard, read_sidecars, write_shard
from pipelines.execution import pool
from pipelines.face.face_mesh import detect_faces, hands_before, mesh, solve_pose
from pipelines.prepare.output.ledger import CLIP
from pipelines.prepare.pipeline import build_units, make_plan
from pipelines.prepare.planning.plan import Plan
from pipelines.prepare.sound import cut_wave
from pipelines.prepare.sources.discover import find_inputs
from pipelines.prepare.steps.crop import crop_frames
from pipelines.prepare.steps.find_clips import find_clips
from pipelines.prepare.steps.scan_video import change, colours_of, scan_video
from pipelines.prepare.steps.score import HANDS_EVERY
from pipelines.prepare.steps.state import PrepareContext

PITCH = ("harvest", "dio")
LARGE = ("decode", "detect", "mesh", "encode")  # the largest parts beside the pitch
SAMPLE_S = 0.1  # seconds between two measurements of memory


class Bench:
    """Prepares the same videos repeatedly, each time into a new folder; planning is not measured."""

    def __init__(self, videos: str, folder: Path, limit: int) -> None:
        self.folder, self.limit = folder, limit
        self.videos = videos
        self.numbers = itertools.count()
        self.inputs = find_inputs(self.command(PITCH[0]))
        self.plans = {f0: make_plan(self.inputs, self.command(f0)) for f0 in PITCH}

    def command(self, f0: str, workers: int = 0) -> PrepareCommand:
        overrides = [
            f"videos={self.videos}",
            f"out={self.folder / 'unused'}",
            f"prepare.features.f0={f0}",
            f"cluster.workers={workers}",
        ]
        command: PrepareCommand = compose("prepare", [*overrides, f"paths.cache={self.folder / 'cache'}"])
        command.limit = self.limit
        return command

    def build(self, f0: str, workers: int = 0) -> Storage:
        out = Storage(self.folder / f"dataset-{next(self.numbers)}")
        command = self.command(f0, workers)
        context = PrepareContext(config=command.prepare, source=self.inputs.source, out=out)
        build_units(self.plans[f0], context, command.cluster)
        return out

    @property
    def video_s(self) -> float:
        """Seconds of video that the plan accepts."""
        planned: Plan = self.plans[PITCH[0]]
        return float(sum(video.frames for unit in planned.units for video in unit.videos) / FPS)


def pitch(bench: Bench, rounds: int) -> dict[str, list[measurement.Elapsed]]:
    """Compare pitch trackers in a plain loop in this process, with ffmpeg on the same core."""
    with measurement.cores(1):
        bench.build("dio")  # warms up imports, model files and the disk cache
        found = measurement.alternate({f0: partial(bench.build, f0) for f0 in PITCH}, rounds=rounds)
    rows = [
        [
            f"f0={f0}",
            f"{bench.video_s / measurement.median_cpu(times):.2f}",
            f"{bench.video_s / measurement.median_wall(times):.2f}",
            measurement.ratio(measurement.walls(times), measurement.walls(found["dio"])),
        ]
        for f0, times in found.items()
    ]
    measurement.show(
        f"Building shards of {bench.video_s:.0f} s of video, in one process, on one core",
        ["", "× real time, processor", "× real time, wall", "time / dio's"],
        rows,
    )
    return found


def parts(bench: Bench) -> None:
    """Compare the processor time of each part alone with that of the whole build.

    The build is measured before and after. The target counts the five largest parts; the others are
    listed below them.
    """
    built = bench.build("dio")
    rows = [row for sidecar in read_sidecars(built) for row in sidecar.ledger if row["kind"] == CLIP]
    kept = {row["key"] for row in rows if row["status"] == "accepted"}
    config, spent = bench.command("dio").prepare, defaultdict[str, float](float)
    with measurement.cores(1):
        wholes = {f0: [measurement.timed(partial(bench.build, f0)).cpu] for f0 in PITCH}
        for video in (video for unit in bench.plans["dio"].units for video in unit.videos):
            with bench.inputs.source.local_copy(video.file) as path:
                for name, seconds in parts_of(path, video.sha256, kept, config).items():
                    spent[name] += seconds
        for f0, times in wholes.items():
            times.append(measurement.timed(partial(bench.build, f0)).cpu)
    for f0, times in wholes.items():
        whole, pitch_s = statistics.fmean(times), spent[f0]
        large = [(name, spent[name]) for name in LARGE] + [(f"pitch: {f0}", pitch_s)]
        small = [(name, seconds) for name, seconds in spent.items() if name not in {*LARGE, *PITCH}]
        five = sum(seconds for _, seconds in large)
        shares = [*large, ("these five", five), *small, ("all", five + sum(seconds for _, seconds in small))]
        table = [[name, f"{seconds:.2f}", f"{100 * seconds / whole:.0f} %"] for name, seconds in shares]
        measurement.show(f"Parts alone (f0={f0})", ["", "processor s", "of the whole"], table)


def parts_of(path: Path, sha256: str, kept: set[str], config: PrepareConfig) -> dict[str, float]:
    """Return the processor seconds of the parts of one video."""

    def cpu(work: measurement.Work) -> float:
        return measurement.timed(work).cpu

    spent = defaultdict[str, float](float)
    height, every = config.clips.scan_height, config.clips.detect_every
    with ExitStack() as stack:
        opened = stack.enter_context(media.open_video(path))
        spent["open: probe, sound"] = cpu(lambda: (stack.enter_context(media.open_video(path)), opened.speech()))
        spent["decode"] = cpu(lambda: deque(opened.stream(max_height=height, rough=True), maxlen=0))
        small_frames = list(opened.stream(max_height=height, rough=True))
        spent["detect"] = cpu(lambda: [detect_faces(frame) for frame in small_frames[::every]])
        spent["colours, for cuts"] = cpu(
            lambda: [change(*pair) for pair in itertools.pairwise(map(colours_of, small_frames))]
        )
        del small_frames
        wave = opened.speech()
        for clip in find_clips(scan_video(opened, config.clips), sha256, config.clips):
            if len(clip.span) < config.clips.min_frames:
                continue
            spent["decode"] += cpu(partial(crop_frames, opened, clip))
            frames = crop_frames(opened, clip)
            spent["mesh"] += cpu(partial(mesh, frames))
            landmarks = mesh(frames).landmarks
            spent["pose"] += cpu(partial(solve_pose, landmarks))
            spent["hands"] += cpu(partial(hands_before, frames[::HANDS_EVERY], landmarks[::HANDS_EVERY]))
            if clip.key in kept:
                for f0 in PITCH:
                    spent[f0] += cpu(partial(speech_features, cut_wave(wave, clip.span), frames=len(frames), f0=f0))
                spent["encode"] += cpu(partial(media.encode_crop, frames))
    return spent


def memory(bench: Bench, minutes: float) -> None:
    """Measure the peak memory of a worker and its ffmpeg for a long video (the first one, looped)."""
    first = bench.plans["dio"].units[0].videos[0].file
    looped = bench.folder / "long" / f"long{Path(first).suffix}"
    looped.parent.mkdir()
    with bench.inputs.source.local_copy(first) as path:
        times = int(minutes * 60 / media.probe(path).duration_s)
        command = [
            media.ffmpeg_path(),
            "-v",
            "error",
            "-stream_loop",
            str(times),
            "-i",
            str(path),
            "-c",
            "copy",
            str(looped),
        ]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    words = [
        f"videos={looped}",
        f"out={bench.folder / 'long' / 'dataset'}",
        "cluster.workers=0",
        "prepare.features.f0=dio",
    ]
    worker = psutil.Popen(
        [sys.executable, "-m", "pipelines.cli.main", "prepare", *words, f"paths.cache={bench.folder / 'cache'}"]
    )
    peak = 0
    while worker.poll() is None:
        with suppress(psutil.NoSuchProcess):
            peak = max(peak, resident(worker))
        time.sleep(SAMPLE_S)
    measurement.show("Memory of one worker", ["minutes of video", "peak MB"], [[f"{minutes:g}", f"{peak / 2**20:.0f}"]])


def resident(worker: psutil.Process) -> int:
    """Return the resident bytes of a process and its children.

    A child that has not started its own program yet shares the memory of its parent.
    """
    total = int(worker.memory_info().rss)
    for child in worker.children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            total += child.memory_info().rss if child.exe() != worker.exe() else 0
    return total


def publishing(bench: Bench, built_s: float) -> None:
    """Measure publishing alone: tars, hashes, flushes, renames and sidecars."""
    built = bench.build("dio")
    shards = [(sidecar, list(read_shard(built, sidecar))) for sidecar in read_sidecars(built)]
    target = Storage(bench.folder / "published")

    def publish() -> None:
        for sidecar, samples in shards:
            write_shard(
                target,
                sidecar.shard.removesuffix(".tar"),
                samples,
                split=sidecar.split,
                unit=sidecar.unit,
                plan=sidecar.plan,
                ledger=sidecar.ledger,
                frames=sidecar.frames,
                identities=sidecar.identities,
            )

    with measurement.cores(1):
        share = measurement.timed(publish).wall / built_s
    samples = sum(len(kept) for _, kept in shards)
    row = [str(len(shards)), str(samples), f"{100 * share:.2f} %"]
    measurement.show("Publishing", ["shards", "samples", "share of the build (dio)"], [row])


def workers(bench: Bench, rounds: int) -> None:
    """Compare one worker on one core with two workers on two cores, on a warm Ray cluster.

    A single worker on two cores would use the second one for decoding.
    """
    found: dict[str, list[measurement.Elapsed]] = {"1": [], "2": []}
    for _ in range(rounds):
        for name, times in found.items():
            count = int(name)
            with measurement.cores(count), pool.session(ClusterConfig(workers=count), cache=None):
                bench.build("dio", workers=count)
                times.append(measurement.timed(partial(bench.build, "dio", count)))
    rows = measurement.speed_rows(found, amount=bench.video_s, against="1")
    measurement.show(
        "Ray workers, each with a core (dio)", ["workers", "× real time, wall", "speed / one worker's"], rows
    )


def main(arguments: Namespace) -> None:
    with measurement.temporary_folder() as folder:
        videos = measurement.videos_or_speakers(
            arguments.videos, folder, count=arguments.speakers, seconds=arguments.seconds
        )
        bench = Bench(videos, folder, arguments.limit)
        found = pitch(bench, arguments.rounds)
        parts(bench)
        publishing(bench, measurement.median_wall(found["dio"]))
        if arguments.minutes:
            memory(bench, arguments.minutes)
        if not arguments.no_ray:
            workers(bench, arguments.rounds)


if __name__ == "__main__":
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    parser = measurement.arguments(__doc__, rounds=2, speakers=4, seconds=4.0)
    parser.add_argument("--videos", default="", help="a folder of talking videos; empty renders synthetic speakers")
    parser.add_argument("--limit", type=int, default=0, help="use only the first LIMIT videos; 0 uses all")
    parser.add_argument(
        "--minutes", type=float, default=0, help="length of the video for which memory is measured; 0 leaves it out"
    )
    parser.add_argument("--no-ray", action="store_true", help="leave out the comparison of workers")
    main(parser.parse_args())
