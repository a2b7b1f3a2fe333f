"""A model → files that other programs run: `a2h export`, and the graphs that
`generate.backend=onnx` draws with.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from a2h_models.errors import ConfigError, FailedError, InputError
from pipelines import registry
from pipelines.config import ExportCommand, GenerateCommand

if TYPE_CHECKING:
    from a2h_models.inference.animator import Animator

FORMATS = ("onnx",)
NEEDED = ("onnx", "onnxscript", "onnxruntime")  # the extra "export"


def export(command: ExportCommand) -> str:
    """Write a model's graphs into a new folder, whole or not at all; says what is there, and how
    near to torch.

    Raises:
        ConfigError: for another format, or if the extra is not installed.
        InputError: if the folder exists.
        RegistryError: if there is no such model, or its files were changed.
        FailedError: if a graph gives other numbers than torch, or the folder cannot be written.
    """
    if command.format not in FORMATS:
        raise ConfigError(f"format={command.format} does not exist", hint=f"one of: {', '.join(FORMATS)}")
    target = Path(command.out)
    if target.exists():
        raise InputError(f"{target} exists, and is not written over", hint="remove it, or choose another name")
    _need_extra()
    source = registry.fetch(command.model, command.logger)
    rows = _publish(source, target, model=command.model)
    return "\n".join([f"{len(rows)} graphs in {target}; the largest difference from torch:", *rows])


def ported(command: GenerateCommand, folder: Path) -> Animator:
    """A model by ONNX Runtime: the graphs of a folder that `a2h export` wrote, or of a bundle;
    those are written once, into the cache.

    Raises:
        ConfigError: if the extra is not installed.
        CheckpointError: if the graphs were changed.
    """
    from a2h_models.checkpoints import bundle
    from a2h_models.inference.onnx.package import LISTING, read_graphs

    if (folder / LISTING).is_file():
        return read_graphs(folder)
    bundle.check(folder)
    known = hashlib.sha256((folder / bundle.LISTING).read_bytes()).hexdigest()  # it holds the hashes of all weights
    kept = Path(command.paths.cache) / "onnx" / known
    if not kept.is_dir():
        _need_extra()
        _publish(folder, kept, model=command.model)
    return read_graphs(kept)


def _publish(source: Path, target: Path, *, model: str) -> list[str]:
    """Write aside, then rename; who comes second to the same folder throws its own away."""
    from a2h_models.inference.animator import Animator
    from a2h_models.inference.onnx.package import write_graphs

    animator = Animator.load(source)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f"{target.name}.", suffix=".part", dir=target.parent))
    except OSError as error:
        raise FailedError(f"cannot write {target}: {error.strerror}", hint="choose another folder") from error
    try:
        written = write_graphs(animator, aside, model=model)
        aside.chmod(0o755)
        if not target.exists():
            aside.rename(target)
    except OSError as error:
        raise FailedError(
            f"cannot write {target}: {error.strerror}", hint="free some space or choose another folder"
        ) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return [f"  {each.path.name:<24} {each.difference:.1e}" for each in written]


def _need_extra() -> None:
    import importlib.util

    for package in NEEDED:
        if importlib.util.find_spec(package) is None:
            raise ConfigError(f"the package {package} is not installed", hint='install the extra "export"')
