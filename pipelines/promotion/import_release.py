"""`a2h import-release`: the published weights become a version, and champion if a person says so."""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.config import ImportReleaseCommand
from pipelines.promotion.champion import force_promote
from pipelines.promotion.decisions import Decision
from pipelines.registry import CHAMPION, ModelRegistry
from pipelines.registry.original_release import ImportedRelease, register_release

REASON = "set by hand when the release was imported; no gate was looked at"


@dataclass(frozen=True, kw_only=True)
class ReleaseImport:
    """A version that holds a release, and the decision about the alias champion, if one was asked for."""

    release: ImportedRelease
    decision: Decision | None

    def __str__(self) -> str:
        version = self.release.version
        lines = [f"{version}{', imported before from the same file' if self.release.existed else ''}"]
        if self.decision:
            lines += [
                f"{self.decision.verdict}: {REASON}",
                "next: a2h generate --source_image face.jpg --driven_audio speech.wav",
            ]
        else:
            lines += [
                f"next: a2h generate model={version} --source_image face.jpg --driven_audio speech.wav",
                "      the same command with --champion makes it what `a2h generate` uses by itself",
            ]
        return "\n".join([*lines, "      --keypoints absolute moves the face as the release does"])


def import_release(command: ImportReleaseCommand) -> ReleaseImport:
    """Register a released checkpoint, once for each file; with `champion`, give it that alias.

    Raises:
        InputError: if the file does not exist.
        CheckpointError: if it is not a release; the message says what is wrong with it.
        RegistryError: if the registry refuses.
    """
    registry = ModelRegistry.from_config(command.logger)
    release = register_release(registry, command)
    decision = force_promote(registry, release.version, CHAMPION, REASON) if command.champion else None
    return ReleaseImport(release=release, decision=decision)
