"""What every generated file says of itself, and what is read back from it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from a2h_models.errors import FailedError, InputError
from pipelines import media

NOTICE = "Synthetic video: a portrait made to talk by audio2head. It shows nothing that happened."


@dataclass(frozen=True)
class GenerationOrigin:
    """From what a file was made."""

    model: str  # the version's own name
    portrait: str  # SHA-256 of the files
    speech: str
    pose: str = ""  # of the file or video that the head followed, if any
    settings: str = ""  # hash of generate/

    def notice(self) -> dict[str, str]:
        return notice(self.model, portrait=self.portrait, speech=self.speech, pose=self.pose, settings=self.settings)


def notice(model: str, *, portrait: str, speech: str, pose: str = "", settings: str = "") -> dict[str, str]:
    """The metadata of a generated file: that it is synthetic, by which model, from what (SHA-256)."""
    origin = {"synthetic": True, "model": model, "portrait_sha256": portrait, "speech_sha256": speech}
    origin |= {"pose_sha256": pose} if pose else {}
    origin |= {"settings": settings} if settings else {}
    return {"title": NOTICE, "comment": json.dumps(origin, sort_keys=True)}


def inspect(path: Path) -> dict[str, object]:
    """What a file says of itself.

    Raises:
        InputError: if there is no such file.
        MediaError: if it cannot be read.
        FailedError: if it says nothing: it is not ours, or somebody removed it.
    """
    try:
        said = json.loads(media.read_metadata(path).get("comment", ""))
    except ValueError:
        said = None
    if not isinstance(said, dict) or said.get("synthetic") is not True:
        raise FailedError(
            f"{path} does not say that it is synthetic",
            hint="it was not made by audio2head, or its metadata were lost; both are possible",
        )
    return said


def made_before(path: Path, origin: GenerationOrigin) -> bool:
    """Whether a file is there, and says that it was made from just this."""
    if not path.exists():
        return False
    try:
        return media.read_metadata(path).get("comment") == origin.notice()["comment"]
    except (FailedError, ValueError):
        return False


def sha256(path: Path) -> str:
    """Of a file.

    Raises:
        InputError: if there is none.
    """
    if not path.is_file():
        raise InputError(f"{path} is not a file")
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
