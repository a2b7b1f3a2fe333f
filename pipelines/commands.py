"""What each command does once its arguments are read: call the one function that does it, and print what comes out.

Configured commands get their dataclass of pipelines/config.py; plain ones get their words. Each returns the exit code.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from a2h_models.errors import A2HError
from pipelines import config


# -------------------------------------------------------------------------------- configured commands
def prepare(command: config.PrepareCommand) -> int:
    from pipelines.prepare import flow

    print(flow.prepare(command))
    return 0


def train(command: config.TrainCommand) -> int:
    from pipelines import train as training

    print(training.train(command))
    return 0


def evaluate(command: config.EvaluateCommand) -> int:
    from pipelines import evaluate as evaluation

    print(evaluation.evaluate(command))
    return 0


def register(command: config.RegisterCommand) -> int:
    from pipelines.registry import register_bundle

    print(register_bundle(command))
    return 0


def promote(command: config.PromoteCommand) -> int:
    from pipelines import registry

    decision = registry.promote(command)
    print(decision)
    return 0 if decision.accepted else A2HError.exit_code


def generate(command: config.GenerateCommand) -> int:
    from pipelines import generate as generation

    print(generation.generate(command))
    return 0


def app(command: config.AppCommand) -> int:
    import signal

    from pipelines.app import serving

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a stopped container deletes its visitors' files, like Ctrl-C
    with serving(command) as page:
        print(f"{page.local_url}  (Ctrl-C ends it)", flush=True)
        page.block_thread()
    return 0


def demo(command: config.DemoCommand) -> int:
    from pipelines import demo as demonstration

    demonstration.demo(command)
    return 0


# -------------------------------------------------------------------------------- commands with plain arguments
def talkers(words: list[str]) -> int:
    parser = _parser("talkers", "write synthetic talking heads with known truth")
    parser.add_argument("out", type=Path, help="folder to write to")
    parser.add_argument("--count", type=int, default=6, help="how many people (default: 6)")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same talkers (default: 0)")
    parser.add_argument("--seconds", type=float, default=6.0, help="length of each (default: 6)")
    parser.add_argument("--size", type=int, default=320, help="pixels a side (default: 320)")
    parser.add_argument("--fps", type=float, default=25.0, help="frames a second (default: 25)")
    parser.add_argument("--audio-offset", type=int, default=0, metavar="FRAMES", help="how many frames (of 1/25 s) the sound comes late")
    parser.add_argument("--second-face", action="store_true", help="a second, silent face beside the talker")
    parser.add_argument("--cut", action="store_true", help="a cut to another shot half-way")
    values = parser.parse_args(words)
    from pipelines.talkers import make_talkers

    videos = make_talkers(
        values.out,
        count=values.count,
        seed=values.seed,
        seconds=values.seconds,
        size=values.size,
        fps=values.fps,
        audio_offset_frames=values.audio_offset,
        second_face=values.second_face,
        cut=values.cut,
    )
    print(f"{len(videos)} talkers in {values.out}")
    return 0


def verify(words: list[str]) -> int:
    parser = _parser("verify", "check a dataset: plan, tars, sidecars, ledger and hashes against each other")
    parser.add_argument("dataset", help="its folder, on any store")
    parser.add_argument("--clean", action="store_true", help="remove what an interrupted run left unpublished")
    values = parser.parse_args(words)
    from pipelines.prepare import verify as checking

    report = checking.verify(values.dataset, clean=values.clean)
    print(report)
    return 0 if report.sound else A2HError.exit_code


def assets(words: list[str]) -> int:
    parser = _parser("assets", "weights of other people, which some parts need: what is here, and how to get the rest")
    parser.usage = "a2h assets [fetch NAME … | fetch all] [--folder FOLDER]"
    actions = parser.add_subparsers(dest="action", metavar="", prog="a2h assets")
    fetching = actions.add_parser("fetch", help="download them; a download that was cut off goes on", allow_abbrev=False)
    fetching.add_argument("names", nargs="+", metavar="NAME", help="as `a2h assets` lists them, or all")
    where = f"where they are kept, paths.assets (default: {config.PathsConfig.assets})"
    for each in (parser, fetching):
        each.add_argument("--folder", default=argparse.SUPPRESS, help=where)
    values = parser.parse_args(words)
    from pipelines import assets as weights

    listing = weights.listed(getattr(values, "folder", config.PathsConfig.assets))
    if values.action is None:
        print(weights.table(listing), end="")
        return 0
    for asset in weights.chosen(values.names, listing):
        print(f"{asset.name}: {weights.fetch(asset)}")
    return 0


def _parser(name: str, description: str) -> argparse.ArgumentParser:
    return argparse.ArgumentParser(prog=f"a2h {name}", description=description, allow_abbrev=False)
