"""Measure planner and driver alone, and extrapolate to VoxCeleb2; nothing is downloaded or built."""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import measurement

from pipelines.config import ClusterConfig, PrepareCommand, PrepareConfig
from pipelines.execution import pool
from pipelines.execution.task import Task
from pipelines.prepare.planning.plan import Plan, Unit, Video, plan
from pipelines.prepare.planning.probe import batch_size, probe_file
from pipelines.prepare.sources.discover import find_inputs
from pipelines.prepare.sources.manifest import OptOuts

MIB_IN_KIB = 1024  # ru_maxrss counts KiB
PEOPLE = 6112  # of VoxCeleb2
UTTERANCES, UTTERANCE_S = 1_100_000, 8.0  # of VoxCeleb2, about
CORES = 32  # of a node
NODES = (10, 100)
DROPPED_EVERY = 50  # one video of so many is rejected by the probe
VIDEOS_A_UNIT = 450  # an hour of utterances of 8 s


def synthetic_plan_entries(number: int) -> Iterator[Video]:
    """Yield probe results with names and lengths like those of VoxCeleb2."""
    for index in range(number):
        digest = hashlib.sha256(str(index).encode()).hexdigest()
        person, rejected = f"id{index % PEOPLE:05d}", index % DROPPED_EVERY == 0
        yield Video(
            file=f"dev/mp4/{person}/{digest[:11]}/{index % 300:05d}.mp4",
            sha256=digest,
            size=10**6 + index,
            identity=person,
            licence="CC BY 4.0",
            frames=100 + index % 200,
            fps=25.0,
            width=224,
            height=224,
            reason="no_audio" if rejected else "",
            error_message="there is no audio stream" if rejected else "",
            video_id=digest[:11],
            utterance=f"{index % 300:05d}",
        )


# -------------------------------------------------------------------------------- the planner
def planning(number: int) -> dict[str, float]:
    """Return seconds and peak memory (MB) of each part; run in a fresh process."""
    values: dict[str, float] = {"MB at the start": _peak_mb()}

    def timed(name: str, work: Callable[[], Any]) -> Any:
        started = time.perf_counter()
        result = work()
        values[name] = time.perf_counter() - started
        return result

    videos = list(synthetic_plan_entries(number))
    planned: Plan = timed("plan", lambda: plan(videos, PrepareConfig()))
    data: bytes = timed("to bytes", planned.to_bytes)
    values["MB planning"] = _peak_mb()
    read: Plan = timed("from bytes", lambda: Plan.from_bytes(data, name="plan"))
    values["MB with the plan read back beside it"] = _peak_mb()
    if read.hash != planned.hash or read.inputs != number:
        raise SystemExit("the plan read back differs from the plan written")
    return {**values, "units": len(planned.units), "MB of plan": len(data) / 2**20}


def listing(number: int) -> dict[str, float]:
    """Return seconds and peak memory (MB) of reading a manifest; run in a fresh process."""
    with tempfile.TemporaryDirectory(prefix="a2h-benchmark-") as folder:
        path = Path(folder) / "manifest.csv"
        with path.open("w", newline="") as handle:
            rows = csv.writer(handle)
            rows.writerow(["url", "identity", "start", "end", "licence", "consent"])
            rows.writerows(
                [video.file, video.identity, "0.5", "7.5", video.licence, "yes"]
                for video in synthetic_plan_entries(number)
            )
        started = time.perf_counter()
        inputs = find_inputs(PrepareCommand(videos=str(path), out="unused", layout="voxceleb"))
        return {"manifest": time.perf_counter() - started, "MB listing": _peak_mb(), "listed": len(inputs.videos)}


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MIB_IN_KIB


def run_in_fresh_process(part: str, number: int) -> dict[str, float]:
    """Measure a part in a fresh process, so that the peak memory is that of the part."""
    done = subprocess.run(
        [sys.executable, __file__, "--part", part, "--videos", str(number)], check=True, stdout=subprocess.PIPE
    )
    values: dict[str, float] = json.loads(done.stdout)
    return values


def planner(numbers: list[int]) -> None:
    rows = []
    for number in numbers:
        plan_times, list_times = run_in_fresh_process("planning", number), run_in_fresh_process("listing", number)
        seconds = [list_times["manifest"], plan_times["plan"], plan_times["to bytes"], plan_times["from bytes"]]
        memory = [
            list_times["MB listing"],
            plan_times["MB planning"],
            plan_times["MB with the plan read back beside it"],
        ]
        rows.append(
            [
                f"{number:,}",
                *(f"{s:.1f}" for s in seconds),
                *(f"{mb:.0f}" for mb in memory),
                f"{plan_times['units']:.0f}",
            ]
        )
    columns = ["videos", "list s", "plan s", "write s", "read s", "list MB", "plan MB", "read MB", "units"]
    measurement.show(
        "Planning; peak memory of fresh processes (reading: beside the plan that was written)", columns, rows
    )


