"""`a2h app`: generation as a page in the browser."""

from __future__ import annotations

from dataclasses import dataclass, field

from a2h_models.settings import setting
from pipelines.config.generate import GenerateConfig
from pipelines.config.paths import PathsConfig
from pipelines.config.tracking import TrackingConfig

MAX_PORT = 65535


@dataclass
class AppCommand:
    """`a2h generate` as a page in the browser."""

    model: str = setting("models:/audio2head@champion", important=True)
    """models:/NAME/VERSION, models:/NAME@ALIAS, or the folder of a bundle."""

    host: str = setting("127.0.0.1", important=True)
    """Address to listen on; 0.0.0.0 lets every machine of the network in, without a password."""

    port: int = setting(7860, at_least=0, at_most=MAX_PORT, important=True)
    """Port to listen on."""

    max_speech_s: float = setting(60.0, above=0, unit="s", important=True)
    """Longest speech; used instead of generate.max_speech_s."""

    max_upload_mb: int = setting(50, at_least=1, unit="MB")
    """Size of one uploaded file."""

    concurrency: int = setting(1, at_least=1)
    """Videos that are made at the same time."""

    max_waiting: int = setting(16, at_least=1)
    """Length of the queue; later requests are asked to come back."""

    keep_minutes: int = setting(60, at_least=1, unit="min")
    """Time until the files of a session that is still open are deleted."""

    generate: GenerateConfig = field(default_factory=GenerateConfig)
    logger: TrackingConfig = field(default_factory=TrackingConfig)
    paths: PathsConfig = field(default_factory=PathsConfig)
