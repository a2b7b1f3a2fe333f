"""A model's ONNX graphs as a folder: seven files and `onnx.json`, which says what they are and is
written last.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from a2h_models.errors import CheckpointError, FailedError
from a2h_models.files import atomic_path, sha256
from a2h_models.inference.onnx.export import OPSET, OnnxGraph, graphs, write
from a2h_models.inference.onnx.runtime import SUFFIX, OnnxHeadPose, OnnxImageGenerator, OnnxMotionField, OnnxSession
from a2h_models.networks import NetworksConfig
from a2h_models.networks.weights import from_values

if TYPE_CHECKING:
    from a2h_models.inference.animator import Animator

LISTING = "onnx.json"
FORMAT, VERSION = "a2h-onnx", 1
TOLERANCE = 1e-3  # between a graph's numbers and torch's
SIZES = (1, 3)  # of batches that are compared; two is what was traced


@dataclass(frozen=True)
class ExportedPackage:
    """One graph that was written and compared."""

    name: str
    path: Path
    difference: float  # the largest


def write_graphs(animator: Animator, folder: Path, *, model: str) -> list[ExportedPackage]:
    """Write all graphs of a model in 32 bits on a CPU, each compared with torch.

    Raises:
        FailedError: if one gives other numbers than torch.
    """
    written = list(_written(animator, folder))
    content = {
        "format": FORMAT,
        "schema_version": VERSION,
        "model": model,
        "opset": OPSET,
        "networks": asdict(animator.config),
        "files": {each.path.name: sha256(each.path) for each in written},
        "largest_difference": {each.name: each.difference for each in written},
    }
    with atomic_path(folder / LISTING) as temporary:
        temporary.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return written


def _written(animator: Animator, folder: Path) -> Iterator[ExportedPackage]:
    for graph in graphs(animator):
        path = folder / f"{graph.name}{SUFFIX}"
        write(graph, path)
        difference = max(_difference(graph, OnnxSession(folder, graph.name), size) for size in SIZES)
        if not difference <= TOLERANCE:
            raise FailedError(
                f"{path} gives other numbers than torch: they differ by {difference:.2g}", hint="this is a bug of ours"
            )
        yield ExportedPackage(graph.name, path, difference)


@torch.inference_mode()
def _difference(graph: OnnxGraph, session: OnnxSession, size: int) -> float:
    inputs = [torch.cat([x] * size)[:size] if name in graph.batched else x for name, x in graph.inputs.items()]
    wanted = graph.network(*inputs)
    pairs = zip(wanted if isinstance(wanted, tuple) else (wanted,), session(*inputs), strict=True)
    return max(float((ours - theirs).abs().max()) for ours, theirs in pairs)


def read_graphs(folder: Path) -> Animator:
    """An animator whose networks run in ONNX Runtime.

    Raises:
        CheckpointError: when a file is missing, is not the one that was written, or is of another
            version.
        ConfigError: if ONNX Runtime is not installed.
    """
    from a2h_models.inference.animator import Animator

    config = from_values(NetworksConfig, _listing(folder)["networks"], source=str(folder / LISTING))
    pose = OnnxHeadPose(folder, layers=config.head_pose.layers)
    return Animator(OnnxImageGenerator(folder), OnnxMotionField(folder), pose, config)


def _listing(folder: Path) -> dict[str, Any]:
    path = folder / LISTING
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        found = (content["format"], content["schema_version"])
        files = dict(content["files"])
    except OSError:
        raise CheckpointError(f"{folder} holds no {LISTING}", hint="`a2h export` writes such folders") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise CheckpointError(f"{path} is damaged", hint="export the model again") from None
    if found != (FORMAT, VERSION):
        raise CheckpointError(
            f"{path} says {found[0]} {found[1]}, not {FORMAT} {VERSION}", hint="export the model again"
        )
    for name, expected in files.items():
        if not (folder / name).is_file() or sha256(folder / name) != expected:
            raise CheckpointError(
                f"{folder / name} is not the file that {LISTING} lists", hint="export the model again"
            )
    return content
