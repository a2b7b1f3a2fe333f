"""Config → what trains one stage: its networks, its losses' weights, its teacher, its perceptual
network.
"""

from __future__ import annotations

import json
from dataclasses import asdict, is_dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from a2h_models.errors import ConfigError
from a2h_models.networks import (
    HeadPose,
    ImageGenerator,
    MotionField,
    Network,
    NetworksConfig,
    PatchDiscriminator,
    PoseDiscriminator,
    SyncExpert,
    build,
    load,
)
from a2h_models.networks.perceptual import Vgg19, load_vgg19
from a2h_models.training.base import TrainingModule, adam
from a2h_models.training.equivariance import Warping
from a2h_models.training.head_pose import HeadPoseModule, TeacherForcing
from a2h_models.training.image_generator import (
    AdversarialImageGeneratorModule,
    Augmentation,
    ImageGeneratorBase,
    ImageGeneratorModule,
)
from a2h_models.training.motion_field import MotionFieldModule, Phases, PredictedPoses, Rendering
from a2h_models.training.sync_expert import SyncExpertModule
from pipelines.config.training import (
    HeadPoseStage,
    ImageGeneratorStage,
    MotionFieldStage,
    SyncExpertStage,
    TrainCommand,
)
from pipelines.pretrained import assets
from pipelines.registry import ModelRegistry

TEACHER, PREDICTOR = "models:/a2h-image-generator/latest", "models:/a2h-head-pose/latest"
NEEDED = {  # of another network, so that it fits this training: keys of networks
    "image_generator": ("image_size", "keypoints", "keypoint_detector", "generator"),
    "motion_field": ("image_size", "keypoints", "motion_field"),
    "head_pose": ("head_pose",),
    "sync_expert": ("sync_expert",),
}
TAUGHT = ("image_size", "keypoints", "keypoint_detector")  # what a student shares with its teacher


def make_stage(command: TrainCommand) -> TrainingModule:
    """The LightningModule around networks, freshly built or with the weights of `stage.init_from`."""
    stage, trainer = command.stage, command.trainer
    network = _begun(command)
    if trainer.channels_last:
        cast("Any", network).to(memory_format=torch.channels_last)  # torch's types do not know this overload
    if trainer.compile:
        for part in _called(network):
            part.compile()
    rates = stage.optimiser
    optimise = partial(
        adam,
        lr=rates.lr,
        betas=tuple(rates.betas),
        milestones=tuple(rates.milestones),
        warmup=rates.warmup,
        cosine=rates.cosine,
    )
    settings: dict[str, Any] = {"optimise": optimise, "seed": trainer.seed}
    in_turns = {"clip_norm": rates.clip_norm, "accumulate": trainer.accumulate_grad_batches}
    if isinstance(network, ImageGenerator):
        return _image_generator(command, network, settings, in_turns)
    if isinstance(network, MotionField):
        return _motion_field(command, network, settings)
    if isinstance(network, SyncExpert):
        config: SyncExpertStage = command.stage
        weights = {"contrastive": config.contrastive}
        return SyncExpertModule(network, weights=weights, jitter=config.jitter, mirror=config.mirror, **settings)
    return _head_pose(command, network, settings | in_turns)


def _called(network: nn.Module) -> list[nn.Module]:
    """The parts that training calls, each by itself; torch compiles no LSTM."""
    if isinstance(network, ImageGenerator):
        return [network.detector, network.generator]
    return [network.look, network.listen] if isinstance(network, HeadPose) else [network]


def _begun(command: TrainCommand) -> Network:
    network = build(command.stage.name, command.networks)
    if command.stage.init_from:
        theirs = trained(
            command, "stage.init_from", command.stage.init_from, command.stage.name, NEEDED[command.stage.name]
        )
        network.load_state_dict(theirs.state_dict())
    return network


def _image_generator(
    command: TrainCommand, network: ImageGenerator, settings: dict[str, Any], in_turns: dict[str, Any]
) -> ImageGeneratorBase:
    config: ImageGeneratorStage = command.stage
    names = ("pixel", "perceptual", "equivariance_value", "equivariance_jacobian", "adversarial", "feature_matching")
    settings = settings | {
        "weights": {name: getattr(config, name) for name in names},
        "pyramid": config.pyramid,
        "warping": Warping(affine_sigma=config.affine_sigma, tps_sigma=config.tps_sigma, tps_points=config.tps_points),
        "perceptual": _vgg19(config, command.paths.assets),
        "augmentation": Augmentation(mirror=config.mirror, jitter=config.jitter),
    }
    if not config.adversarial:
        return ImageGeneratorModule(network, **settings)
    adversary = PatchDiscriminator(command.networks.discriminator, keypoints=command.networks.keypoints)
    return AdversarialImageGeneratorModule(network, adversary=adversary, **settings, **in_turns)


