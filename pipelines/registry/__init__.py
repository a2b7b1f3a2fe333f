"""Runs, models and their promotion: the only door to MLflow."""

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
    "CodeState",
    "close_run",
    "code_tags",
    "git_state",
    "log_artifacts",
    "log_dataset",
    "log_figure",
    "log_metrics",
    "open_run",
    "set_tags",
    "tracking_uri",
]
