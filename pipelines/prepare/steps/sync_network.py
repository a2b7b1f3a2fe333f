"""The network that preparation asks whether sound and lips are in time: SyncNet, or our own sync
expert.

The driver finds it once; a plan names it by the hash of its weights; each worker loads it, from a
path that it sees or from the registry.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32, Int16, UInt8

from a2h_models.errors import CheckpointError, ConfigError, InputError
from pipelines.config import PrepareCommand, PrepareConfig, TrackingConfig
from pipelines.core.hashing import sha256_of_file
from pipelines.registry import SCHEME, ModelRegistry

if TYPE_CHECKING:  # torch: 300 MB that most preparations do without
    from a2h_models.evaluators.syncnet import SyncNet
    from a2h_models.metrics.lip_sync import LipSync
    from a2h_models.metrics.sync_expert import ExpertSync
    from a2h_models.networks import SyncExpert

SYNCNET, SYNC_EXPERT = "syncnet", "sync_expert"  # keys of prepare.features
EXPERT_FILE = "sync_expert.safetensors"
BY_HASH = "sha256:"  # before the hash that names weights in a plan


@dataclass(frozen=True, kw_only=True)
class SyncNetworkRef:
    """Which network, and where workers find it."""

    key: str  # SYNCNET | SYNC_EXPERT
    path: Path  # as the driver sees it: SyncNet's file, or the expert's folder
    uri: str  # models:/NAME/VERSION, for workers that do not see the path; empty: it is in no registry
    logger: TrackingConfig = field(hash=False)
    sha256: str  # of the file of weights

    @property
    def weights(self) -> Path:
        return self.path / EXPERT_FILE if self.key == SYNC_EXPERT else self.path


# -------------------------------------------------------------------------------- on the driver
def find_sync_network(command: PrepareCommand) -> SyncNetworkRef | None:
    """The network that the settings name, loaded once, so that what does not fit is told before any
    video is looked at; None names none.

    Raises:
        ConfigError: if two are named.
        InputError: if there is no such file or folder.
        RegistryError: if there is no such version, or its files were changed.
        CheckpointError: if the weights cannot be read, or are something else's.
    """
    settings = command.prepare.features
    if settings.syncnet and settings.sync_expert:
        raise ConfigError(
            "prepare.features.syncnet and prepare.features.sync_expert are both given, and only one of them can decide",
            hint="leave one of them empty",
        )
    if not (settings.syncnet or settings.sync_expert):
        return None
    found = (
        _syncnet(settings.syncnet, command.logger)
        if settings.syncnet
        else _expert(settings.sync_expert, command.logger)
    )
    load_sync_network(found)
    return found


def pin_weights(config: PrepareConfig, judge: SyncNetworkRef | None) -> PrepareConfig:
    """The settings with the weights' hash for their place: the same weights elsewhere make the same
    plan, and others another one.
    """
    if judge is None:
        return config
    changed: dict[str, Any] = {judge.key: BY_HASH + judge.sha256}
    return replace(config, features=replace(config.features, **changed))


def _syncnet(said: str, logger: TrackingConfig) -> SyncNetworkRef:
    path = Path(said).absolute()
    if not path.is_file():
        raise InputError(f"prepare.features.syncnet={said} is not a file", hint="`a2h assets fetch syncnet` gets it")
    return SyncNetworkRef(key=SYNCNET, path=path, uri="", logger=logger, sha256=sha256_of_file(path))


def _expert(said: str, logger: TrackingConfig) -> SyncNetworkRef:
    """By name, folder or file; `latest` and aliases are settled here, once for all workers."""
    hint = "name what `a2h train stage=sync_expert` has trained: models:/a2h-sync-expert/latest, or its run's folder"
    if Path(said).is_file():
        if Path(said).name != EXPERT_FILE:
            raise CheckpointError(f"prepare.features.sync_expert={said} is not called {EXPERT_FILE}", hint=hint)
        said = str(Path(said).parent)
    registry = ModelRegistry.from_config(logger)
    uri = registry.pin(said) if said.startswith(SCHEME) else ""
    found = SyncNetworkRef(
        key=SYNC_EXPERT, path=registry.fetch(uri or said).absolute(), uri=uri, logger=logger, sha256=""
    )
    if not found.weights.is_file():
        raise CheckpointError(f"prepare.features.sync_expert={uri or said} holds no {EXPERT_FILE}", hint=hint)
    return replace(found, sha256=sha256_of_file(found.weights))


# -------------------------------------------------------------------------------- on a worker
@functools.lru_cache(maxsize=1)
def load_sync_network(judge: SyncNetworkRef) -> SyncNet | SyncExpert:
    """The network, on the CPU, once a process.

    Raises:
        CheckpointError: if this machine has no such weights, or others.
        RegistryError: if they must come from the registry, and cannot.
    """
    from a2h_models.evaluators.metric_networks import load_sync_expert
    from a2h_models.metrics.lip_sync import load_syncnet

    if judge.uri and not judge.path.exists():
        judge = replace(judge, path=ModelRegistry.from_config(judge.logger).fetch(judge.uri))
    if judge.weights.is_file() and sha256_of_file(judge.weights) != judge.sha256:
        raise CheckpointError(
            f"{judge.weights} is not the file that the plan was made with", hint="all machines need the same weights"
        )
    return load_syncnet(str(judge.path)) if judge.key == SYNCNET else load_sync_expert(judge.path)


def ask(
    judge: SyncNetworkRef,
    frames: UInt8[np.ndarray, "t 256 256 3"],
    landmarks: Float32[np.ndarray, "t 468 3"],
    wave: Int16[np.ndarray, " n"],
) -> LipSync | ExpertSync | None:
    """What the network says of a clip, to the last bit the same on any machine's number of cores;
    None: too short for it.

    Args:
        judge: which network.
        frames: the crop.
        landmarks: of the crop, without gaps.
        wave: 16 kHz mono, of the same frames.

    Raises:
        CheckpointError, RegistryError: as `load_sync_network`.
    """
    from a2h_models.determinism import exact
    from a2h_models.evaluators.syncnet import SyncNet
    from a2h_models.metrics.lip_sync import lip_sync, sync_faces
    from a2h_models.metrics.sync_expert import expert_sync

    network = load_sync_network(judge)
    with exact():
        if isinstance(network, SyncNet):
            return lip_sync(network, sync_faces(frames, landmarks), wave)
        return expert_sync(network, frames, landmarks, wave)
