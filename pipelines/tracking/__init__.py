"""Runs of the tracking server: opened, written to, read again.

The only room that imports MLflow's client.
"""

from pipelines.tracking.code_version import UNKNOWN, CodeState, code_tags, git_state
from pipelines.tracking.tracker import LoggedModel, Tracker, TrackingError

__all__ = [
    "UNKNOWN",
    "CodeState",
    "LoggedModel",
    "Tracker",
    "TrackingError",
    "code_tags",
    "git_state",
]
