"""What `Animator.from_pretrained("models:/…")` calls, through an entry point."""

from __future__ import annotations

from pathlib import Path

from pipelines.config.compose import compose
from pipelines.registry.model_registry import ModelRegistry


def fetch_pretrained(name: str) -> Path:
    """Return the folder of a registered bundle, hashes checked.

    The registry is the one that commands use: `MLFLOW_TRACKING_URI`, or else `runs/mlflow.db` in
    the current folder.

    Raises:
        RegistryError: if there is no such model, or its files were changed.
    """
    return ModelRegistry.from_config(compose("register").logger).fetch(name)
