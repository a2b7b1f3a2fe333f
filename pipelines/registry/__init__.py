"""Runs, models and their promotion: the only door to MLflow."""

from pipelines.registry.models import (
    BUNDLE,
    CHALLENGER,
    STAGE_MODELS,
    ModelVersion,
    fetch,
    find,
    read_provenance,
    register_bundle,
    register_stage,
)
from pipelines.registry.tracking import (
    CodeState,
    close_run,
    code_tags,
    git_state,
    log_artifacts,
    log_dataset,
    log_figure,
    log_metrics,
    open_run,
    set_tags,
    tracking_uri,
)

__all__ = [
    "BUNDLE",
    "CHALLENGER",
    "STAGE_MODELS",
    "CodeState",
    "ModelVersion",
    "close_run",
    "code_tags",
    "fetch",
    "find",
    "git_state",
    "log_artifacts",
    "log_dataset",
    "log_figure",
    "log_metrics",
    "open_run",
    "read_provenance",
    "register_bundle",
    "register_stage",
    "set_tags",
    "tracking_uri",
]
