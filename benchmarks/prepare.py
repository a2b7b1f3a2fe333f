"""Speed of preparation: the two ways to find the pitch, one worker against two, and what publishing costs."""

from __future__ import annotations

import itertools
import os
from argparse import Namespace
from functools import partial
from pathlib import Path

import measurement

from a2h_models.timebase import FPS
from pipelines import cluster
from pipelines.compose import compose
from pipelines.config import ClusterConfig, PrepareCommand
from pipelines.dataset.shards import read_shard, read_sidecars, write_shard
from pipelines.prepare.flow import build_units, make_plan
from pipelines.prepare.inputs import find_inputs
from pipelines.prepare.plan import Plan
from pipelines.storage import Storage

PITCH = ("harvest", "dio")


class Bench:
    """The same videos, prepared again and again, each time into a new folder; planning is not measured."""

    def __init__(self, videos: str, folder: Path, limit: int) -> None:
        self.folder, self.limit = folder, limit
        self.videos = videos
        self.numbers = itertools.count()
        self.inputs = find_inputs(self.command(PITCH[0]))
        self.plans = {f0: make_plan(self.inputs, self.command(f0)) for f0 in PITCH}

    def command(self, f0: str, workers: int = 0) -> PrepareCommand:
        overrides = [f"videos={self.videos}", f"out={self.folder / 'unused'}", f"prepare.features.f0={f0}", f"cluster.workers={workers}"]
        command: PrepareCommand = compose("prepare", [*overrides, f"paths.cache={self.folder / 'cache'}"])
        command.limit = self.limit
        return command

    def build(self, f0: str, workers: int = 0) -> Storage:
        out = Storage(self.folder / f"dataset-{next(self.numbers)}")
        build_units(self.plans[f0], self.inputs.source, out, self.command(f0, workers))
        return out

    @property
    def video_s(self) -> float:
        """Seconds of video that reach the building."""
        planned: Plan = self.plans[PITCH[0]]
        return float(sum(video.frames for unit in planned.units for video in unit.videos) / FPS)


def pitch(bench: Bench, rounds: int) -> dict[str, list[measurement.Elapsed]]:
    """In a plain loop in this process."""
    bench.build("dio")  # imports, the model files, the disk's cache
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
        f"Building shards of {bench.video_s:.0f} s of video, in one process",
        ["", "× real time a core", "× real time, wall", "time / dio's"],
        rows,
    )
    return found


def publishing(bench: Bench, built_s: float) -> None:
    """Publish the same samples once more, and nothing else: tars, hashes, flushes, renames, sidecars."""
    built = bench.build("dio")
    shards = [(sidecar, list(read_shard(built, sidecar))) for sidecar in read_sidecars(built)]
    again = Storage(bench.folder / "again")

    def publish() -> None:
        for sidecar, samples in shards:
            write_shard(
                again,
                sidecar.shard.removesuffix(".tar"),
                samples,
                split=sidecar.split,
                unit=sidecar.unit,
                plan=sidecar.plan,
                ledger=sidecar.ledger,
                frames=sidecar.frames,
                identities=sidecar.identities,
            )

    share = measurement.timed(publish).wall / built_s
    samples = sum(len(kept) for _, kept in shards)
    row = [str(len(shards)), str(samples), f"{100 * share:.2f} %"]
    measurement.show("Publishing", ["shards", "samples", "share of the build (dio)"], [row])


def workers(bench: Bench, rounds: int) -> None:
    """On Ray, which is started and warm before the clock runs."""
    with cluster.session(ClusterConfig(workers=2), cache=None):
        bench.build("dio", workers=2)
        found = measurement.alternate({f"{n}": partial(bench.build, "dio", n) for n in (1, 2)}, rounds=rounds)
    rows = measurement.speed_rows(found, amount=bench.video_s, against="1")
    measurement.show("Ray workers (dio)", ["workers", "× real time, wall", "speed / one worker's"], rows)


def main(words: Namespace) -> None:
    with measurement.workplace() as folder:
        videos = measurement.videos_or_talkers(words.videos, folder, count=words.talkers, seconds=words.seconds)
        bench = Bench(videos, folder, words.limit)
        found = pitch(bench, words.rounds)
        publishing(bench, measurement.median_wall(found["dio"]))
        if not words.no_ray:
            workers(bench, words.rounds)


if __name__ == "__main__":
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    parser = measurement.arguments(__doc__, rounds=2, talkers=4, seconds=4.0)
    parser.add_argument("--videos", default="", help="a folder of talking videos; empty makes talkers")
    parser.add_argument("--limit", type=int, default=0, help="only the first so many videos; 0 takes all")
    parser.add_argument("--no-ray", action="store_true", help="leave out the comparison of workers")
    main(parser.parse_args())