# -------------------------------------------------------------------------------- the driver
def do_nothing(unit: Unit) -> int:
    """Do the work of an empty unit."""
    return len(unit.videos)


def driver(units: int, workers: int) -> float:
    """Return units a second through `pool.run`, as `a2h prepare` calls it, with warm workers."""
    config = ClusterConfig(workers=workers)
    videos = tuple(synthetic_plan_entries(VIDEOS_A_UNIT))
    rows, rate = [], 0.0
    with pool.session(config, cache=None):
        for name, contents in (("empty", ()), (f"with {VIDEOS_A_UNIT} videos", videos)):
            for isolated in (False, True):
                batch_units = [
                    Unit(id=str(number), split="train", number=number, plan="", videos=contents)
                    for number in range(units)
                ]
                _run_units(batch_units[: 4 * workers], config, isolated=isolated)
                elapsed = measurement.timed(partial(_run_units, batch_units, config, isolated=isolated))
                rate = units / elapsed.wall
                rows.append([name, "yes" if isolated else "no", f"{rate:.0f}"])
    measurement.show(
        f"The driver: {units} units that do nothing, {workers} workers", ["units", "isolated", "units/s"], rows
    )
    return rate


def _run_units(batch_units: list[Unit], config: ClusterConfig, *, isolated: bool) -> None:
    task = Task(function=do_nothing, describe="nothing", key=lambda unit: unit.id, isolated=isolated)
    for unit, result in pool.run(task, batch_units, config):
        if result != len(unit.videos):
            raise SystemExit(f"unit {unit.id}: {result}")


# ---------------------------------------------------------------------------- extrapolation
def probing(folder: Path) -> float:
    """Return the seconds to probe a file of an utterance's length on one core."""
    videos = measurement.videos_or_speakers("", folder, count=1, seconds=UTTERANCE_S)
    inputs = find_inputs(PrepareCommand(videos=videos, out="unused"))
    probe = measurement.alternate(
        {"": lambda: probe_file(inputs.videos[0], inputs.source, OptOuts(), PrepareConfig())}, rounds=7
    )
    return measurement.median_wall(probe[""])


def voxceleb(rates: dict[str, float], probe_s: float, units_per_s: float) -> None:
    """Print the hours for all of VoxCeleb2 if each core is as fast as the one measured."""
    video_h = UTTERANCES * UTTERANCE_S / 3600
    rows = []
    for nodes in NODES:
        cores = nodes * CORES
        for f0, rate in rates.items():
            batches = UTTERANCES / batch_size(UTTERANCES, cores)
            probe_min, build_h = max(UTTERANCES * probe_s / cores, batches / units_per_s) / 60, video_h / (rate * cores)
            needed = video_h / build_h / 3600  # units a second, with an hour of video in a unit
            rows.append([f"{nodes} × {CORES}", f0, f"{rate:g}", f"{probe_min:.1f}", f"{build_h:.2f}", f"{needed:.2f}"])
    columns = ["nodes × cores", "f0", "× real time", "probing, min", "building, h", "units/s"]
    measurement.show(
        f"VoxCeleb2: {UTTERANCES:,} utterances of {UTTERANCE_S:g} s, {video_h:.0f} hours of video", columns, rows
    )
    print(f"Assumed: every core as fast as this one ({probe_s:.3f} s a probe), files near, no other work on the nodes.")
    print(f"The driver did {units_per_s:.0f} units/s.")


def main(arguments: Namespace) -> None:
    if arguments.part:
        values = (planning if arguments.part == "planning" else listing)(arguments.videos[0])
        print(json.dumps(values))
        return
    with measurement.temporary_folder() as folder:
        planner(arguments.videos)
        units_per_s = driver(arguments.units, arguments.workers)
        voxceleb({"harvest": arguments.harvest, "dio": arguments.dio}, probing(folder), units_per_s)


if __name__ == "__main__":
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument(
        "--videos", type=int, nargs="+", default=[10_000, 100_000, 1_000_000], help="how many are planned"
    )
    parser.add_argument("--units", type=int, default=2000, help="sent through the driver")
    parser.add_argument("--workers", type=int, default=2, help="of the driver's test")
    parser.add_argument(
        "--harvest", type=float, default=2.67, help="× real time a core, as benchmarks/prepare.py measured it"
    )
    parser.add_argument("--dio", type=float, default=3.95, help="the same with f0=dio")
    parser.add_argument("--part", default="", choices=("", "planning", "listing"), help=argparse.SUPPRESS)
    main(parser.parse_args())
