"""The schema of conf/stage/, conf/trainer/ and conf/train.yaml: the part of what
pipelines/config.py begins that trains.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pipelines.config import MISSING, ClusterConfig, DatasetConfig, PathsConfig, TrackingConfig


@dataclass
class OptimiserConfig:
    lr: float = 2e-4
    betas: tuple[float, float] = (0.5, 0.999)
    warmup: int = 0  # optimiser steps over which the rate rises to lr
    milestones: tuple[int, ...] = ()  # optimiser steps after which the rate falls to a tenth
    cosine: int = 0  # optimiser steps over which the rate falls to zero along a cosine; 0: it does not
    clip_norm: float = 0.0  # of the gradient; 0 leaves it


@dataclass
class StageConfig:
    """stage/: one of the three trainings."""

    name: str = MISSING
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    ema_decay: float = 0.0  # of the averaged weights; 0 keeps none
    init_from: str = ""  # weights to begin with: models:/… or a folder with them; empty: none
    jitter: float = 0.0  # how far colours are moved, the same way in all frames of a pair or window; 0: not at all


@dataclass
class ImageGeneratorStage(StageConfig):
    """method.md §4. A weight of 0 drops the term."""

    name: str = "image_generator"
    pixel: float = 0.0  # L1 over an image pyramid; stands in for the perceptual term where VGG-19 is not at hand
    perceptual: float = 10.0
    vgg19: str = ""  # path of vgg19-dcbb9e9d.pth, needed where perceptual > 0; empty: from paths.assets
    pyramid: tuple[float, ...] = (1.0, 0.5, 0.25, 0.125)
    equivariance_value: float = 10.0
    equivariance_jacobian: float = 10.0
    affine_sigma: float = 0.05
    tps_sigma: float = 0.005
    tps_points: int = 5
    adversarial: float = 0.0  # LSGAN over patches; 0 trains without a discriminator
    feature_matching: float = 0.0  # L1 of the discriminator's features; only beside adversarial
    mirror: float = 0.0  # share of the pairs that are mirrored


@dataclass
class HeadPoseStage(StageConfig):
    name: str = "head_pose"
    ssim: float = 100.0  # over the 6×T sequence taken as an image
    l1: float = 1.0
    global_variance: float = 0.0  # of how far the spread over time is from the truth's; not the paper's
    # of how far the spreads of portraits and voices that nobody has are from true ones; not the
    # paper's
    stranger_spread: float = 0.0
    stranger_from: int = 0  # batches before which nothing is asked of them
    adversarial: float = 10.0  # LSGAN over time
    forced_every: int = 0  # frames after which the recursion is given the true frame again; 0: it always runs freely
    forced_until: int = 0  # batches; after them it runs freely


@dataclass
class MotionFieldStage(StageConfig):
    name: str = "motion_field"
    value: float = 10.0
    jacobian: float = 10.0
    heatmap: float = 1.0
    # image generator: models:/… or a folder with its weights; empty:
    # models:/a2h-image-generator/latest
    teacher: str = ""
    # read the teacher's keypoints from companion shards (`a2h keypoints`); those hold no heatmaps
    companions: bool = False
    rendered_frames: int = 0  # of each window, drawn by the teacher from our keypoints and compared with the truth
    pixel: float = 0.0  # of the drawn frames; as image_generator's
    perceptual: float = 0.0  # of the drawn frames
    vgg19: str = ""  # as image_generator's
    pyramid: tuple[float, ...] = (1.0, 0.5, 0.25, 0.125)
    # models:/… or a folder with its weights, for predicted poses; empty:
    # models:/a2h-head-pose/latest
    head_pose: str = ""
    predicted_share: float = 0.0  # of the windows that get a predicted pose instead of the true one, in the end
    predicted_from: int = 0  # batches before the first of them
    predicted_to: int = 0  # batches after which it is the whole share


@dataclass
class SyncExpertStage(StageConfig):
    """Not one of the three: it judges what they make, and filters what they learn from."""

    name: str = "sync_expert"
    contrastive: float = 1.0
    mirror: float = 0.0  # share of the windows that are mirrored


@dataclass
class TrainerConfig:
    """trainer/: Lightning's own words for its own settings."""

    max_steps: int = 100_000  # batches
    val_check_interval: int = 1000  # batches
    limit_val_batches: int = 50
    limit_test_batches: int = 1000
    log_every_n_steps: int = 50
    accumulate_grad_batches: int = 1
    overfit_batches: int = 0  # the first so many, again and again; 0: all there are
    precision: str = "32-true"
    accelerator: str = "auto"
    devices: int = 1
    num_nodes: int = 1
    sync_batchnorm: bool = False  # over all GPUs, as the release had it: in all stages but head_pose; not on CPUs
    compile: bool = False
    channels_last: bool = False
    deterministic: bool = False
    checkpoint_every_n_steps: int = 1000
    save_top_k: int = 2
    fast_dev_run: bool = False
    profiler: str = ""  # simple | advanced: where the time goes, as a file in the run's folder
    progress_bar: bool = True
    seed: int = 0


@dataclass
class TrainCommand:
    """a2h train"""

    dataset: DatasetConfig = field(default_factory=DatasetConfig)
    stage: Any = MISSING  # a StageConfig
    networks: Any = MISSING  # a2h_models.networks.NetworksConfig; a scale sets it
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    logger: TrackingConfig = field(default_factory=TrackingConfig)
    paths: PathsConfig = field(default_factory=PathsConfig)
    run_name: str = ""  # empty: the stage and the config's hash; the same name resumes
    resume: bool = True  # from the run's last checkpoint, if it has one
    register: bool = True  # the trained stage as a version of a2h-<stage>
    test: bool = False  # measure what was trained on the test split, too
