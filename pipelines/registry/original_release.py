"""The published weights in and out: `a2h import-release`, `a2h export-release`.

An import registers the three stages as well as their bundle, so that a training can go on from any
of them. They carry the tag `origin=release` and the SHA-256 of the file, and know nothing of the
data they were trained on.
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
from pipelines.config import ExportReleaseCommand, ImportReleaseCommand, RegisterCommand, TrackingConfig
from pipelines.pretrained import assets
from pipelines.promotion.champion import force_promote
from pipelines.registry.artifacts import fetch, sha256_of
from pipelines.registry.decisions import Decision
from pipelines.registry.register import register_bundle, register_stage
from pipelines.registry.versions import BUNDLE, CHAMPION, ModelVersion, version_of
from pipelines.tracking.tracker import close_run, open_run, session

ASSET = "audio2head"  # the release, in conf/assets.yaml
ORIGIN, SOURCE_HASH, SOURCE_FILE = "origin", "source_sha256", "source_file"  # tags
RELEASE = "release"  # value of ORIGIN
BY_HAND = "set by hand when the release was imported; no gate was looked at"


# ----------------------------------------------------------------------------------------------- in
@dataclass(frozen=True, kw_only=True)
class Imported:
    """A version made of a release."""

    version: ModelVersion
    known: bool  # it was there already, from the same file
    decision: Decision | None  # of the alias champion, where that was asked for

    def __str__(self) -> str:
        lines = [f"{self.version}{', imported before from the same file' if self.known else ''}"]
        if self.decision:
            lines += [
                f"{self.decision.verdict}: {BY_HAND}",
                "next: a2h generate --source_image face.jpg --driven_audio speech.wav",
            ]
        else:
            lines += [
                f"next: a2h generate model={self.version} --source_image face.jpg --driven_audio speech.wav",
                "      the same command with --champion makes it what `a2h generate` uses by itself",
            ]
        return "\n".join([*lines, "      --keypoints absolute moves the face as the release does"])


def import_release(command: ImportReleaseCommand) -> Imported:
    """Make a version of the bundle from a released checkpoint, once: the same file again gives the
    same version.

    Raises:
        InputError: if the file is not there.
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
    digest = sha256_of(path)
    known = _known(digest, command.logger)
    version = known or _register(
        read_release(path), {ORIGIN: RELEASE, SOURCE_HASH: digest, SOURCE_FILE: path.name}, command
    )
    decision = force_promote(version, CHAMPION, BY_HAND, command.logger) if command.champion else None
    return Imported(version=version, known=known is not None, decision=decision)


def _known(digest: str, logger: TrackingConfig) -> ModelVersion | None:
    """The newest version that was imported from a file of this hash; None if its own files are not
    sound any more.
    """
    with session(logger) as client:
        found = client.search_model_versions(
            f"name = '{BUNDLE}' and tags.{SOURCE_HASH} = '{digest}'", max_results=1, order_by=["version_number DESC"]
        )
        version = version_of(client, found[0]) if found else None
    try:
        return version if version and fetch(version.uri, logger) else None
    except RegistryError:
        return None


def _register(modules: dict[str, nn.Module], tags: Mapping[str, str], command: ImportReleaseCommand) -> ModelVersion:
    logger = command.logger
    run_id = open_run(logger, run_name="import release", tags=tags)
    uris: dict[str, str] = {}
    for stage in STAGES:
        with TemporaryDirectory() as aside:
            save(modules.pop(stage), stage, NetworksConfig(), Path(aside))
            uris[stage] = register_stage(Path(aside), stage, run_id=run_id, tags=tags, logger=logger).uri
    version = register_bundle(RegisterCommand(**uris, logger=logger, paths=command.paths))
    with session(logger) as client:
        for key, value in tags.items():
            client.set_model_version_tag(version.name, str(version.version), key, value)
        found = version_of(client, client.get_model_version(version.name, str(version.version)))
    close_run(run_id, logger=logger)
    return found


# ---------------------------------------------------------------------------------------------- out
def export_release(command: ExportReleaseCommand) -> Path:
    """Write a bundle in the release's format, whole or not at all. What the release's own program
    could not run is refused.

    Raises:
        InputError: if there is no such folder, or the file exists.
        RegistryError: if there is no such version, or its files were changed.
        CheckpointError: if it is no bundle, or its networks are not of the release's sizes.
    """
    target = Path(command.out)
    if target.exists():
        raise InputError(f"{target} exists, and weights are not written over", hint="remove it, or choose another name")
    animator = Animator.load(fetch(command.model, command.logger))
    modules: dict[str, nn.Module] = {stage: getattr(animator, stage) for stage in STAGES}
    check_scale(modules, animator.config, source=command.model)
    target.parent.mkdir(parents=True, exist_ok=True)
    return write_release(modules, target)
