"""What `Animator.from_pretrained("models:/…")` calls, through an entry point."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from pipelines.config import TrackingConfig
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


def fetcher(config: TrackingConfig) -> Callable[[str], Path]:
    """Return a function that fetches models by name from this registry, on any machine."""
    return partial(_fetch, config)


def _fetch(config: TrackingConfig, name: str) -> Path:
    return ModelRegistry.from_config(config).fetch(name)
