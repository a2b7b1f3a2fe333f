"""A bundle on the fastest device here."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from a2h_models.errors import ConfigError
from pipelines import registry
from pipelines.config import GenerateCommand

if TYPE_CHECKING:
    from a2h_models.animator import Animator

COMPILERS = ("g++", "clang++")  # one of them is what torch.compile needs on a CPU


def load_animator(command: GenerateCommand) -> tuple[Animator, str]:
    """The model, and the version's own name for the file's notice.

    Raises:
        RegistryError: if there is no such model, or its files were changed.
        ConfigError: for an unknown precision, or a wish to compile without a compiler.
    """
    import torch

    from a2h_models.animator import Animator

    device = "cuda" if torch.cuda.is_available() else "cpu"
    if command.generate.compile and device == "cpu" and not any(map(shutil.which, COMPILERS)):
        raise ConfigError("generate.compile=true needs a C++ compiler on a CPU", hint="install g++, or leave it out")
    folder = registry.fetch(command.model, command.logger)
    model = str(registry.find(command.model, command.logger)) if command.model.startswith(registry.SCHEME) else folder.name
    animator = Animator.load(folder, device, precision=command.generate.precision)
    return (animator.compile() if command.generate.compile else animator), model
