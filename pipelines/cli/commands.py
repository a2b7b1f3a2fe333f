"""What each command does once its arguments are read: call the one function that does it, and print
what comes out.

Configured commands get their dataclass of pipelines/config.py; plain ones get their words. Each
returns the exit code.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from a2h_models.errors import A2HError
from pipelines import config
from pipelines.config import promotion, training
from pipelines.core.signals import terminated_cleanly


# ------------------------------------------------------------------------------ configured commands
def prepare(command: config.PrepareCommand) -> int:
    from pipelines.prepare import pipeline
    from pipelines.registry.pretrained import fetcher
    from pipelines.tracking.prepare_tracking import track_preparation

    command, fetch = _with_pinned_expert(command), fetcher(command.logger)
    with terminated_cleanly():
        if not command.track or command.dry_run:
            print(pipeline.prepare(command, fetch=fetch))
            return 0
        with track_preparation(command) as run:
            summary = pipeline.prepare(command, watch=run.log_progress, fetch=fetch)
            run.log_summary(summary)
    print(summary)
    return 0


def _with_pinned_expert(command: config.PrepareCommand) -> config.PrepareCommand:
    """Replace an alias or `latest` in the expert's name by the version it stands for now."""
    from dataclasses import replace

    from pipelines.registry import SCHEME, ModelRegistry

    features = command.prepare.features
    if not features.sync_expert.startswith(SCHEME):
        return command
    features = replace(features, sync_expert=ModelRegistry.from_config(command.logger).pin(features.sync_expert))
    return replace(command, prepare=replace(command.prepare, features=features))


def keypoints(command: config.KeypointsCommand) -> int:
    from pipelines.training import keypoints as finding

    print(finding.keypoints(command))
    return 0


def train(command: training.TrainCommand) -> int:
    from pipelines.training import launch as training

    result = training.train(command)
    if training.is_first():
        print(result)
    return 0


def train_all(overrides: list[str]) -> int:
    from pipelines.training.curriculum import train_all as stages

    for result in stages(overrides):
        print(result, flush=True)
    return 0


def freeze(command: config.FreezeCommand) -> int:
    from pipelines.evaluation import sets

    print(sets.freeze(command))
    return 0


def evaluate(command: config.EvaluateCommand) -> int:
    from pipelines.evaluation import evaluate as evaluation

    print(evaluation.evaluate(command))
    return 0


def register(command: config.RegisterCommand) -> int:
    from pipelines.registry import STAGE_MODELS, ModelRegistry

    stages = {stage: getattr(command, stage) for stage in STAGE_MODELS}
    print(ModelRegistry.from_config(command.logger).register_bundle(stages))
    return 0


def promote(command: promotion.PromoteCommand) -> int:
    from pipelines import promotion

    decision = promotion.promote(command)
    print(decision)
    return 0 if decision.accepted else A2HError.exit_code


def rollback(command: promotion.RollbackCommand) -> int:
    from pipelines import promotion

    print(promotion.rollback(command))
    return 0


def models(command: promotion.ModelsCommand) -> int:
    from pipelines import registry

    print(registry.models(command))
    return 0


def card(command: promotion.CardCommand) -> int:
    from pipelines import registry

    text = registry.card(command)
    print(command.out or text)
    return 0


def copy(command: promotion.CopyCommand) -> int:
    from pipelines import registry

    print(registry.copy(command))
    return 0


def import_release(command: config.ImportReleaseCommand) -> int:
    from pipelines.promotion import import_release as importing

    print(importing.import_release(command))
    return 0


def export_release(command: config.ExportReleaseCommand) -> int:
    from pipelines.registry import original_release

    print(original_release.export_release(command))
    return 0


def export(command: config.ExportCommand) -> int:
    from pipelines.inference import export as exporting

    print(exporting.export(command))
    return 0


def generate(command: config.GenerateCommand) -> int:
    from pipelines import inference as generation

    print(generation.generate_pairs(command) if command.pairs else generation.generate(command))
    return 0


def app(command: config.AppCommand) -> int:
    import signal

    from pipelines.app import serving

    # a stopped container deletes its visitors' files, like Ctrl-C
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with serving(command) as page:
        print(f"{page.local_url}  (Ctrl-C ends it)", flush=True)
        page.block_thread()
    return 0


def demo(command: config.DemoCommand) -> int:
    from pipelines.demo import demo as demonstration

    demonstration.demo(command)
    return 0


# -------------------------------------------------------------------- commands with plain arguments
def talkers(words: list[str]) -> int:
    parser = _parser("talkers", "write videos of synthetic speakers with known ground truth")
    parser.add_argument("out", type=Path, help="folder to write to")
    parser.add_argument("--count", type=int, default=6, help="number of speakers (default: 6)")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same videos (default: 0)")
    parser.add_argument("--seconds", type=float, default=6.0, help="length of each (default: 6)")
    parser.add_argument("--size", type=int, default=320, help="pixels a side (default: 320)")
    parser.add_argument("--fps", type=float, default=25.0, help="frames a second (default: 25)")
    parser.add_argument(
        "--audio-offset", type=int, default=0, metavar="FRAMES", help="how many frames (of 1/25 s) the sound comes late"
    )
    parser.add_argument("--second-face", action="store_true", help="a second, silent face beside the speaker")
    parser.add_argument("--cut", action="store_true", help="a cut to another shot half-way")
    values = parser.parse_args(words)
    from pipelines.synthetic import SceneConfig, make_speaker_videos

    scene = SceneConfig(
        seconds=values.seconds,
        size=values.size,
        fps=values.fps,
        audio_offset_frames=values.audio_offset,
        second_face=values.second_face,
        cut=values.cut,
    )
    videos = make_speaker_videos(values.out, count=values.count, seed=values.seed, scene=scene)
    print(f"{len(videos)} videos in {values.out}")
    return 0


