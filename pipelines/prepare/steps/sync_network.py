"""The network that preparation asks whether sound and lips are in time: SyncNet, or our own sync
expert.

The driver locates it once; a plan names it by the hash of its weights; each worker loads it from
the driver's path or, where that path does not exist, locates it again by name.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32, Int16, UInt8

from a2h_models.errors import CheckpointError, ConfigError, InputError
from pipelines.config import PrepareConfig
from pipelines.core.hashing import sha256_of_file

if TYPE_CHECKING:  # torch: 300 MB that most preparations do without
    from a2h_models.evaluators.syncnet import SyncNet
    from a2h_models.metrics.lip_sync import LipSync
    from a2h_models.metrics.sync_expert import ExpertSync

SYNCNET, SYNC_EXPERT = "syncnet", "sync_expert"  # keys of prepare.features
EXPERT_FILE = "sync_expert.safetensors"
SCHEME = "models:/"  # of names that `fetch` resolves to a folder
BY_HASH = "sha256:"  # before the hash that names weights in a plan


def locate(name: str) -> Path:
    """Find the local folder of a name; torch is imported only where one is looked up."""
    from a2h_models.checkpoints import bundle

    return bundle.locate(name)


@dataclass(frozen=True, kw_only=True)
class SyncNetworkRef:
    """Which network, and where workers find it."""

    key: str  # SYNCNET | SYNC_EXPERT
    path: Path  # as the driver sees it: SyncNet's file, or the expert's folder
    uri: str  # models:/NAME/VERSION, for workers that do not see the path; empty: it is in no registry
    sha256: str  # of the file of weights
    fetch: Callable[[str], Path] = field(default=locate, compare=False)  # name → local folder

    @property
    def weights(self) -> Path:
        return self.path / EXPERT_FILE if self.key == SYNC_EXPERT else self.path


# -------------------------------------------------------------------------------- on the driver
def find_sync_network(config: PrepareConfig, fetch: Callable[[str], Path] = locate) -> SyncNetworkRef | None:
    """Load the network that the settings name once, so that an error comes before any video is read.

    Args:
        config: prepare/; `features` names at most one network. None is returned if it names none.
        fetch: finds the local folder of a name such as models:/NAME/VERSION.

    Raises:
        ConfigError: if two are named.
        InputError: if there is no such file or folder.
        RegistryError: if there is no such version, or its files were changed.
        CheckpointError: if the weights cannot be read, or are another network's.
    """
    settings = config.features
    if settings.syncnet and settings.sync_expert:
        raise ConfigError(
            "prepare.features.syncnet and prepare.features.sync_expert are both given, and only one of them can decide",
            hint="leave one of them empty",
        )
    if not (settings.syncnet or settings.sync_expert):
        return None
    network = _syncnet(settings.syncnet) if settings.syncnet else _expert(settings.sync_expert, fetch)
    load_sync_network(network)
    return network


def pin_weights(config: PrepareConfig, judge: SyncNetworkRef | None) -> PrepareConfig:
    """Replace the weights' place in the settings by their hash, which then decides the plan."""
    if judge is None:
        return config
    changed: dict[str, Any] = {judge.key: BY_HASH + judge.sha256}
    return replace(config, features=replace(config.features, **changed))


def _syncnet(name: str) -> SyncNetworkRef:
    path = Path(name).absolute()
    if not path.is_file():
        raise InputError(f"prepare.features.syncnet={name} is not a file", hint="`a2h assets fetch syncnet` gets it")
    return SyncNetworkRef(key=SYNCNET, path=path, uri="", sha256=sha256_of_file(path))


def _expert(name: str, fetch: Callable[[str], Path]) -> SyncNetworkRef:
    """Locate the expert by name of a registry, folder, or file."""
    hint = "name what `a2h train stage=sync_expert` has trained: models:/a2h-sync-expert/latest, or its run's folder"
    if Path(name).is_file():
        if Path(name).name != EXPERT_FILE:
            raise CheckpointError(f"prepare.features.sync_expert={name} is not called {EXPERT_FILE}", hint=hint)
        name = str(Path(name).parent)
    uri = name if name.startswith(SCHEME) else ""
    if not (uri or Path(name).is_dir()):
        raise InputError(f"prepare.features.sync_expert={name} is neither a folder nor a model", hint=hint)
    folder = fetch(name).absolute()
    if not (folder / EXPERT_FILE).is_file():
        raise CheckpointError(f"prepare.features.sync_expert={name} holds no {EXPERT_FILE}", hint=hint)
    return SyncNetworkRef(
        key=SYNC_EXPERT, path=folder, uri=uri, sha256=sha256_of_file(folder / EXPERT_FILE), fetch=fetch
    )


# -------------------------------------------------------------------------------- on a worker
@functools.lru_cache(maxsize=1)
def load_sync_network(judge: SyncNetworkRef) -> SyncNet | Any:  # or a SyncExpert
    """Load the network on the CPU, once a process.

    Raises:
        CheckpointError: if this machine has no such weights, or others.
        RegistryError: if they must come from a registry, and cannot.
    """
    from a2h_models.evaluators.metric_networks import load_sync_expert
    from a2h_models.evaluators.syncnet import load_syncnet

    if judge.uri and not judge.path.exists():
        judge = replace(judge, path=judge.fetch(judge.uri))
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
    """Return the network's offset and confidence for a clip; None if the clip is too short for it.

    The result does not depend on the number of cores, to the last bit.

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
