"""Configurations: one module a group of conf/, dataclasses with the meaning below each field."""

from a2h_models.settings import REQUIRED as MISSING
from pipelines.config.app import AppCommand
from pipelines.config.cluster import ClusterConfig
from pipelines.config.dataset import DatasetConfig
from pipelines.config.demo import DemoCommand, TalkersCommand
from pipelines.config.evaluate import EXPERT, EvaluateCommand, EvaluateConfig, FreezeCommand
from pipelines.config.generate import ExportCommand, GenerateCommand, GenerateConfig, InspectCommand
from pipelines.config.hashes import config_hash
from pipelines.config.models import (
    AssetsCommand,
    CardCommand,
    CopyCommand,
    ExportReleaseCommand,
    ImportReleaseCommand,
    ModelsCommand,
    RegisterCommand,
)
from pipelines.config.paths import PathsConfig
from pipelines.config.prepare import (
    ClipsConfig,
    FeaturesConfig,
    FiltersConfig,
    ForgetCommand,
    KeypointsCommand,
    PlanConfig,
    PrepareCommand,
    PrepareConfig,
    SplitCommand,
    VerifyCommand,
)
from pipelines.config.promotion import PromoteCommand, PromoteConfig, RollbackCommand
from pipelines.config.tracking import TrackingConfig
from pipelines.config.training import (
    HeadPoseStage,
    ImageGeneratorStage,
    MotionFieldStage,
    OptimiserConfig,
    StageConfig,
    SyncExpertStage,
    TrainCommand,
    TrainerConfig,
)

__all__ = [
    "EXPERT",
    "MISSING",
    "AppCommand",
    "AssetsCommand",
    "CardCommand",
    "ClipsConfig",
    "ClusterConfig",
    "CopyCommand",
    "DatasetConfig",
    "DemoCommand",
    "EvaluateCommand",
    "EvaluateConfig",
    "ExportCommand",
    "ExportReleaseCommand",
    "FeaturesConfig",
    "FiltersConfig",
    "ForgetCommand",
    "FreezeCommand",
    "GenerateCommand",
    "GenerateConfig",
    "HeadPoseStage",
    "ImageGeneratorStage",
    "ImportReleaseCommand",
    "InspectCommand",
    "KeypointsCommand",
    "ModelsCommand",
    "MotionFieldStage",
    "OptimiserConfig",
    "PathsConfig",
    "PlanConfig",
    "PrepareCommand",
    "PrepareConfig",
    "PromoteCommand",
    "PromoteConfig",
    "RegisterCommand",
    "RollbackCommand",
    "SplitCommand",
    "StageConfig",
    "SyncExpertStage",
    "TalkersCommand",
    "TrackingConfig",
    "TrainCommand",
    "TrainerConfig",
    "VerifyCommand",
    "config_hash",
]
