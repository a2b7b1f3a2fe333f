"""promote/, `a2h promote` and `a2h rollback`: the gates of promotion."""

from __future__ import annotations

from dataclasses import dataclass, field

from a2h_models.settings import setting
from pipelines.config.paths import PathsConfig
from pipelines.config.tracking import TrackingConfig

LOCK_S = 120.0  # default time after which the lock of a promotion that was killed may be taken


@dataclass
class PromoteConfig:
    """The gates of promotion. A gate that is not required is shown as waived and cannot refuse."""

    lower_bounds: dict[str, float] = setting(factory=dict)
    """Metric → smallest mean that passes."""

    upper_bounds: dict[str, float] = setting(factory=dict)
    """Metric → largest mean that passes."""

    margins: dict[str, float] = setting(factory=dict, at_least=0)
    """Metric → loss against the champion that passes even if chance does not explain it."""

    min_clips: int = setting(10, at_least=1, unit="clips")
    """Smallest evaluation set; in a smaller one chance could hide any loss."""

    max_real_time_factor: float = setting(60.0, at_least=0)
    """Seconds of computing for a second of video, on the evaluation's machine; 0: any."""

    licences: tuple[str, ...] = setting(("*",))
    """Patterns, in any case, one of which the licence of every source video must match."""

    require_clean_code: bool = setting(default=True)
    """Training and evaluation ran committed code."""

    require_disjoint_speakers: bool = setting(default=True)
    """No identity or source video of the evaluation is in the training data."""

    require_verified_data: bool = setting(default=True)
    """The datasets still are what training and evaluation recorded."""

    require_same_features: bool = setting(default=True)
    """Features were computed alike for training, for evaluation and by this program."""

    require_licence: bool = setting(default=True)
    """A licence is stated for every source video and matches one of `licences`."""

    require_consent: bool = setting(default=True)
    """Consent is stated for every source video; a stated refusal refuses in any case."""

    lock_s: float = setting(LOCK_S, above=0, unit="s")
    """Time after which the lock of a promotion that was killed may be taken."""


@dataclass
class PromoteCommand:
    """A version that passes every gate → champion."""

    model: str = setting(important=True)
    """NAME/VERSION."""

    alias: str = setting("champion", important=True)
    """Alias that moves to the version."""

    dry_run: bool = setting(default=False, important=True)
    """Judge the gates and change nothing."""

    promote: PromoteConfig = field(default_factory=PromoteConfig)
    logger: TrackingConfig = field(default_factory=TrackingConfig)
    paths: PathsConfig = field(default_factory=PathsConfig)


@dataclass
class RollbackCommand:
    """The champion before this one → champion again."""

    model: str = setting("audio2head", important=True)
    """NAME of the registered model."""

    alias: str = setting("champion", important=True)
    """Alias that moves back."""

    reason: str = setting("", important=True)
    """Reason, kept with the version that loses the alias."""

    dry_run: bool = setting(default=False, important=True)
    """Say what would move and change nothing."""

    lock_s: float = setting(LOCK_S, above=0, unit="s")
    """Time after which the lock of a promotion that was killed may be taken."""

    logger: TrackingConfig = field(default_factory=TrackingConfig)
    paths: PathsConfig = field(default_factory=PathsConfig)
