"""Find the videos, and look at each just enough to plan: content hash, duration, streams, identity."""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from a2h_models.errors import InputError, MediaError
from a2h_models.timebase import FPS
from pipelines import media
from pipelines.config import PrepareConfig
from pipelines.prepare.filters import Reason
from pipelines.prepare.plan import Video
from pipelines.storage import Storage

# what counts as a video in a folder; a file or a glob that the user names is taken as it is
SUFFIXES = frozenset(
    {
        *(".3gp", ".asf", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4"),
        *(".mpeg", ".mpg", ".mts", ".mxf", ".ogv", ".ts", ".vob", ".webm", ".wmv"),
    },
)
NO = frozenset({"false", "no", "0"})  # what a table writes where there is no consent
ADDRESS = re.compile(r" @ 0x[0-9a-f]+")  # in ffmpeg's words
HASH_CHUNK = 2**20  # bytes read at a time
SECONDS_PER_MINUTE = 60


def find_videos(where: str) -> tuple[Storage, list[str]]:
    """The videos of a folder (with its subfolders), of a glob, or a single file, on any store.

    Returns:
        The folder, and the names in it, sorted.

    Raises:
        InputError: if there is nothing there.
    """
    base, pattern = _split_glob(where)
    source = Storage(base)
    if pattern:
        names = source.files(pattern)
    elif source.is_file(""):
        parent, _, name = where.rstrip("/").rpartition("/")
        source, names = Storage(parent or "."), [name]
    else:
        names = [name for name in source.files("**") if PurePosixPath(name).suffix.lower() in SUFFIXES]
    if not names:
        raise InputError(f"no videos at {where}", hint=f"give a folder with {', '.join(sorted(SUFFIXES))}; a file; or a glob in quotes")
    return source, names


def _split_glob(where: str) -> tuple[str, str]:
    """The folder before the first part with a wildcard, and the rest; a path that exists as it stands is no glob."""
    scheme, mark, rest = where.rpartition("://")
    if not any(letter in rest for letter in "*?[") or (not mark and Path(where).exists()):
        return where, ""
    parts = rest.split("/")
    first = next(number for number, part in enumerate(parts) if any(letter in part for letter in "*?["))
    base = "/".join(parts[:first]) or ("/" if rest.startswith("/") else ".")
    return f"{scheme}{mark}{base}", "/".join(parts[first:])


@dataclass(frozen=True, kw_only=True)
class Person:
    """What a table says of a video. Columns that are not there are empty."""

    identity: str = ""
    licence: str = ""
    consent: bool = True  # False only where the table says so


def read_people(url: str) -> dict[str, Person]:
    """A CSV with the columns `file` and `identity`, and if they are there `licence` and `consent`; empty without a table.

    Raises:
        InputError: if the CSV is missing, lacks a column, or is not UTF-8.
    """
    if not url:
        return {}
    folder, _, name = url.rpartition("/")
    try:
        text = Storage(folder or ("/" if url.startswith("/") else ".")).read(name).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{url} is not UTF-8 text ({error.reason} at byte {error.start})") from None
    rows = csv.DictReader(io.StringIO(text))
    missing = {"file", "identity"} - set(rows.fieldnames or ())
    if missing:
        raise InputError(f"{url} has no column {' and '.join(sorted(missing))}", hint="the first line names the columns: file,identity")
    return {row["file"]: _person(row) for row in rows}


def _person(row: Mapping[str, str | None]) -> Person:
    consent = (row.get("consent") or "").strip().lower() not in NO
    return Person(identity=row.get("identity") or "", licence=row.get("licence") or "", consent=consent)


def person_in(file: str, people: Mapping[str, Person]) -> Person:
    """Who is in a video: by its relative name, by its bare name, else its own stem."""
    bare = PurePosixPath(file)
    person = people.get(file) or people.get(bare.name) or Person()
    return person if person.identity else replace(person, identity=bare.stem)


def probe_video(file: str, source: Storage, people: Mapping[str, Person], config: PrepareConfig) -> Video:
    """One video as the plan needs it; what is wrong with it is a reason, never an exception."""
    person = person_in(file, people)
    video = Video(file=file, sha256="", size=0, identity=person.identity, licence=person.licence)
    path = Path(file)
    try:
        with source.local_copy(file) as local:
            path = local
            sha256, size = content_hash(path)
            video = replace(video, sha256=sha256, size=size)
            if not person.consent:
                return replace(video, reason=Reason.NO_CONSENT.value, error_message="the table of identities says consent: no")
            info = media.probe(path)
    except MediaError as error:
        return replace(video, reason=Reason(error.reason).value, error_message=placeless(error.message, path, file))
    except (InputError, OSError) as error:
        return replace(video, reason=Reason.UNREADABLE.value, error_message=placeless(str(error), path, file))
    video = replace(video, frames=info.frames, fps=round(info.fps, 3), width=info.width, height=info.height)
    reason, message = first_objection(info, config)
    return replace(video, reason=reason, error_message=message)


def placeless(message: str, path: Path, file: str) -> str:
    """An error's message as a ledger may hold it: the same on every machine, without the file's place and memory addresses."""
    for place in (str(path.absolute()), str(path)):
        message = message.replace(place, file)
    return ADDRESS.sub("", message)


def first_objection(info: media.VideoInfo, config: PrepareConfig) -> tuple[str, str]:
    """Why a video needs no closer look, and the numbers that say so; empty if it does."""
    plan, clips, filters = config.plan, config.clips, config.filters
    if not info.has_audio:
        return Reason.NO_AUDIO.value, "there is no audio stream"
    if info.duration_s > plan.max_minutes * SECONDS_PER_MINUTE:
        return Reason.TOO_LONG.value, f"{info.duration_s / SECONDS_PER_MINUTE:.1f} minutes, at most {plan.max_minutes:g}"
    if info.fps < filters.min_fps:
        return Reason.LOW_FRAME_RATE.value, f"{info.fps:.2f} frames a second, at least {filters.min_fps:g}"
    if info.frames < clips.min_frames:
        return Reason.TOO_SHORT.value, f"{info.frames} frames at {FPS} a second, at least {clips.min_frames}"
    return "", ""


def content_hash(path: Path) -> tuple[str, int]:
    """Sha-256 and size of a file, read piece by piece."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as handle:
        while piece := handle.read(HASH_CHUNK):
            digest.update(piece)
            size += len(piece)
    return digest.hexdigest(), size
