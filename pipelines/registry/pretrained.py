"""What `Animator.from_pretrained("models:/…")` calls, through an entry point: a name of the
registry → a folder of checked weights.
"""

from __future__ import annotations

from pathlib import Path

from pipelines.config.compose import compose
from pipelines.registry.artifacts import fetch


def fetch_pretrained(name: str) -> Path:
    """The bundle's folder. The registry is the one that commands use: `MLFLOW_TRACKING_URI`, or
    else `runs/mlflow.db` in this folder.

    Raises:
        RegistryError: if there is no such model, or its files were changed.
    """
    return fetch(name, compose("register").logger)
