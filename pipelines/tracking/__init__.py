"""Runs of the tracking server: opened, written to, read again.

The only importer of MLflow's client.
"""

from pipelines.tracking.tracker import (
    CodeState,
    close_run,
    code_tags,
    git_state,
    log_artifacts,
    log_dataset,
    log_figure,
    log_metrics,
    open_run,
    read_history,
    session,
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
    "read_history",
    "session",
    "set_tags",
    "tracking_uri",
]
