"""`a2h keypoints`: the frozen detector's keypoints of every frame, once, as companion shards;
`motion_field` need not compute them again.

On a CPU the bytes are a pure function of shard, detector and batch size, whatever the number of
workers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from a2h_models.data_types import UNIT
from a2h_models.errors import ClusterError, ConfigError, InputError
from pipelines import media
from pipelines.config import KeypointsCommand
from pipelines.core.hashing import sha256_of_pieces
from pipelines.core.storage import Storage
from pipelines.dataset.keypoint_shards import encode_keypoints, keypoint_shard_name, read_keypoint_shard
from pipelines.dataset.shard_format import Encoded, ShardWriter, Sidecar, read_members, sidecar_names
from pipelines.execution import pool
from pipelines.execution.sandbox import Failure
from pipelines.execution.task import Task
from pipelines.registry import ModelRegistry

if TYPE_CHECKING:
    from a2h_models.networks import KeypointDetector

HASH_DIGITS = 12  # of the detector's hash, in the names of companions
STAGE = "image_generator"  # whose detector it is


@dataclass(frozen=True, kw_only=True)
class KeypointsSummary:
    """What there is now."""

    path: str
    detector: str  # its hash
    shards: int
    made: int  # of them, by this call
    frames: int  # of the samples in those

    def __str__(self) -> str:
        return f"{self.path}: keypoints of detector {self.detector} beside {self.shards} shards ({self.made} new, {self.frames} frames)"


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Where workers find the detector: in a folder that they see, else in the registry."""

    folder: Path
    uri: str
    registry: ModelRegistry
    sha256: str  # of the detector's tensors, shortened


def keypoints(command: KeypointsCommand) -> KeypointsSummary:
    """Write the companion of every shard that has none of this detector yet.

    Raises:
        ConfigError: if a batch would be empty.
        InputError: if there is no dataset.
        RegistryError: if there is no such detector.
        ClusterError: if workers were lost beyond their retries; the same call goes on.
    """
    if command.batch_size < 1:
        raise ConfigError(f"batch_size={command.batch_size} is no number of frames", hint="say batch_size=32")
    dataset = Storage(command.dataset)
    names = sidecar_names(dataset)
    if not names:
        raise InputError(f"{command.dataset} holds no dataset", hint="make one with `a2h prepare videos=… out=…`")
    weights = find_weights(command)
    waiting = [name for name in names if not is_done(dataset, name, weights.sha256)]
    on_gpu = command.cluster.gpus_per_worker > 0 or command.cluster.workers == 0
    build = partial(build_companion, dataset=dataset, weights=weights, batch_size=command.batch_size, on_gpu=on_gpu)
    frames = 0
    task = Task(function=build, describe="finding keypoints", key=str)
    with pool.session(command.cluster, cache=Path(command.paths.cache)):
        for name, outcome in pool.run(task, waiting, command.cluster):
            if isinstance(outcome, Failure):
                raise ClusterError(
                    f"{name}: {outcome.message}", hint="run the same command again: it goes on where it stopped"
                )
            frames += outcome
    return KeypointsSummary(
        path=command.dataset, detector=weights.sha256, shards=len(names), made=len(waiting), frames=frames
    )


def is_done(dataset: Storage, name: str, detector: str) -> bool:
    """Whether a shard has a companion, whole, for just these samples."""
    companion = read_keypoint_shard(dataset, Sidecar.from_bytes(dataset.read(name), name=name), detector)
    return companion is not None and dataset.exists(companion.shard)


def find_weights(command: KeypointsCommand) -> Weights:
    """The detector's place and hash; `latest` is settled here, once for all workers."""
    registry = ModelRegistry.from_config(command.logger)
    uri = registry.pin(command.detector)
    folder = registry.fetch(uri).absolute()
    return Weights(folder=folder, uri=uri, registry=registry, sha256=hash_of(_loaded(folder, "cpu")[0]))


def hash_of(detector: KeypointDetector) -> str:
    """Of its tensors alone: the generator that was trained beside it may change."""
    return sha256_of_pieces(_tensor_bytes(detector), digits=HASH_DIGITS)


def _tensor_bytes(network: KeypointDetector) -> Iterator[bytes]:
    for name, tensor in sorted(network.state_dict().items()):
        array = tensor.detach().cpu().numpy()
        yield f"{name} {array.dtype} {array.shape}\n".encode()
        yield np.ascontiguousarray(array).tobytes()


# --------------------------------------------------------------------------- one shard, on a worker
def build_companion(name: str, dataset: Storage, weights: Weights, batch_size: int, *, on_gpu: bool) -> int:
    """Publish the companion of one shard; how many frames it has.

    Args:
        name: of the shard's sidecar.
        dataset: on any store.
        weights: of the detector.
        batch_size: frames decoded and looked at together: what memory depends on.
        on_gpu: use one if there is one.
    """
    from a2h_models.determinism import exact

    sidecar = Sidecar.from_bytes(dataset.read(name), name=name)
    detector, size = _detector(weights, on_gpu=on_gpu)
    target = keypoint_shard_name(sidecar.shard.removesuffix(".tar"), weights.sha256)
    with ShardWriter(dataset, target) as companion, exact():
        for key in sidecar.keys:
            video = read_members(dataset, sidecar, key, ["mp4"]).members["mp4"]
            encoded = detect(detector, key, video, frames=sidecar.frames[key], size=size, batch_size=batch_size)
            companion.add(encoded, frames=sidecar.frames[key], identity=sidecar.identities[key])
    companion.finish(split=sidecar.split, unit=sidecar.unit, plan=sidecar.plan, ledger=[])
    return sum(sidecar.frames.values())


@lru_cache(maxsize=1)
def _loaded(folder: Path, device: str) -> tuple[Any, int]:
    from a2h_models.networks import ImageGenerator, load

    network, config = load(folder, STAGE)
    assert isinstance(network, ImageGenerator)
    return network.detector.to(device), config.image_size


def _detector(weights: Weights, *, on_gpu: bool) -> tuple[KeypointDetector, int]:
    """The detector and the size of its pictures, loaded once a worker."""
    import torch

    folder = weights.folder if weights.folder.is_dir() else weights.registry.fetch(weights.uri)
    return _loaded(folder, "cuda" if on_gpu and torch.cuda.is_available() else "cpu")


def detect(detector: KeypointDetector, key: str, video: bytes, *, frames: int, size: int, batch_size: int) -> Encoded:
    """The keypoints of all frames of a crop, a batch at a time."""
    import torch

    device = next(detector.parameters()).device
    values, jacobians = [], []
    for start in range(0, frames, batch_size):
        chosen = range(start, min(start + batch_size, frames))
        pixels = torch.from_numpy(media.decode_crop(video, chosen, size)).to(device)
        found = detector(pixels.permute(0, 3, 1, 2).float() * UNIT)
        values.append(found.value.cpu().numpy())
        jacobians.append(found.jacobian.cpu().numpy())
    return encode_keypoints(key, np.concatenate(values), np.concatenate(jacobians))
