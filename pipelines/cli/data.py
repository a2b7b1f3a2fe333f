"""Commands on raw videos and datasets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from a2h_models.errors import A2HError, ConfigError
from pipelines import config
from pipelines.cli.command import Command
from pipelines.core.signals import terminated_cleanly


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
    from pipelines.registry import SCHEME, ModelRegistry

    features = command.prepare.features
    if not features.sync_expert.startswith(SCHEME):
        return command
    features = replace(features, sync_expert=ModelRegistry.from_config(command.logger).pin(features.sync_expert))
    return replace(command, prepare=replace(command.prepare, features=features))


def verify(command: config.VerifyCommand) -> int:
    from pipelines.maintenance import verify as checking

    report = checking.verify(command.dataset, clean=command.clean, deep=command.share if command.deep else 0.0)
    print(report)
    return 0 if report.sound else A2HError.exit_code


def keypoints(command: config.KeypointsCommand) -> int:
    from pipelines.training import keypoints as extraction

    print(extraction.keypoints(command))
    return 0


def split(command: config.SplitCommand) -> int:
    from pipelines.maintenance import resplit

    shares = {"val_share": command.val_share, "test_share": command.test_share}
    print(resplit.split(command.dataset, command.out, **shares, seed=command.seed, assign=command.assign))
    return 0


def forget(command: config.ForgetCommand) -> int:
    from pipelines.maintenance import remove

    if bool(command.identity) == bool(command.source):
        raise ConfigError("forget needs either a person or a video", hint="say --identity NAME or --source SHA256")
    report = remove.forget(command.dataset, identity=command.identity, source=command.source, dry_run=command.dry_run)
    print(report)
    print(_exposed_models(report.sources, report.before, command.logger))
    print("  not reached: the videos themselves, copies, and datasets that `a2h split` made of this one")
    return 0


def _exposed_models(sources: Sequence[str], fingerprints: Sequence[str], tracking: config.TrackingConfig) -> str:
    """List the models that were trained on the videos, or say why that is not known: the dataset is changed already."""
    from pipelines import registry

    database = tracking.tracking_uri.partition("sqlite:///")[2]
    if database and not Path(database).exists():
        return f"  models: not known (there is no registry at {tracking.tracking_uri}; --tracking-uri says where it is)"
    try:
        models = registry.find_exposed_models(registry.ModelRegistry.from_config(tracking), sources, fingerprints)
    except A2HError as error:
        return f"  models: not known ({error.message})"
    title = "  models trained on them:" if models else "  models trained on them: none"
    return "\n".join([title, *(f"    {model}" for model in models)])


COMMANDS = (
    Command("prepare", prepare),
    Command("verify", verify, positional=("dataset",)),
    Command("keypoints", keypoints),
    Command("split", split, positional=("dataset",)),
    Command("forget", forget, positional=("dataset",), flags={"tracking_uri": "logger.tracking_uri"}),
)
