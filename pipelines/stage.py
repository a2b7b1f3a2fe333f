"""Config → what trains one stage: its networks, its losses' weights, its teacher, its perceptual network."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, cast

import torch

from a2h_models.errors import ConfigError
from a2h_models.networks import HeadPose, ImageGenerator, MotionField, PoseDiscriminator, build, load
from a2h_models.networks.perceptual import Vgg19, load_vgg19
from a2h_models.stages.head_pose import HeadPoseTraining
from a2h_models.stages.image_generator import ImageGeneratorTraining, Warping
from a2h_models.stages.motion_field import MotionFieldTraining
from a2h_models.stages.stage import Stage, adam
from pipelines import assets, registry
from pipelines.config import ImageGeneratorStage, TrainCommand

TEACHER = "models:/a2h-image-generator/latest"


def make_stage(command: TrainCommand) -> Stage:
    """The LightningModule around freshly built networks."""
    stage, networks, seed = command.stage, command.networks, command.trainer.seed
    network = build(stage.name, networks)
    if command.trainer.channels_last:
        cast("Any", network).to(memory_format=torch.channels_last)  # torch's types do not know this overload
    if command.trainer.compile:
        network.compile()
    optimise = partial(adam, lr=stage.optimiser.lr, betas=tuple(stage.optimiser.betas), milestones=tuple(stage.optimiser.milestones))
    if isinstance(network, ImageGenerator):
        return _image_generator(stage, network, optimise, seed, command.paths.assets)
    if isinstance(network, MotionField):
        weights = {"value": stage.value, "jacobian": stage.jacobian, "heatmap": stage.heatmap}
        return MotionFieldTraining(network, teacher=_teacher(command), weights=weights, optimise=optimise, seed=seed)
    assert isinstance(network, HeadPose)
    return HeadPoseTraining(
        network,
        adversary=PoseDiscriminator(networks.pose_discriminator),
        weights={"ssim": stage.ssim, "l1": stage.l1, "adversarial": stage.adversarial},
        optimise=optimise,
        clip_norm=stage.optimiser.clip_norm,
        seed=seed,
    )


def _image_generator(config: ImageGeneratorStage, network: ImageGenerator, optimise: Any, seed: int, folder: str) -> ImageGeneratorTraining:
    names = ("pixel", "perceptual", "equivariance_value", "equivariance_jacobian")
    return ImageGeneratorTraining(
        network,
        weights={name: getattr(config, name) for name in names},
        pyramid=config.pyramid,
        warping=Warping(affine_sigma=config.affine_sigma, tps_sigma=config.tps_sigma, tps_points=config.tps_points),
        optimise=optimise,
        perceptual=_vgg19(config, folder) if config.perceptual else None,
        seed=seed,
    )


def _vgg19(config: ImageGeneratorStage, folder: str) -> Vgg19:
    """The network of the perceptual loss, from where the stage says, else from the assets."""
    without = "set stage.perceptual=0 and stage.pixel=10"
    return load_vgg19(Path(config.vgg19) if config.vgg19 else assets.locate("vgg19", folder, otherwise=without))


def _teacher(command: TrainCommand) -> Any:
    """The keypoint detector of a trained image generator, which must be of this scale."""
    uri = command.stage.teacher or TEACHER
    network, config = load(registry.fetch(uri, command.logger), "image_generator")
    for key in ("image_size", "keypoints", "keypoint_detector"):
        theirs, ours = getattr(config, key), getattr(command.networks, key)
        if theirs != ours:
            raise ConfigError(
                f"the teacher {uri} has networks.{key}={theirs}, not {ours}", hint="choose its scale, or another stage.teacher"
            )
    assert isinstance(network, ImageGenerator)
    return network.detector
