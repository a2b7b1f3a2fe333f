"""Commands on trained and registered models."""

from __future__ import annotations

from pipelines import config
from pipelines.cli.command import Command

REFUSED = 3  # exit code: a gate said no


def register(command: config.RegisterCommand) -> int:
    from pipelines.registry import STAGE_MODELS, ModelRegistry

    stages = {stage: getattr(command, stage) for stage in STAGE_MODELS}
    print(ModelRegistry.from_config(command.logger).register_bundle(stages))
    return 0


def freeze(command: config.FreezeCommand) -> int:
    from pipelines.evaluation import sets

    print(sets.freeze(command))
    return 0


def evaluate(command: config.EvaluateCommand) -> int:
    from pipelines.evaluation import evaluate as evaluation

    print(evaluation.evaluate(command))
    return 0


def promote(command: config.PromoteCommand) -> int:
    from pipelines import promotion

    decision = promotion.promote(command)
    print(decision)
    return 0 if decision.accepted else REFUSED


def rollback(command: config.RollbackCommand) -> int:
    from pipelines import promotion

    print(promotion.rollback(command))
    return 0


def models(command: config.ModelsCommand) -> int:
    from pipelines import registry

    print(registry.models(command))
    return 0


def card(command: config.CardCommand) -> int:
    from pipelines import registry

    text = registry.card(command)
    print(command.out or text)
    return 0


def copy(command: config.CopyCommand) -> int:
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


COMMANDS = (
    Command("register", register),
    Command("freeze", freeze, positional=("dataset",), flags={"split": "evaluate.split"}),
    Command("evaluate", evaluate, flags={"split": "evaluate.split"}),
    Command("promote", promote, positional=("model",)),
    Command("rollback", rollback, positional=("model",)),
    Command("models", models, positional=("model",)),
    Command("card", card, positional=("model",)),
    Command("copy", copy, positional=("model",)),
    Command("import-release", import_release, positional=("file",)),
    Command("export-release", export_release, positional=("model", "out")),
    Command("export", export, positional=("model", "out")),
)
