"""paths/: folders for everything that a command writes without being told where."""

from __future__ import annotations

from dataclasses import dataclass

from a2h_models.settings import setting


@dataclass
class PathsConfig:
    """Folders for everything that a command writes without being told where."""

    runs: str = setting("runs", important=True)
    """Checkpoints, logs and the tracking database."""

    cache: str = setting(".cache")
    """Downloaded models, copied shards and Ray's session files."""

    assets: str = setting(".cache/assets")
    """Pretrained weights of other projects, which `a2h assets` fetches."""
