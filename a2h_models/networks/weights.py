"""Weights as files: one safetensors a stage, its config in the header.

Strict: what does not fit is named.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, TypeVar, get_origin, get_type_hints

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from a2h_models.errors import CheckpointError
from a2h_models.files import atomic_path

FORMAT = "a2h-weights"
FORMAT_VERSION = 1  # of the header and of the tensors' names
# the one key of safetensors' own metadata: several would be written in a random order, and the
# bytes must not change
HEADER = "a2h"
NAMED_AT_MOST = 8  # tensors that an error lists one by one

ModuleT = TypeVar("ModuleT", bound=nn.Module)
Config = TypeVar("Config")


def file_name(stage: str) -> str:
    return f"{stage}.safetensors"


def write(module: nn.Module, path: Path, *, stage: str, config: Any) -> Path:
    """Write a network's tensors, and what is needed to build it again."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()}
    header = {"format": FORMAT, "format_version": FORMAT_VERSION, "stage": stage, "networks": asdict(config)}
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata={HEADER: json.dumps(header, sort_keys=True)})
    return path


def read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Header and tensors.

    Raises:
        CheckpointError: when the file is missing, damaged, or not one of ours.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except FileNotFoundError as error:
        raise CheckpointError(
            f"no weights at {path}", hint="train the stage, or give the folder of a trained one"
        ) from error
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} cannot be read as safetensors: {error}") from error
    header = _parsed(metadata.get(HEADER, "{}"))
    if (header.get("format"), header.get("format_version")) != (FORMAT, FORMAT_VERSION):
        found = f"{header.get('format', 'nothing')} {header.get('format_version', '')}".strip()
        raise CheckpointError(
            f"{path} is not a weights file of this version: its header says {found}, not {FORMAT} {FORMAT_VERSION}"
        )
    return header, tensors


def read_foreign(path: Path, *, hint: str) -> dict[str, Tensor]:
    """The tensors of somebody else's file, .safetensors or torch's own format; nothing in it is
    executed.

    Raises:
        CheckpointError: if it cannot be read so, or holds anything but named tensors.
    """
    try:
        state = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except UnpicklingError:  # torch's own words advise to run the file's code
        raise CheckpointError(
            f"{path} cannot be read as weights: it holds something else, or more than that", hint=hint
        ) from None
    except (OSError, RuntimeError, EOFError, SafetensorError) as error:
        raise CheckpointError(f"{path} cannot be read as weights: {str(error).splitlines()[0]}", hint=hint) from None
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in state.items()
    ):
        raise CheckpointError(f"{path} holds something else than named tensors", hint=hint)
    return state


def _parsed(text: str) -> dict[str, Any]:
    try:
        header = json.loads(text)
    except ValueError:
        return {}
    return header if isinstance(header, dict) else {}


def fill(module: nn.Module, tensors: Mapping[str, Tensor], *, source: str) -> None:
    """Give a network its tensors, all of them and no others.

    Raises:
        CheckpointError: naming every missing, unknown or wrong-shaped tensor.
    """
    wanted = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    complaints = [f"{name} is missing" for name in wanted.keys() - tensors.keys()]
    complaints += [f"{name} is unknown" for name in tensors.keys() - wanted.keys()]
    complaints += [
        f"{name} has shape {tuple(tensors[name].shape)}, not {shape}"
        for name, shape in wanted.items()
        if name in tensors and tuple(tensors[name].shape) != shape
    ]
    refuse(complaints, source=source)
    module.load_state_dict(dict(tensors), strict=True, assign=True)


def refuse(complaints: list[str], *, source: str) -> None:
    """Raise one CheckpointError for what is wrong with a checkpoint, if anything is."""
    if complaints:
        shown = sorted(complaints)[:NAMED_AT_MOST]
        rest = f"; and {len(complaints) - len(shown)} more" if len(complaints) > len(shown) else ""
        raise CheckpointError(f"{source} does not fit the network: {'; '.join(shown)}{rest}")


def from_values(kind: type[Config], values: Mapping[str, Any], *, source: str) -> Config:
    """A config dataclass from the plain values of `dataclasses.asdict`, as they come out of JSON.

    Raises:
        CheckpointError: for a key that the dataclass does not have; a missing one keeps its
            default.
    """
    hints = get_type_hints(kind)
    if unknown := sorted(values.keys() - hints.keys()):
        raise CheckpointError(
            f"{source} was written with settings unknown here: {', '.join(unknown)}", hint="update this package"
        )
    return kind(**{name: _typed(hints[name], value, source) for name, value in values.items()})


def _typed(hint: Any, value: Any, source: str) -> Any:
    if is_dataclass(hint) and isinstance(hint, type):
        return from_values(hint, value, source=source)
    return tuple(value) if get_origin(hint) is tuple else value


def on_meta(build: Callable[[], ModuleT]) -> ModuleT:
    """Build a network without memory or initial numbers, to be filled."""
    with torch.device("meta"):
        return build()
