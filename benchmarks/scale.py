"""What scale costs: the planner alone, the driver alone, and what the measured rates mean for
VoxCeleb2. Nothing is downloaded or built.
"""

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
from pathlib import Path
from typing import Any

import measurement

from pipelines.config import ClusterConfig, PrepareCommand, PrepareConfig
from pipelines.execution import cluster
from pipelines.prepare.planning.plan import Plan, Unit, Video, plan
from pipelines.prepare.planning.probe import batch_size, probe_file
from pipelines.prepare.sources.discover import find_inputs
from pipelines.prepare.sources.manifest import OptOuts

MIB_IN_KIB = 1024  # ru_maxrss counts KiB
PEOPLE = 6112  # of VoxCeleb2
UTTERANCES, UTTERANCE_S = 1_100_000, 8.0  # of VoxCeleb2, about
CORES = 32  # of a node
NODES = (10, 100)
DROPPED_EVERY = 50  # one video of so many is not worth a look
VIDEOS_A_UNIT = 450  # an hour of utterances of 8 s


def made_up(number: int) -> Iterator[Video]:
    """Videos with VoxCeleb2's names and about its lengths, as the probe would give them."""
    for index in range(number):
        digest = hashlib.sha256(str(index).encode()).hexdigest()
        person, odd = f"id{index % PEOPLE:05d}", index % DROPPED_EVERY == 0
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
            reason="no_audio" if odd else "",
            error_message="there is no audio stream" if odd else "",
            video_id=digest[:11],
            utterance=f"{index % 300:05d}",
        )


# -------------------------------------------------------------------------------- the planner
def planning(number: int) -> dict[str, float]:
    """Seconds of each part, and the process's peak memory after it, in MB: in a process of its own."""
    found: dict[str, float] = {"MB at the start": _peak()}

    def clocked(name: str, work: Callable[[], Any]) -> Any:
        begun = time.perf_counter()
        result = work()
        found[name] = time.perf_counter() - begun
        return result

    videos = list(made_up(number))
    made: Plan = clocked("plan", lambda: plan(videos, PrepareConfig()))
    data: bytes = clocked("to bytes", made.to_bytes)
    found["MB planning"] = _peak()
    read: Plan = clocked("from bytes", lambda: Plan.from_bytes(data, name="plan"))
    found["MB with the plan read back beside it"] = _peak()
    if read.hash != made.hash or read.inputs != number:
        raise SystemExit("the plan did not survive")
    return {**found, "units": len(made.units), "MB of plan": len(data) / 2**20}


def listing(number: int) -> dict[str, float]:
    """Seconds for reading a manifest of so many rows, and peak memory in MB: in a process of its
    own.
    """
    with tempfile.TemporaryDirectory(prefix="a2h-benchmark-") as folder:
        path = Path(folder) / "manifest.csv"
        with path.open("w", newline="") as handle:
            rows = csv.writer(handle)
            rows.writerow(["url", "identity", "start", "end", "licence", "consent"])
            rows.writerows(
                [video.file, video.identity, "0.5", "7.5", video.licence, "yes"] for video in made_up(number)
            )
        begun = time.perf_counter()
        inputs = find_inputs(PrepareCommand(videos=str(path), out="unused", layout="voxceleb"))
        return {"manifest": time.perf_counter() - begun, "MB listing": _peak(), "listed": len(inputs.videos)}


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MIB_IN_KIB


