"""Write and read the metadata by which a generated file says that it is synthetic."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from a2h_models.errors import FailedError, InputError
from pipelines import media
from pipelines.core.hashing import sha256_of_file

NOTICE = "Synthetic video: a portrait made to talk by audio2head. It shows nothing that happened."


@dataclass(frozen=True)
class GenerationOrigin:
    """What a generated file was made from."""

    model: str  # name of the version, such as models:/audio2head/3
    portrait: str  # SHA-256 of the file
    speech: str  # SHA-256 of the file
    pose: str = ""  # SHA-256 of the file or video that drove the head, if any
    settings: str = ""  # hash of the group generate/

    def metadata(self) -> dict[str, str]:
        """Return the file's metadata: title (a sentence) and comment (JSON of this object)."""
        origin = {
            "synthetic": True,
            "model": self.model,
            "portrait_sha256": self.portrait,
            "speech_sha256": self.speech,
        }
        origin |= {"pose_sha256": self.pose} if self.pose else {}
        origin |= {"settings": self.settings} if self.settings else {}
        return {"title": NOTICE, "comment": json.dumps(origin, sort_keys=True)}


def read_provenance(path: Path) -> dict[str, object]:
    """Return what a generated file says about its origin.

    Raises:
        InputError: if there is no such file.
        MediaError: if it cannot be read.
        FailedError: if it says nothing: another program made it, or its metadata were removed.
    """
    try:
        origin = json.loads(media.read_metadata(path).get("comment", ""))
    except ValueError:
        origin = None
    if not isinstance(origin, dict) or origin.get("synthetic") is not True:
        raise FailedError(
            f"{path} does not say that it is synthetic",
            hint="it was not made by audio2head, or its metadata were lost; both are possible",
        )
    return origin


def is_up_to_date(path: Path, origin: GenerationOrigin) -> bool:
    """Return whether the file exists and was made from exactly this origin."""
    if not path.exists():
        return False
    try:
        return media.read_metadata(path).get("comment") == origin.metadata()["comment"]
    except (FailedError, ValueError):
        return False


def sha256(path: Path) -> str:
    """Hash a file.

    Raises:
        InputError: if there is none.
    """
    if not path.is_file():
        raise InputError(f"{path} is not a file")
    return sha256_of_file(path)
