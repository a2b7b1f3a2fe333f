"""What goes into preparation: the videos of a folder, a glob, a file or a manifest, on any store,
and who is in them.
"""

from __future__ import annotations

import itertools
import posixpath
from collections.abc import Iterable, Mapping
from operator import attrgetter
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from a2h_models.errors import ConfigError, InputError
from pipelines.config import PrepareCommand
from pipelines.core.storage import Storage
from pipelines.media.formats import VIDEO_SUFFIXES
from pipelines.prepare.sources.layouts import Names, names_of
from pipelines.prepare.sources.manifest import (
    IdentityEntry,
    ManifestEntry,
    OptOuts,
    read_manifest,
    read_opt_outs,
    read_people,
)
from pipelines.prepare.sources.tables import is_table

NOBODY = Names("", "", "")


class Inputs(NamedTuple):
    """All that goes in, and who must not. Names are relative to `source`, or urls."""

    source: Storage
    videos: list[tuple[ManifestEntry, ...]]  # each file with its spans, by name: what is probed at once
    opt_outs: OptOuts = OptOuts()


def find_inputs(command: PrepareCommand) -> Inputs:
    """List the videos, leave all but the first `limit` by name, and say who is in each.

    Of the identity, the manifest's word counts first, then the table of identities', then the
    layout's, then the file's own stem.

    Raises:
        ConfigError, InputError: if there is nothing, or what the user says of it makes no sense.
    """
    if command.limit < 0:
        raise ConfigError(f"limit={command.limit} is not a number of videos", hint="0 takes all")
    source, listed = from_manifest(command.videos) if is_table(command.videos) else from_files(command.videos)
    listed.sort(key=attrgetter("file", "start"))
    videos = [tuple(group) for _, group in itertools.groupby(listed, key=attrgetter("file"))][: command.limit or None]
    people, opt_outs = read_people(command.prepare.plan.identity_csv), read_opt_outs(command.prepare.plan.opt_out)
    names = names_of((entries[0].file for entries in videos), command.layout) if command.layout else {}
    known = [tuple(introduced(entries, people, names.get(entries[0].file, NOBODY))) for entries in videos]
    return Inputs(source, known, opt_outs)


def from_files(where: str) -> tuple[Storage, list[ManifestEntry]]:
    source, files = find_videos(where)
    return source, [ManifestEntry(file) for file in files]


def from_manifest(url: str) -> tuple[Storage, list[ManifestEntry]]:
    entries = list(read_manifest(url))
    if not entries:
        raise InputError(
            f"{url} lists no videos", hint="a manifest has a row a video: url, identity, start, end, licence, consent"
        )
    folder, slash, _ = url.rpartition("/")
    return Storage(folder or slash or "."), entries


def introduced(
    entries: Iterable[ManifestEntry], people: Mapping[str, IdentityEntry], names: Names
) -> Iterable[ManifestEntry]:
    """The entries of one file with what the table of identities and the layout say; a refusal of
    either table counts.
    """
    for entry in entries:
        bare = PurePosixPath(entry.file)
        person = people.get(entry.file) or people.get(bare.name) or IdentityEntry()
        refused = entry.consent is False or person.consent is False
        yield entry._replace(
            identity=entry.identity or person.identity or names.identity or bare.stem,
            licence=entry.licence or person.licence,
            consent=False if refused else entry.consent or person.consent,
            video_id=names.video,
            utterance=names.utterance,
        )


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
        names = [name for name in source.entries("**") if PurePosixPath(name).suffix.lower() in VIDEO_SUFFIXES]
    if not names:
        hint = f"give a folder with {', '.join(sorted(VIDEO_SUFFIXES))}; a file; a glob in quotes; or a manifest (.csv, .jsonl, .parquet)"
        raise InputError(f"no videos at {where}", hint=hint)
    return source, names


def _split_glob(where: str) -> tuple[str, str]:
    """The folder before the first part with a wildcard, and the rest; a path that exists as it
    stands is no glob.
    """
    scheme, mark, rest = where.rpartition("://")
    if not any(letter in rest for letter in "*?[") or (not mark and Path(where).exists()):
        return where, ""
    parts = rest.split("/")
    first = next(number for number, part in enumerate(parts) if any(letter in part for letter in "*?["))
    base = "/".join(parts[:first]) or ("/" if rest.startswith("/") else ".")
    return f"{scheme}{mark}{base}", "/".join(parts[first:])


def placed(file: str, source: Storage) -> tuple[Storage, str]:
    """Where a video of the input lies: the store, and the name in it.

    What has `//` or a leading `/` is a place of its own.
    """
    if file.startswith("../") and not source.local:  # stores have no parent folders of their own
        scheme, mark, rest = source.url.partition("://")
        file = f"{scheme}{mark}{posixpath.normpath(f'{rest}/{file}')}"
    if "://" not in file and not file.startswith("/"):
        return source, file
    folder, slash, name = file.rpartition("/")
    return Storage(folder or slash), name