def alone(part: str, number: int) -> dict[str, float]:
    """A part in a fresh process, so that its peak memory is its own."""
    done = subprocess.run(
        [sys.executable, __file__, "--part", part, "--videos", str(number)], check=True, stdout=subprocess.PIPE
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def planner(numbers: list[int]) -> None:
    rows = []
    for number in numbers:
        took, listed = alone("planning", number), alone("listing", number)
        seconds = [listed["manifest"], took["plan"], took["to bytes"], took["from bytes"]]
        memory = [listed["MB listing"], took["MB planning"], took["MB with the plan read back beside it"]]
        rows.append(
            [f"{number:,}", *(f"{s:.1f}" for s in seconds), *(f"{mb:.0f}" for mb in memory), f"{took['units']:.0f}"]
        )
    columns = ["videos", "list s", "plan s", "write s", "read s", "list MB", "plan MB", "read MB", "units"]
    measurement.show(
        "Planning; peak memory of fresh processes (reading: beside the plan that was written)", columns, rows
    )


# -------------------------------------------------------------------------------- the driver
def nothing(unit: Unit) -> int:
    """The work of an empty unit."""
    return len(unit.videos)


def driver(units: int, workers: int) -> float:
    """Units a second through `cluster.run`, as `a2h prepare` calls it, once the workers are warm.

    Returns the rate with full units.
    """
    config = ClusterConfig(workers=workers)
    videos = tuple(made_up(VIDEOS_A_UNIT))
    rows, rate = [], 0.0
    with cluster.session(config, cache=None):
        for name, held in (("empty", ()), (f"with {VIDEOS_A_UNIT} videos", videos)):
            for isolated in (False, True):
                pieces = [
                    Unit(id=str(number), split="train", number=number, plan="", videos=held) for number in range(units)
                ]
                _through(pieces[: 4 * workers], config, isolated=isolated)
                elapsed = measurement.timed(
                    lambda pieces=pieces, isolated=isolated: _through(pieces, config, isolated=isolated)
                )
                rate = units / elapsed.wall
                rows.append([name, "yes" if isolated else "no", f"{rate:.0f}"])
    measurement.show(
        f"The driver: {units} units that do nothing, {workers} workers", ["units", "isolated", "units/s"], rows
    )
    return rate


def _through(pieces: list[Unit], config: ClusterConfig, *, isolated: bool) -> None:
    for piece, result in cluster.run(
        nothing, pieces, config, describe="nothing", key=lambda unit: unit.id, isolated=isolated
    ):
        if result != len(piece.videos):
            raise SystemExit(f"unit {piece.id}: {result}")


# -------------------------------------------------------------------------------- what it means
def probing(folder: Path) -> float:
    """Seconds to probe a file of an utterance's length, on one core."""
    where = measurement.videos_or_talkers("", folder, count=1, seconds=UTTERANCE_S)
    inputs = find_inputs(PrepareCommand(videos=where, out="unused"))
    probe = measurement.alternate(
        {"": lambda: probe_file(inputs.videos[0], inputs.source, OptOuts(), PrepareConfig())}, rounds=7
    )
    return measurement.median_wall(probe[""])


def voxceleb(rates: dict[str, float], probe_s: float, units_per_s: float) -> None:
    """Hours for all of VoxCeleb2, if each core prepares as fast as the one measured and nothing
    else is in the way.
    """
    video_h = UTTERANCES * UTTERANCE_S / 3600
    rows = []
    for nodes in NODES:
        cores = nodes * CORES
        for f0, rate in rates.items():
            pieces = UTTERANCES / batch_size(UTTERANCES, cores)
            probe_min, build_h = max(UTTERANCES * probe_s / cores, pieces / units_per_s) / 60, video_h / (rate * cores)
            needed = video_h / build_h / 3600  # units a second, with an hour of video in a unit
            rows.append([f"{nodes} × {CORES}", f0, f"{rate:g}", f"{probe_min:.1f}", f"{build_h:.2f}", f"{needed:.2f}"])
    columns = ["nodes × cores", "f0", "× real time", "probing, min", "building, h", "units/s"]
    measurement.show(
        f"VoxCeleb2: {UTTERANCES:,} utterances of {UTTERANCE_S:g} s, {video_h:.0f} hours of video", columns, rows
    )
    print(f"Assumed: every core as fast as this one ({probe_s:.3f} s a probe), files near, no other work on the nodes.")
    print(f"The driver did {units_per_s:.0f} units/s.")


def main(words: Namespace) -> None:
    if words.part:
        found = (planning if words.part == "planning" else listing)(words.videos[0])
        print(json.dumps(found))
        return
    with measurement.workplace() as folder:
        planner(words.videos)
        units_per_s = driver(words.units, words.workers)
        voxceleb({"harvest": words.harvest, "dio": words.dio}, probing(folder), units_per_s)


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
