"""stage/, trainer/ and `a2h train`: shards → one trained stage."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from a2h_models.settings import REQUIRED, setting
from pipelines.config.cluster import ClusterConfig
from pipelines.config.dataset import DatasetConfig
from pipelines.config.paths import PathsConfig
from pipelines.config.tracking import TrackingConfig

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed", "64-true", "bf16-true", "16-true")


@dataclass
class OptimiserConfig:
    """Adam and its learning rate over time."""

    lr: float = setting(2e-4, above=0, important=True)
    """Learning rate."""

    betas: tuple[float, float] = setting((0.5, 0.999), at_least=0, below=1)
    """Decay of Adam's two moving averages."""

    warmup: int = setting(0, at_least=0, unit="steps")
    """Optimiser steps over which the rate rises to lr."""

    milestones: tuple[int, ...] = setting((), at_least=0, unit="steps")
    """Optimiser steps after which the rate falls to a tenth."""

    cosine: int = setting(0, at_least=0, unit="steps")
    """Optimiser steps over which the rate falls to zero along a cosine; 0: it does not."""

    clip_norm: float = setting(0.0, at_least=0)
    """Largest norm of the gradient; 0: any."""


@dataclass
class StageConfig:
    """One of the trainings."""

    name: str = setting()
    """Name of the stage."""

    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)

    ema_decay: float = setting(0.0, at_least=0, below=1)
    """Decay of the averaged weights; 0 keeps none."""

    init_from: str = setting("", important=True)
    """Weights to begin with: models:/… or a folder with them; empty: none."""

    jitter: float = setting(0.0, at_least=0)
    """Strength of the colour jitter, alike for all frames of a pair or window; 0: none."""


@dataclass
class ImageGeneratorStage(StageConfig):
    """Portrait and keypoints → frame: a First Order Motion Model. A weight of 0 drops the term."""

    name: str = setting("image_generator")
    """Name of the stage."""

    jitter: float = setting(0.1, at_least=0)
    """Strength of the colour jitter, alike for all frames of a pair or window; 0: none."""

    pixel: float = setting(0.0, at_least=0, important=True)
    """Weight of L1 over an image pyramid; stands in for the perceptual term where VGG-19 is not at hand."""

    perceptual: float = setting(10.0, at_least=0, important=True)
    """Weight of L1 of VGG-19's features over the pyramid."""

    vgg19: str = setting("")
    """Path of vgg19-dcbb9e9d.pth, needed where perceptual > 0; empty: from paths.assets."""

    pyramid: tuple[float, ...] = setting((1.0, 0.5, 0.25, 0.125), above=0, at_most=1)
    """Scales of the image pyramid."""

    equivariance_value: float = setting(10.0, at_least=0)
    """Weight of the equivariance of keypoints."""

    equivariance_jacobian: float = setting(10.0, at_least=0)
    """Weight of the equivariance of Jacobians."""

    affine_sigma: float = setting(0.05, at_least=0)
    """Standard deviation of the random affine maps."""

    tps_sigma: float = setting(0.005, at_least=0)
    """Standard deviation of the thin-plate splines' control points."""

    tps_points: int = setting(5, at_least=1)
    """Control points of the thin-plate splines, a side."""

    adversarial: float = setting(0.0, at_least=0)
    """Weight of LSGAN over patches; 0 trains without a discriminator."""

    feature_matching: float = setting(0.0, at_least=0)
    """Weight of L1 of the discriminator's features; only beside adversarial."""

    mirror: float = setting(0.5, at_least=0, at_most=1, unit="share")
    """Pairs that are mirrored."""


@dataclass
class HeadPoseStage(StageConfig):
    """Speech and portrait → head poses. A weight of 0 drops the term."""

    name: str = setting("head_pose")
    """Name of the stage."""

    ssim: float = setting(100.0, at_least=0)
    """Weight of SSIM over the 6×T sequence, taken as an image."""

    l1: float = setting(1.0, at_least=0)
    """Weight of L1."""

    global_variance: float = setting(0.0, at_least=0)
    """Weight of the distance between predicted and true spread over time; not in the paper."""

    unseen_identity_spread: float = setting(0.0, at_least=0)
    """Weight of the distance of synthetic identities' spread from true ones; not in the paper."""

    unseen_identity_start_step: int = setting(0, at_least=0, unit="batches")
    """Batch from which synthetic identities are asked for."""

    adversarial: float = setting(10.0, at_least=0)
    """Weight of LSGAN over time; 0 trains without a discriminator."""

    forced_every: int = setting(0, at_least=0, unit="frames")
    """Distance of the true frames that teacher forcing gives back; 0: no teacher forcing."""

    forced_until: int = setting(0, at_least=0, unit="batches")
    """Batch at which teacher forcing ends."""


