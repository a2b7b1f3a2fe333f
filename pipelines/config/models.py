"""Commands on registered models, but for their promotion."""

from __future__ import annotations

from dataclasses import dataclass, field

from a2h_models.settings import setting
from pipelines.config.paths import PathsConfig
from pipelines.config.tracking import TrackingConfig


@dataclass
class RegisterCommand:
    """Three trained stages → a version of the model audio2head."""

    image_generator: str = setting("models:/a2h-image-generator/latest", important=True)
    """Image generator: models:/… or the folder of its run."""

    motion_field: str = setting("models:/a2h-motion-field/latest", important=True)
    """Motion field: models:/… or the folder of its run."""

    head_pose: str = setting("models:/a2h-head-pose/latest", important=True)
    """Head pose predictor: models:/… or the folder of its run."""

    logger: TrackingConfig = field(default_factory=TrackingConfig)
    paths: PathsConfig = field(default_factory=PathsConfig)


@dataclass
class ImportReleaseCommand:
    """The released audio2head.pth.tar → a version of the model."""

    file: str = setting("", important=True)
    """Released checkpoint; empty: the one in paths.assets."""

    champion: bool = setting(default=False, important=True)
    """Make it champion at once, without gates."""

    logger: TrackingConfig = field(default_factory=TrackingConfig)
    paths: PathsConfig = field(default_factory=PathsConfig)


@dataclass
class ExportReleaseCommand:
    """A model → a file that the release's own program reads."""

    model: str = setting(important=True)
    """models:/NAME/VERSION, models:/NAME@ALIAS, or the folder of a bundle."""

    out: str = setting(important=True)
    """File to write."""

    logger: TrackingConfig = field(default_factory=TrackingConfig)
    paths: PathsConfig = field(default_factory=PathsConfig)


@dataclass
class ModelsCommand:
    """What is registered; NAME/VERSION: back to the source videos."""

    model: str = setting("", important=True)
    """Empty: every model; NAME: its versions; NAME/VERSION or NAME@ALIAS: where it comes from."""

    max_sources: int = setting(20, at_least=0, important=True)
    """Source videos of each dataset that are printed; 0: all."""

    logger: TrackingConfig = field(default_factory=TrackingConfig)
    paths: PathsConfig = field(default_factory=PathsConfig)


@dataclass
class CardCommand:
    """A model card of a version, from what is recorded."""

    model: str = setting(important=True)
    """NAME/VERSION or NAME@ALIAS."""

    out: str = setting("", important=True)
    """File to write; empty prints the card."""

    logger: TrackingConfig = field(default_factory=TrackingConfig)
    paths: PathsConfig = field(default_factory=PathsConfig)


@dataclass
class CopyCommand:
    """A version → another registry."""

    model: str = setting(important=True)
    """NAME/VERSION or NAME@ALIAS."""

    to: str = setting(important=True)
    """Tracking URI of the other registry."""

    to_artifacts: str = setting("", important=True)
    """Folder of its artifacts, if it is a database without a server; empty: logger.artifacts."""

    logger: TrackingConfig = field(default_factory=TrackingConfig)
    paths: PathsConfig = field(default_factory=PathsConfig)


@dataclass
class AssetsCommand:
    """Pretrained weights of other projects: what is here, and `assets fetch NAME`."""

    action: str = setting("list", choices=("list", "fetch"), important=True)
    """List them, or download some; a download that was cut off goes on."""

    names: list[str] = setting(factory=list, important=True)
    """Names to fetch, as the list shows them, or all."""

    folder: str = setting(".cache/assets", important=True)
    """Folder where they are kept, paths.assets of other commands."""
