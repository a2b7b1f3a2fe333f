"""The published weights in and out of the registry.

An import registers the three stages as well as their bundle, so that a training can go on from any
of them. They carry the tag `origin=release` and the SHA-256 of the file; what they were trained on
is not known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from torch import nn

from a2h_models.checkpoints.original_release import check_scale, read_release, write_release
from a2h_models.errors import InputError, RegistryError
from a2h_models.inference.animator import Animator
from a2h_models.networks import STAGES, NetworksConfig, save
from pipelines.config import ExportReleaseCommand, ImportReleaseCommand
from pipelines.core.hashing import sha256_of_file
from pipelines.pretrained import assets
from pipelines.registry.model_registry import ModelRegistry
from pipelines.registry.versions import BUNDLE, ModelVersion

ASSET = "audio2head"  # the release, in conf/assets.yaml
ORIGIN, SOURCE_HASH, SOURCE_FILE = "origin", "source_sha256", "source_file"  # tags
RELEASE = "release"  # value of ORIGIN


# ----------------------------------------------------------------------------------------- import
@dataclass(frozen=True, kw_only=True)
class ImportedRelease:
    """The bundle that holds a release."""

    version: ModelVersion
    existed: bool  # it was imported before, from a file of equal hash


def register_release(registry: ModelRegistry, command: ImportReleaseCommand) -> ImportedRelease:
    """Make a version of the bundle from a released checkpoint, once for each file.

    Raises:
        InputError: if the file does not exist.
        CheckpointError: if it is not a release; the message says what is wrong with it.
        RegistryError: if the registry refuses.
    """
    path = (
        Path(command.file)
        if command.file
        else assets.locate(ASSET, command.paths.assets, otherwise="say where it is: file=…")
    )
    if not path.is_file():
        raise InputError(
            f"there is no file {path}",
            hint="the release's is called audio2head.pth.tar; `a2h assets` says where it is from",
        )
    tags = {ORIGIN: RELEASE, SOURCE_HASH: sha256_of_file(path), SOURCE_FILE: path.name}
    existing = _find_imported(registry, tags[SOURCE_HASH])
    if existing:
        return ImportedRelease(version=existing, existed=True)
    return ImportedRelease(version=_register(registry, read_release(path), tags), existed=False)


def _find_imported(registry: ModelRegistry, sha256: str) -> ModelVersion | None:
    """The newest import of a file with this hash; None if the version's own files have changed."""
    version = registry.find_tagged(BUNDLE, SOURCE_HASH, sha256)
    try:
        return version if version and registry.fetch_version(version) else None
    except RegistryError:
        return None


def _register(registry: ModelRegistry, networks: dict[str, nn.Module], tags: Mapping[str, str]) -> ModelVersion:
    run_id = registry.tracker.open_run("import release", tags=tags)
    uris: dict[str, str] = {}
    for stage in STAGES:
        with TemporaryDirectory() as folder:
            save(networks.pop(stage), stage, NetworksConfig(), Path(folder))
            uris[stage] = registry.register_stage(Path(folder), stage, run_id=run_id, tags=tags).uri
    bundle = registry.register_bundle(uris)
    registry.set_tags(bundle, tags)
    registry.tracker.close_run(run_id)
    return registry.find(bundle.uri)


# ----------------------------------------------------------------------------------------- export
def export_release(command: ExportReleaseCommand) -> Path:
    """Write a bundle in the release's format, whole or not at all.

    Networks that the release's own program could not run are refused.

    Raises:
        InputError: if there is no such folder, or the file exists.
        RegistryError: if there is no such version, or its files were changed.
        CheckpointError: if it is no bundle, or its networks are not of the release's sizes.
    """
    target = Path(command.out)
    if target.exists():
        raise InputError(f"{target} exists, and weights are not written over", hint="remove it, or choose another name")
    animator = Animator.load(ModelRegistry.from_config(command.logger).fetch(command.model))
    modules: dict[str, nn.Module] = {stage: getattr(animator, stage) for stage in STAGES}
    check_scale(modules, animator.config, source=command.model)
    target.parent.mkdir(parents=True, exist_ok=True)
    return write_release(modules, target)
