"""A short hash of a configuration."""

from __future__ import annotations

from typing import Any

from pipelines.core.hashing import sha256_of_json

HASH_DIGITS = 16


def config_hash(config: Any) -> str:
    """Hash a configuration: sixteen hex digits that change with any of its values, and with nothing else."""
    from omegaconf import OmegaConf

    values = OmegaConf.to_container(OmegaConf.structured(config), resolve=True)
    return sha256_of_json(values, digits=HASH_DIGITS)
