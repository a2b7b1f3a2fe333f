"""Networks of other people, and our sync expert, that measure; each only where its weights are."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from torch import nn

from a2h_models.evaluators.arcface import ArcFace, load_arcface
from a2h_models.evaluators.i3d import I3D, load_i3d
from a2h_models.evaluators.inception import Inception, load_inception
from a2h_models.evaluators.lpips import Lpips, load_lpips
from a2h_models.evaluators.syncnet import SyncNet, load_syncnet
from a2h_models.networks import JUDGE, SyncExpert, load


@dataclass(frozen=True, kw_only=True)
class MetricNetworks:
    """None: not here, so that what it would measure is not measured.

    Those of other people are named as their weights in `a2h assets`.
    """

    syncnet: SyncNet | None = None  # LSE
    alexnet: Lpips | None = None  # LPIPS
    arcface: ArcFace | None = None  # CSIM
    inception: Inception | None = None  # FID
    i3d: I3D | None = None  # FVD
    sync_expert: SyncExpert | None = None  # our own


THIRD_PARTY = tuple(field.name for field in fields(MetricNetworks) if field.name != JUDGE)


def load_sync_expert(folder: Path) -> SyncExpert:
    """From a folder with `sync_expert.safetensors`.

    Raises:
        CheckpointError: when the file is missing or damaged, or does not fit.
    """
    network, _ = load(folder, JUDGE)
    assert isinstance(network, SyncExpert)
    return network


LOADERS: Mapping[str, Callable[[Path], nn.Module]] = {
    "syncnet": lambda path: load_syncnet(str(path)),
    "alexnet": load_lpips,
    "arcface": load_arcface,
    "inception": load_inception,
    "i3d": load_i3d,
    JUDGE: load_sync_expert,
}


def load_metric_networks(paths: Mapping[str, str], device: str) -> MetricNetworks:
    """Those whose weights lie at a path.

    Args:
        paths: field of `MetricNetworks` → file, or the expert's folder; what is left out is not
            here.
        device: where they compute; SyncNet stays on the CPU.

    Raises:
        CheckpointError: if weights cannot be read, or are others.
    """
    found: dict[str, Any] = {name: _loaded(name, path, device) for name, path in paths.items() if path}
    return MetricNetworks(**found)


@functools.cache
def _loaded(name: str, path: str, device: str) -> nn.Module:
    network = LOADERS[name](Path(path))
    return network if name == "syncnet" else network.to(device)
