"""A bundle on the fastest device here."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from a2h_models.errors import ConfigError
from pipelines import registry
from pipelines.config import GenerateCommand
from pipelines.inference.export import ported

if TYPE_CHECKING:
    from a2h_models.inference.animator import Animator

TORCH, ONNX = BACKENDS = ("torch", "onnx")
COMPILERS = ("g++", "clang++")  # one of them is what torch.compile needs on a CPU


def load_animator(command: GenerateCommand) -> tuple[Animator, str]:
    """The model, and the version's own name for the file's notice.

    Raises:
        RegistryError: if there is no such model, or its files were changed.
        ConfigError: for an unknown precision, or a wish to compile without a compiler.
    """
    import torch

    from a2h_models.inference.animator import Animator

    device = "cuda" if torch.cuda.is_available() else "cpu"
    if command.generate.compile and device == "cpu" and not any(map(shutil.which, COMPILERS)):
        raise ConfigError("generate.compile=true needs a C++ compiler on a CPU", hint="install g++, or leave it out")
    if command.generate.backend not in BACKENDS:
        raise ConfigError(
            f"generate.backend={command.generate.backend} does not exist", hint=f"one of: {', '.join(BACKENDS)}"
        )
    if command.generate.backend == ONNX and (command.generate.compile or command.generate.precision == "bf16"):
        raise ConfigError(
            "generate.backend=onnx neither compiles nor draws in bf16", hint="leave compile and precision out"
        )
    folder = registry.fetch(command.model, command.logger)
    model = (
        str(registry.find(command.model, command.logger)) if command.model.startswith(registry.SCHEME) else folder.name
    )
    if command.generate.backend == ONNX:
        return ported(command, folder), model
    animator = Animator.load(folder, device, precision=command.generate.precision)
    return (animator.compile() if command.generate.compile else animator), model
