"""Load a model on the fastest device of this machine."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from a2h_models.errors import ConfigError
from pipelines.config import GenerateCommand, GenerateConfig
from pipelines.inference.export import load_onnx_animator
from pipelines.registry import SCHEME, ModelRegistry

if TYPE_CHECKING:
    from a2h_models.inference.animator import Animator

TORCH, ONNX = BACKENDS = ("torch", "onnx")
COMPILERS = ("g++", "clang++")  # torch.compile needs one of them on a CPU


@dataclass(frozen=True)
class LoadedModel:
    """A model that is ready to generate."""

    animator: Animator
    name: str
    """Version (`models:/audio2head/3`) or folder name, as written into generated files."""


def load_animator(command: GenerateCommand) -> LoadedModel:
    """Load the model that `command.model` names.

    Raises:
        RegistryError: if there is no such model, or its files were changed.
        ConfigError: for an unknown backend or precision, settings that exclude each other, or
            `compile` on a CPU without a compiler.
    """
    import torch

    from a2h_models.inference.animator import Animator

    settings = command.generate
    device = "cuda" if torch.cuda.is_available() else "cpu"
    _validate_settings(settings, device)
    registry = ModelRegistry.from_config(command.logger)
    uri = registry.pin(command.model)
    folder = registry.fetch(uri)
    name = uri if uri.startswith(SCHEME) else folder.name
    if settings.backend == ONNX:
        return LoadedModel(load_onnx_animator(command, folder), name)
    animator = Animator.load(folder, device, precision=settings.precision)
    return LoadedModel(animator.compile() if settings.compile else animator, name)


def _validate_settings(settings: GenerateConfig, device: str) -> None:
    if settings.compile and device == "cpu" and not any(map(shutil.which, COMPILERS)):
        raise ConfigError("generate.compile=true needs a C++ compiler on a CPU", hint="install g++, or leave it out")
    if settings.backend not in BACKENDS:
        raise ConfigError(f"generate.backend={settings.backend} does not exist", hint=f"one of: {', '.join(BACKENDS)}")
    if settings.backend == ONNX and (settings.compile or settings.precision == "bf16"):
        raise ConfigError(
            "generate.backend=onnx supports neither compile nor bf16", hint="leave compile and precision out"
        )
