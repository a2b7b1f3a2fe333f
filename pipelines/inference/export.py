"""Export a model as ONNX files: for `a2h export`, and for `generate.backend=onnx`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from a2h_models.errors import ConfigError, InputError
from pipelines.config import ExportCommand, GenerateCommand
from pipelines.core.files import create_folder
from pipelines.core.hashing import sha256_of_file
from pipelines.registry import ModelRegistry

if TYPE_CHECKING:
    from a2h_models.inference.animator import Animator

FORMATS = ("onnx",)
REQUIRED_PACKAGES = ("onnx", "onnxscript", "onnxruntime")  # the extra "export"


def export(command: ExportCommand) -> str:
    """Write a model's networks as ONNX graphs into a new folder, all of them or none.

    Returns:
        A text that lists the graphs and their largest difference from PyTorch.

    Raises:
        ConfigError: for another format, or if the extra is not installed.
        InputError: if the folder exists.
        RegistryError: if there is no such model, or its files were changed.
        FailedError: if a graph gives other numbers than PyTorch, or the folder cannot be written.
    """
    if command.format not in FORMATS:
        raise ConfigError(f"format={command.format} does not exist", hint=f"one of: {', '.join(FORMATS)}")
    target = Path(command.out)
    if target.exists():
        raise InputError(f"{target} exists, and is not written over", hint="remove it, or choose another name")
    _require_extra()
    source = ModelRegistry.from_config(command.logger).fetch(command.model)
    lines = _publish(source, target, model=command.model)
    return "\n".join([f"{len(lines)} graphs in {target}; largest differences from PyTorch:", *lines])


def load_onnx_animator(command: GenerateCommand, folder: Path) -> Animator:
    """Load a model that runs on ONNX Runtime.

    Args:
        command: names the model, and the cache folder.
        folder: what `a2h export` wrote, or a bundle, which is exported into the cache once.

    Raises:
        ConfigError: if the extra is not installed.
        CheckpointError: if the graphs were changed.
    """
    from a2h_models.checkpoints import bundle
    from a2h_models.inference.onnx.package import LISTING, read_graphs

    if (folder / LISTING).is_file():
        return read_graphs(folder)
    bundle.check(folder)
    weights_hash = sha256_of_file(folder / bundle.LISTING)  # the listing hashes all weights
    cached = Path(command.paths.cache) / "onnx" / weights_hash
    if not cached.is_dir():
        _require_extra()
        _publish(folder, cached, model=command.model)
    return read_graphs(cached)


def _publish(source: Path, target: Path, *, model: str) -> list[str]:
    """Write into a temporary folder and rename it.

    If another process published the folder meanwhile, that one stays.
    """
    from a2h_models.inference.animator import Animator
    from a2h_models.inference.onnx.package import write_graphs

    animator = Animator.load(source)
    with create_folder(target) as part:
        graphs = write_graphs(animator, part, model=model)
    return [f"  {graph.path.name:<24} {graph.difference:.1e}" for graph in graphs]


def _require_extra() -> None:
    import importlib.util

    for package in REQUIRED_PACKAGES:
        if importlib.util.find_spec(package) is None:
            raise ConfigError(f"the package {package} is not installed", hint='install the extra "export"')
