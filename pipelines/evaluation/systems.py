"""The systems whose videos are measured, and the networks that measure them.

A system is a model of ours, or a folder of videos that any other system generated, named by the
keys of the clips.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from a2h_models.data_types import SIZE
from a2h_models.errors import InputError, RegistryError
from a2h_models.metrics import NEEDS
from pipelines.config import EXPERT, EvaluateCommand
from pipelines.core.hashing import sha256_of_text
from pipelines.pretrained import assets
from pipelines.registry import BUNDLE, CHAMPION, SCHEME, ModelRegistry

if TYPE_CHECKING:
    from a2h_models.evaluators.metric_networks import MetricNetworks
    from a2h_models.inference.animator import Animator

VIDEOS = "videos:"  # before a folder of videos, where a model is asked for
SYNC_EXPERT = "sync_expert"  # field of `MetricNetworks`


@dataclass(frozen=True, kw_only=True)
class SystemsUnderTest:
    """The systems and metric networks of an evaluation, as paths: each worker loads them."""

    candidate: str  # folder of a bundle, or of third-party videos
    third_party: bool  # whether the candidate is a folder of videos
    champion: str = ""  # folder of a bundle; empty: there is none, or it is the candidate
    champion_uri: str = ""
    weights: Mapping[str, str] = field(default_factory=dict)  # field of `MetricNetworks` → path of its weights
    sync_expert_uri: str = ""  # empty: there is none

    @property
    def fingerprint(self) -> str:
        """Hash of all paths, sizes and times of files: results count only for an equal one."""
        lines = [json.dumps(dict(self.weights), sort_keys=True)]
        for folder in filter(None, (self.candidate, self.champion)):
            for file in sorted(Path(folder).rglob("*")):
                status = file.stat()
                lines.append(f"{file}\0{status.st_size}\0{status.st_mtime_ns}\n")
        return sha256_of_text("".join(lines))


class LocatedModel(NamedTuple):
    """A model by name and folder; both are empty where there is none."""

    uri: str = ""
    folder: str = ""


def locate_systems(command: EvaluateCommand, registry: ModelRegistry) -> SystemsUnderTest:
    """Find the candidate, the champion if it is another one, and the metric networks that are here.

    Raises:
        InputError: if the folder of videos does not exist.
        RegistryError: if there is no such model, or its files were changed.
    """
    expert = _locate_sync_expert(command.evaluate.sync_expert, registry)
    weights = _third_party_weights(command.paths.assets) | ({SYNC_EXPERT: expert.folder} if expert.folder else {})
    candidate = _locate_candidate(command.model, registry)
    champion = _locate_champion(command.model, registry) if command.evaluate.champion else LocatedModel()
    return SystemsUnderTest(
        candidate=str(candidate.absolute()),
        third_party=command.model.startswith(VIDEOS),
        champion=champion.folder,
        champion_uri=champion.uri,
        weights=weights,
        sync_expert_uri=expert.uri,
    )


def _locate_candidate(model: str, registry: ModelRegistry) -> Path:
    if not model.startswith(VIDEOS):
        return registry.fetch(model)
    folder = Path(model.removeprefix(VIDEOS))
    if not folder.is_dir():
        raise InputError(
            f"{folder} is not a folder of videos", hint="it should hold one video a clip, named by the clip's key"
        )
    return folder


def _locate_champion(candidate: str, registry: ModelRegistry) -> LocatedModel:
    """The champion, unless there is none or it is the candidate."""
    try:
        champion = registry.find(f"{SCHEME}{BUNDLE}@{CHAMPION}")
    except RegistryError:
        return LocatedModel()
    if registry.pin(candidate) == champion.uri:
        return LocatedModel()
    return LocatedModel(champion.uri, str(registry.fetch_version(champion).absolute()))


def _locate_sync_expert(uri: str, registry: ModelRegistry) -> LocatedModel:
    """The sync expert, unless none was trained and none was asked for by name.

    Raises:
        RegistryError: if there is no such expert.
    """
    if not uri:
        return LocatedModel()
    try:
        pinned = registry.pin(uri)
        return LocatedModel(pinned, str(registry.fetch(pinned).absolute()))
    except RegistryError:
        if uri != EXPERT:
            raise
        return LocatedModel()


def _third_party_weights(folder: str) -> dict[str, str]:
    """Those third-party networks whose weights are in the folder of assets → their files."""
    known = assets.list_assets(folder)
    return {name: str(assets.locate(name, folder).absolute()) for name in NEEDS if known[name].path.is_file()}


# --------------------------------------------------------------------------------- on a worker
def metric_networks_for(systems: SystemsUnderTest) -> MetricNetworks:
    """The networks that measure, loaded once in a worker."""
    import torch

    from a2h_models.evaluators.metric_networks import load_metric_networks

    return load_metric_networks(systems.weights, "cuda" if torch.cuda.is_available() else "cpu")


def image_size(systems: SystemsUnderTest) -> int:
    """Pixels a side at which videos are compared: the candidate's own."""
    return SIZE if systems.third_party else load_animator(systems.candidate).config.image_size


@functools.lru_cache(maxsize=2)
def load_animator(folder: str) -> Animator:
    """Load a bundle, once in a worker; two are kept, the candidate and the champion."""
    import torch

    from a2h_models.inference.animator import Animator

    return Animator.load(Path(folder), "cuda" if torch.cuda.is_available() else "cpu")