@dataclass
class MotionFieldStage(StageConfig):
    """Speech, poses and portrait → keypoints and Jacobians. A weight of 0 drops the term."""

    name: str = setting("motion_field")
    """Name of the stage."""

    value: float = setting(10.0, at_least=0)
    """Weight of L1 of keypoints."""

    jacobian: float = setting(10.0, at_least=0)
    """Weight of L1 of Jacobians."""

    heatmap: float = setting(1.0, at_least=0)
    """Weight of L1 of heatmaps."""

    teacher: str = setting("", important=True)
    """Image generator: models:/… or a folder; empty: models:/a2h-image-generator/latest."""

    companions: bool = setting(default=False)
    """Read the teacher's keypoints from keypoint shards (`a2h keypoints`), which hold no heatmaps."""

    rendered_frames: int = setting(0, at_least=0, unit="frames")
    """Frames of each window that the teacher renders from predicted keypoints and compares with the truth."""

    pixel: float = setting(0.0, at_least=0)
    """Weight of L1 over a pyramid of rendered frames."""

    perceptual: float = setting(0.0, at_least=0)
    """Weight of L1 of VGG-19's features of rendered frames."""

    vgg19: str = setting("")
    """Path of vgg19-dcbb9e9d.pth, needed where perceptual > 0; empty: from paths.assets."""

    pyramid: tuple[float, ...] = setting((1.0, 0.5, 0.25, 0.125), above=0, at_most=1)
    """Scales of the image pyramid."""

    head_pose: str = setting("")
    """Head pose predictor, for predicted poses: models:/… or a folder; empty: models:/a2h-head-pose/latest."""

    predicted_share: float = setting(0.0, at_least=0, at_most=1, unit="share")
    """Windows that get a predicted pose instead of the true one, in the end."""

    predicted_from: int = setting(0, at_least=0, unit="batches")
    """Batch before the first predicted pose."""

    predicted_to: int = setting(0, at_least=0, unit="batches")
    """Batch from which it is the whole share."""


@dataclass
class SyncExpertStage(StageConfig):
    """Mouths and speech → embeddings that agree where the two are in sync; measures and filters, generates nothing."""

    name: str = setting("sync_expert")
    """Name of the stage."""

    optimiser: OptimiserConfig = field(
        default_factory=lambda: OptimiserConfig(lr=5e-4, betas=(0.9, 0.999), clip_norm=1.0)
    )

    jitter: float = setting(0.1, at_least=0)
    """Strength of the colour jitter, alike for all frames of a window; 0: none."""

    contrastive: float = setting(1.0, at_least=0)
    """Weight of the contrastive loss over offsets."""

    mirror: float = setting(0.5, at_least=0, at_most=1, unit="share")
    """Windows that are mirrored."""


@dataclass
class TrainerConfig:
    """Lightning's trainer; its settings have Lightning's names."""

    max_steps: int = setting(100_000, at_least=1, unit="batches", important=True)
    """Length of the training."""

    val_check_interval: int = setting(1000, at_least=1, unit="batches")
    """Distance between two validations."""

    limit_val_batches: int = setting(50, at_least=0, unit="batches")
    """Length of a validation."""

    limit_test_batches: int = setting(1000, at_least=0, unit="batches")
    """Length of a test."""

    log_every_n_steps: int = setting(50, at_least=1, unit="batches")
    """Distance between two log entries."""

    accumulate_grad_batches: int = setting(1, at_least=1, unit="batches")
    """Batches whose gradients make one step."""

    overfit_batches: int = setting(0, at_least=0, unit="batches")
    """Train on the first batches again and again; 0: on all."""

    precision: str = setting("32-true", choices=PRECISIONS, important=True)
    """Numbers that are computed in."""

    accelerator: str = setting("auto", important=True)
    """auto, cpu, gpu, …"""

    devices: int = setting(1, at_least=1, important=True)
    """Devices of each node."""

    num_nodes: int = setting(1, at_least=1)
    """Nodes."""

    sync_batchnorm: bool = setting(default=False)
    """Share batch-norm statistics over all GPUs, as the release did: in all stages but head_pose."""

    compile: bool = setting(default=False)
    """Compile the networks with torch.compile."""

    channels_last: bool = setting(default=False)
    """Lay images out with channels last."""

    deterministic: bool = setting(default=False)
    """Compute the same numbers each time."""

    checkpoint_every_n_steps: int = setting(1000, at_least=1, unit="batches")
    """Distance between two checkpoints."""

    save_top_k: int = setting(2, at_least=0)
    """Best checkpoints that are kept, beside the last."""

    fast_dev_run: bool = setting(default=False)
    """Run one batch of everything and keep nothing."""

    profiler: str = setting("", choices=("", "simple", "advanced"))
    """Write where the time goes into the run's folder: simple or advanced; empty: not."""

    progress_bar: bool = setting(default=True)
    """Show a progress bar."""

    seed: int = setting(0, at_least=0)
    """Seed of weights and of what is random in a step."""


@dataclass
class TrainCommand:
    """Shards → a trained stage: stage=image_generator | motion_field | head_pose, or all (pipeline=all); sync_expert."""

    dataset: DatasetConfig = field(default_factory=DatasetConfig)
    stage: Any = REQUIRED
    networks: Any = REQUIRED
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    logger: TrackingConfig = field(default_factory=TrackingConfig)
    paths: PathsConfig = field(default_factory=PathsConfig)

    run_name: str = setting("", important=True)
    """Name of the run, which a repeated command resumes; empty: the stage and the config's hash."""

    resume: bool = setting(default=True, important=True)
    """Go on from the run's last checkpoint, if it has one."""

    register: bool = setting(default=True, important=True)
    """Register what was trained as a version of a2h-STAGE."""

    test: bool = setting(default=False, important=True)
    """Measure what was trained on the test split, too."""
