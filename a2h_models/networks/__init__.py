"""The networks by stage: their config, building them, and their weights as files."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeAlias

from torch import nn

from a2h_models.data_types import SIZE, WINDOW
from a2h_models.errors import CheckpointError, ConfigError
from a2h_models.networks import weights
from a2h_models.networks.discriminator import (
    PatchDiscriminator,
    PatchDiscriminatorConfig,
    PoseDiscriminator,
    PoseDiscriminatorConfig,
)
from a2h_models.networks.generator import Generator, GeneratorConfig
from a2h_models.networks.head_pose import HeadPose, HeadPoseConfig
from a2h_models.networks.keypoint_detector import KeypointDetector, KeypointDetectorConfig
from a2h_models.networks.motion_field import LIFT, MotionField, MotionFieldConfig
from a2h_models.networks.sync_expert import NORM_GROUPS, SMALLEST_MAP, SyncExpert, SyncExpertConfig
from a2h_models.settings import setting

__all__ = [
    "JUDGE",
    "STAGES",
    "Generator",
    "HeadPose",
    "ImageGenerator",
    "KeypointDetector",
    "MotionField",
    "Network",
    "NetworksConfig",
    "PatchDiscriminator",
    "PoseDiscriminator",
    "SyncExpert",
    "build",
    "check",
    "load",
    "save",
]

STAGES = ("image_generator", "motion_field", "head_pose")  # what generates, in the order in which it is trained
JUDGE = "sync_expert"  # a fourth stage, which generates nothing and is in no bundle


@dataclass
class NetworksConfig:
    """How wide and deep everything is.

    Defaults: the release's, 256×256 and 189 million parameters.
    """

    image_size: int = setting(SIZE, at_least=32, unit="px", important=True)
    """Side of portrait and frame."""

    keypoints: int = setting(10, at_least=1)
    """Number of keypoints."""

    keypoint_detector: KeypointDetectorConfig = field(default_factory=KeypointDetectorConfig)
    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    motion_field: MotionFieldConfig = field(default_factory=MotionFieldConfig)
    head_pose: HeadPoseConfig = field(default_factory=HeadPoseConfig)
    discriminator: PatchDiscriminatorConfig = field(default_factory=PatchDiscriminatorConfig)
    pose_discriminator: PoseDiscriminatorConfig = field(default_factory=PoseDiscriminatorConfig)
    sync_expert: SyncExpertConfig = field(default_factory=SyncExpertConfig)


class ImageGenerator(nn.Module):
    """The keypoint detector and the generator, which are trained together."""

    def __init__(self, config: NetworksConfig) -> None:
        super().__init__()
        self.detector = KeypointDetector(config.keypoint_detector, keypoints=config.keypoints)
        self.generator = Generator(config.generator, keypoints=config.keypoints)


Network: TypeAlias = ImageGenerator | MotionField | HeadPose | SyncExpert  # of a stage


def build(stage: str, config: NetworksConfig) -> Network:
    """The untrained network of a stage.

    Raises:
        ConfigError: for an unknown stage, or sizes that do not fit each other.
    """
    check(config)
    if stage == "image_generator":
        return ImageGenerator(config)
    if stage == "motion_field":
        detector = config.keypoint_detector
        return MotionField(
            config.motion_field, keypoints=config.keypoints, image_size=config.image_size, detector=detector
        )
    if stage == "head_pose":
        return HeadPose(config.head_pose)
    if stage == JUDGE:
        return SyncExpert(config.sync_expert)
    raise ConfigError(f"stage={stage!r} does not exist", hint=f"one of: {', '.join((*STAGES, JUDGE))}")


def save(module: nn.Module, stage: str, config: NetworksConfig, folder: Path) -> Path:
    """Write `<folder>/<stage>.safetensors`, complete or not at all; its header holds what `load`
    needs to build the network.
    """
    return weights.write(module, folder / weights.file_name(stage), stage=stage, config=config)


def load(folder: Path, stage: str) -> tuple[Network, NetworksConfig]:
    """A stage's network, in evaluation mode on the CPU, and the config it was built by.

    Raises:
        CheckpointError: when the file is missing or damaged, is of another stage or version, or any
            tensor does not fit.
    """
    path = folder / weights.file_name(stage)
    header, tensors = weights.read(path)
    if header["stage"] != stage:
        raise CheckpointError(f"{path} holds the weights of {header['stage']}, not of {stage}")
    config = weights.from_values(NetworksConfig, header["networks"], source=str(path))
    module = weights.on_meta(partial(build, stage, config))
    weights.fill(module, tensors, source=str(path))
    return module.eval(), config


def check(config: NetworksConfig) -> None:
    """Refuse sizes that would fail, or silently disagree, deep inside a network.

    Raises:
        ConfigError: naming the key, its value and what it must be.
    """
    detector, motion, window = config.keypoint_detector, config.generator.dense_motion, config.motion_field
    size, maps, flow = config.image_size, config.image_size // detector.downscale, config.image_size // motion.downscale
    teacher = "for it learns from the detector's heatmaps"
    _need(size > 0 and SIZE % size == 0, "image_size", size, f"{SIZE} or a whole part of it")
    _need(
        _halves(size, config.generator.depth),
        "generator.depth",
        config.generator.depth,
        f"so small that {size} can be halved so often",
    )
    _need(
        _halves(maps, detector.depth),
        "keypoint_detector.depth",
        detector.depth,
        f"so small that {maps} can be halved so often",
    )
    _need(
        _halves(flow, motion.depth),
        "generator.dense_motion.depth",
        motion.depth,
        f"so small that {flow} can be halved so often",
    )
    _need(window.grid % LIFT == 0, "motion_field.grid", window.grid, f"a multiple of {LIFT}")
    _need(
        window.grid == maps,
        "motion_field.grid",
        window.grid,
        f"image_size / keypoint_detector.downscale = {maps}, {teacher}",
    )
    _need(
        window.head_kernel == detector.head_kernel,
        "motion_field.head_kernel",
        window.head_kernel,
        f"keypoint_detector.head_kernel = {detector.head_kernel}, {teacher}",
    )
    expert = config.sync_expert
    _need(
        expert.width > 0 and expert.width % NORM_GROUPS == 0,
        "sync_expert.width",
        expert.width,
        f"a multiple of {NORM_GROUPS}",
    )
    _need(expert.size >= SMALLEST_MAP, "sync_expert.size", expert.size, f"{SMALLEST_MAP} or more")
    shortest = min(window.grid, WINDOW)
    _need(
        _halves(shortest, window.depth),
        "motion_field.depth",
        window.depth,
        f"so small that {shortest} can be halved so often",
    )


def _halves(size: int, times: int) -> bool:
    return size > 0 and size % 2**times == 0


def _need(condition: bool, key: str, value: object, rule: str) -> None:
    if not condition:
        raise ConfigError(f"networks.{key}={value} must be {rule}")