def _motion_field(command: TrainCommand, network: MotionField, settings: dict[str, Any]) -> MotionFieldModule:
    config: MotionFieldStage = command.stage
    _check_motion_field(config)
    predictor: HeadPose | None = None
    if config.predicted_share:
        found = trained(command, "stage.head_pose", config.head_pose or PREDICTOR, "head_pose", ("image_size",))
        assert isinstance(found, HeadPose)
        predictor = found
    names = ("value", "jacobian", "heatmap", "pixel", "perceptual")
    looking = teacher(command)
    if network.anchor is not None and not config.init_from:
        network.anchor.detector.load_state_dict(looking.detector.state_dict())
    return MotionFieldModule(
        network,
        teacher=looking,
        weights={name: getattr(config, name) for name in names},
        phases=Phases(
            rendering=Rendering(
                frames=config.rendered_frames,
                pyramid=config.pyramid,
                perceptual=_vgg19(config, command.paths.assets) if config.rendered_frames else None,
            ),
            poses=PredictedPoses(
                network=predictor, share=config.predicted_share, start=config.predicted_from, end=config.predicted_to
            ),
        ),
        jitter=config.jitter,
        **settings,
    )


def _check_motion_field(config: MotionFieldStage) -> None:
    if config.companions and config.heatmap:
        raise ConfigError(
            f"stage.heatmap={config.heatmap:g} needs the teacher's heatmaps, which companion shards do not hold",
            hint="set stage.heatmap=0, or stage.companions=false",
        )
    if config.rendered_frames and not (config.pixel or config.perceptual):
        raise ConfigError(
            f"stage.rendered_frames={config.rendered_frames}, but nothing compares them",
            hint="set stage.perceptual or stage.pixel",
        )


def _head_pose(command: TrainCommand, network: HeadPose, settings: dict[str, Any]) -> HeadPoseModule:
    config: HeadPoseStage = command.stage
    return HeadPoseModule(
        network,
        adversary=PoseDiscriminator(command.networks.pose_discriminator),
        weights={
            name: getattr(config, name)
            for name in ("ssim", "l1", "global_variance", "unseen_identity_spread", "adversarial")
        },
        forcing=TeacherForcing(every=config.forced_every, until=config.forced_until),
        jitter=config.jitter,
        unseen_identity_start_step=config.unseen_identity_start_step,
        **settings,
    )


def _vgg19(config: ImageGeneratorStage | MotionFieldStage, folder: str) -> Vgg19 | None:
    """The network of the perceptual loss, if that has a weight, from where the stage says, else
    from the assets.
    """
    if not config.perceptual:
        return None
    without = "set stage.perceptual=0 and stage.pixel=10"
    return load_vgg19(Path(config.vgg19) if config.vgg19 else assets.locate("vgg19", folder, otherwise=without))


# -------------------------------------------------------------------------------- trained networks
def teacher(command: TrainCommand) -> ImageGenerator:
    """The trained image generator, which must be of this scale."""
    network = trained(command, "stage.teacher", command.stage.teacher or TEACHER, "image_generator", TAUGHT)
    assert isinstance(network, ImageGenerator)
    return network


def trained(command: TrainCommand, key: str, uri: str, stage: str, needed: tuple[str, ...]) -> Network:
    """A trained network from the registry or a folder.

    Args:
        command: whose registry, and whose networks it is to fit.
        key: of the config, that asks for it.
        uri: models:/… or a folder.
        stage: that it was trained by.
        needed: parts of `networks` that must be the same.

    Raises:
        ConfigError: if it is of another scale.
    """
    network, config = load(ModelRegistry.from_config(command.logger).fetch(uri), stage)
    _check_same(
        config, command.networks, needed, what=f"the {'teacher' if key == 'stage.teacher' else stage} {uri}", key=key
    )
    return network


def _check_same(theirs: NetworksConfig, ours: NetworksConfig, keys: tuple[str, ...], *, what: str, key: str) -> None:
    for name in keys:
        if _plain(getattr(theirs, name)) != _plain(getattr(ours, name)):
            raise ConfigError(
                f"{what} has networks.{name}={getattr(theirs, name)}, not {getattr(ours, name)}",
                hint=f"choose its scale, or another {key}",
            )


def _plain(value: Any) -> Any:
    """As JSON holds it: what was read from weights has tuples where what was composed has lists."""
    return json.loads(json.dumps(asdict(value) if is_dataclass(value) and not isinstance(value, type) else value))
