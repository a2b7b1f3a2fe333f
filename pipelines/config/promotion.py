"""The schema of conf/promote/, and of the commands on registered models: the rest of what
pipelines/config.py begins.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pipelines.config import MISSING, PathsConfig, TrackingConfig


@dataclass
class PromoteConfig:
    """promote/: the gates. A gate that is not required is shown as waived and cannot refuse."""

    lower_bounds: dict[str, float] = field(default_factory=dict)  # metric → at least
    upper_bounds: dict[str, float] = field(default_factory=dict)  # metric → at most
    # metric → loss against the champion that is borne even if it is not chance
    margins: dict[str, float] = field(default_factory=dict)
    min_clips: int = 1  # of the evaluation set; below, chance could hide any loss
    max_real_time_factor: float = 0.0  # seconds of computing for a second of video; 0 asks for nothing
    # patterns, in any case; what every source of the training data must match, if licences are
    # required
    licences: tuple[str, ...] = ("*",)
    require_clean_code: bool = True
    # neither identities nor source videos of the evaluation in the training data
    require_disjoint_speakers: bool = True
    require_verified_data: bool = True  # the datasets still are what training and evaluation recorded
    require_same_features: bool = True  # in all training data, in the evaluation, and in this program
    require_licence: bool = True  # stated for every source of the training data, and matching one of `licences`
    require_consent: bool = True  # stated for every source; one that says no is refused in any case
    lock_s: float = 120.0  # how long a promotion that was killed keeps others out


@dataclass
class PromoteCommand:
    """a2h promote"""

    model: str = MISSING  # NAME/VERSION
    alias: str = "champion"
    dry_run: bool = False
    promote: PromoteConfig = field(default_factory=PromoteConfig)
    logger: TrackingConfig = field(default_factory=TrackingConfig)
    paths: PathsConfig = field(default_factory=PathsConfig)


@dataclass
class RollbackCommand:
    """a2h rollback"""

    model: str = "audio2head"  # NAME
    alias: str = "champion"
    reason: str = ""  # kept with the version that loses the alias
    dry_run: bool = False
    lock_s: float = 120.0  # as promote.lock_s
    logger: TrackingConfig = field(default_factory=TrackingConfig)
    paths: PathsConfig = field(default_factory=PathsConfig)


@dataclass
class ModelsCommand:
    """a2h models"""

    model: str = ""  # empty: every model; NAME: its versions; NAME/VERSION or NAME@ALIAS: where it comes from
    max_sources: int = 20  # of each dataset, that are printed; 0: all
    logger: TrackingConfig = field(default_factory=TrackingConfig)
    paths: PathsConfig = field(default_factory=PathsConfig)


@dataclass
class CardCommand:
    """a2h card"""

    model: str = MISSING  # NAME/VERSION or NAME@ALIAS
    out: str = ""  # a file; empty prints
    logger: TrackingConfig = field(default_factory=TrackingConfig)
    paths: PathsConfig = field(default_factory=PathsConfig)


@dataclass
class CopyCommand:
    """a2h copy"""

    model: str = MISSING  # NAME/VERSION or NAME@ALIAS
    to: str = MISSING  # tracking URI of the other registry
    to_artifacts: str = ""  # where it keeps files, if it is a database without a server; empty: logger.artifacts
    logger: TrackingConfig = field(default_factory=TrackingConfig)
    paths: PathsConfig = field(default_factory=PathsConfig)