def verify(words: list[str]) -> int:
    parser = _parser("verify", "check a dataset: plan, tars, sidecars, ledger and hashes against each other")
    parser.add_argument("dataset", help="its folder, on any store")
    parser.add_argument("--clean", action="store_true", help="remove what an interrupted run left unpublished")
    parser.add_argument(
        "--deep", action="store_true", help="decode the samples as well: shapes, lengths, finite numbers"
    )
    parser.add_argument(
        "--share", type=float, default=1.0, help="with --deep: of the samples, evenly drawn (default: 1, all)"
    )
    values = parser.parse_args(words)
    from pipelines.maintenance import verify as checking

    report = checking.verify(values.dataset, clean=values.clean, deep=values.share if values.deep else 0.0)
    print(report)
    return 0 if report.sound else A2HError.exit_code


def forget(words: list[str]) -> int:
    parser = _parser(
        "forget", "take somebody, or one video, out of a dataset; says which registered models have seen them"
    )
    parser.add_argument("dataset", help="its folder, on any store")
    who = parser.add_mutually_exclusive_group(required=True)
    who.add_argument("--identity", default="", metavar="NAME", help="everything of one person")
    who.add_argument("--source", default="", metavar="SHA256", help="everything of one video")
    parser.add_argument("--dry-run", action="store_true", help="say what would go, and change nothing")
    parser.add_argument(
        "--tracking-uri", default="", metavar="URI", help="of the registry (default: as for every command)"
    )
    values = parser.parse_args(words)
    from pipelines.maintenance import remove as forgetting

    report = forgetting.forget(values.dataset, identity=values.identity, source=values.source, dry_run=values.dry_run)
    print(report)
    print(_seen_by(report.sources, report.before, values.tracking_uri))
    print("  not reached: the videos themselves, copies, and datasets that `a2h split` made of this one")
    return 0


def split(words: list[str]) -> int:
    parser = _parser("split", "the samples of a dataset as another dataset with other splits; nothing is encoded again")
    parser.add_argument("dataset", help="its folder, on any store")
    parser.add_argument("--out", required=True, help="a new folder")
    parser.add_argument(
        "--val-share", type=float, metavar="SHARE", help="of the identities (default: as in the dataset)"
    )
    parser.add_argument("--test-share", type=float, metavar="SHARE", help="likewise")
    parser.add_argument(
        "--seed", type=int, help="of the hash that assigns identities to splits (default: as in the dataset)"
    )
    parser.add_argument(
        "--assign", default="", metavar="CSV", help="a table with the columns identity,split, which decides instead"
    )
    values = parser.parse_args(words)
    from pipelines.maintenance import resplit

    settings = {"val_share": values.val_share, "test_share": values.test_share, "seed": values.seed}
    print(resplit.split(values.dataset, values.out, **settings, assign=values.assign))
    return 0


def inspect(words: list[str]) -> int:
    parser = _parser(
        "inspect", "what a generated file says of itself: synthetic, by which model, from which inputs (SHA-256)"
    )
    parser.add_argument("file", type=Path, help="a video, gif or picture, or a folder of frames")
    values = parser.parse_args(words)
    from pipelines import inference as generation

    for key, value in generation.read_provenance(values.file).items():
        print(f"{key}: {str(value).lower() if isinstance(value, bool) else value}")
    return 0


def _seen_by(sources: Sequence[str], fingerprints: Sequence[str], uri: str) -> str:
    """The models that were trained on the videos; or why that is not known, for the dataset is
    changed already.
    """
    from pipelines import registry
    from pipelines.config import compose

    logger = compose.compose("register", [f"logger.tracking_uri={uri}"] if uri else []).logger
    database = logger.tracking_uri.partition("sqlite:///")[2]
    if database and not Path(database).exists():
        return f"  models: not known (there is no registry at {logger.tracking_uri}; --tracking-uri says where it is)"
    try:
        found = registry.find_exposed_models(registry.ModelRegistry.from_config(logger), sources, fingerprints)
    except A2HError as error:
        return f"  models: not known ({error.message})"
    return "\n".join(
        ["  models trained on them:" if found else "  models trained on them: none", *(f"    {seen}" for seen in found)]
    )


def assets(words: list[str]) -> int:
    parser = _parser("assets", "weights of other people, which some parts need: what is here, and how to get the rest")
    parser.usage = "a2h assets [fetch NAME … | fetch all] [--folder FOLDER]"
    actions = parser.add_subparsers(dest="action", metavar="", prog="a2h assets")
    fetching = actions.add_parser(
        "fetch", help="download them; a download that was cut off goes on", allow_abbrev=False
    )
    fetching.add_argument("names", nargs="+", metavar="NAME", help="as `a2h assets` lists them, or all")
    where = f"where they are kept, paths.assets (default: {config.PathsConfig.assets})"
    for each in (parser, fetching):
        each.add_argument("--folder", default=argparse.SUPPRESS, help=where)
    values = parser.parse_args(words)
    from pipelines.pretrained import assets as weights

    listing = weights.list_assets(getattr(values, "folder", config.PathsConfig.assets))
    if values.action is None:
        print(weights.assets_table(listing), end="")
        return 0
    for asset in weights.select_assets(values.names, listing):
        print(f"{asset.name}: {weights.fetch(asset)}")
    return 0


def _parser(name: str, description: str) -> argparse.ArgumentParser:
    return argparse.ArgumentParser(prog=f"a2h {name}", description=description, allow_abbrev=False)
