"""evaluate/, `a2h evaluate` and `a2h freeze`: what is measured, on which clips."""

from __future__ import annotations

from dataclasses import dataclass, field

from a2h_models.settings import setting
from pipelines.config.cluster import ClusterConfig
from pipelines.config.paths import PathsConfig
from pipelines.config.tracking import TrackingConfig

EXPERT = "models:/a2h-sync-expert/latest"  # optional under this name; any other must exist


@dataclass
class EvaluateConfig:
    """Which clips are measured, and how."""

    split: str = setting("test", choices=("train", "val", "test"), important=True)
    """Split of the dataset."""

    any_split: bool = setting(default=False)
    """Where the split has no clips, take the first of test, val, train that has some."""

    max_clips: int = setting(0, at_least=0, important=True)
    """Number of clips, the first by key; 0: all."""

    max_frames: int = setting(128, at_least=1, unit="frames")
    """Frames of each clip, from its start."""

    min_frames: int = setting(16, at_least=2, unit="frames")
    """Length below which a clip is left out: it has no motion to measure."""

    first_clip_of_video: bool = setting(default=False)
    """Take only the clip of each video that begins first."""

    sync_expert: str = setting(EXPERT)
    """Sync expert that measures lip sync: models:/… or a folder; empty: none."""

    champion: bool = setting(default=True)
    """Measure the champion beside the candidate, where there is one and it is another version."""

    protocols: tuple[str, ...] = setting(("true_pose", "predicted_pose"), choices=("true_pose", "predicted_pose"))
    """Whose head poses drive the video: the clip's own, or the predicted ones."""

    keypoints: str = setting("relative", choices=("relative", "absolute"))
    """Keypoints relative to the first predicted frame, or absolute as in the release."""

    batch_size: int = setting(8, at_least=1)
    """Frames rendered at a time."""

    bootstrap_samples: int = setting(1000, at_least=1)
    """Bootstrap samples of the clips, for the 95 % interval."""

    pictured_clips: int = setting(12, at_least=0)
    """Number of worst and of best clips that the report shows."""


@dataclass
class EvaluateCommand:
    """A model on an evaluation set → metrics, beside ground truth and baselines."""

    model: str = setting(important=True)
    """models:/NAME/VERSION, models:/NAME@ALIAS, folder of a bundle, or videos:FOLDER of any other system."""

    dataset: str = setting("", important=True)
    """Folder of a dataset; with `set`, only where it lies somewhere else now."""

    set: str = setting("", important=True)
    """Evaluation set that `a2h freeze` wrote: exactly its clips are measured."""

    out: str = setting(important=True)
    """Folder of the results."""

    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    logger: TrackingConfig = field(default_factory=TrackingConfig)
    paths: PathsConfig = field(default_factory=PathsConfig)


@dataclass
class FreezeCommand:
    """The clips of a split → an evaluation set with hashes."""

    dataset: str = setting(important=True)
    """Folder of the dataset."""

    out: str = setting(important=True)
    """File to write."""

    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
