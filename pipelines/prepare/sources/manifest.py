"""What tables say of videos: manifests (what goes in), tables of identities (who is in it), and
lists of opt-outs (who must not be).

A table that does not make sense is an error before anything starts; a row that does, but whose
video cannot be used, becomes a row of the ledger.
"""

from __future__ import annotations

import difflib
import json
import math
import posixpath
from collections.abc import Iterator, Mapping
from decimal import Decimal, InvalidOperation
from functools import cache
from typing import Any, NamedTuple

import fsspec

from a2h_models.errors import InputError
from a2h_models.timebase import FPS
from pipelines.core.storage import Storage
from pipelines.prepare.sources.tables import TableRow, is_empty, read_table

YES, NO = frozenset({"true", "yes", "1", "1.0"}), frozenset({"false", "no", "0", "0.0"})
SYNONYMS = {"license": "licence"}
KNOWN = frozenset({"url", "file", "identity", "start", "end", "licence", "consent"})
SHA256_DIGITS = 64
COMMENT = "#"  # begins a line of a plain list of opt-outs that is none


class ManifestEntry(NamedTuple):
    """One thing that goes in: a video, or a span of one, and what is said of it."""

    file: str  # relative to the input's folder, or a url of its own
    identity: str = ""
    start: int = 0  # first frame of the span, at 25 fps
    stop: int | None = None  # frame behind the last one; None: to the video's end
    licence: str = ""
    consent: bool | None = None  # None: not stated
    video_id: str = ""  # the dataset's own names, where a layout knows them
    utterance: str = ""
    extra: str = ""  # further columns, as JSON


class IdentityEntry(NamedTuple):
    """What a table of identities says of a video. Columns that are not there are empty."""

    identity: str = ""
    licence: str = ""
    consent: bool | None = None


# -------------------------------------------------------------------------------- what goes in
def read_manifest(url: str) -> Iterator[ManifestEntry]:
    """The rows of a manifest: `url` (or `file`), and if they are there `identity`, `start` and
    `end` in seconds, `licence`, `consent`.

    Any other column is kept. Names without a scheme are relative to the manifest.

    Raises:
        InputError: naming the row and the column that make no sense.
    """
    for row in read_table(url):
        values = {SYNONYMS.get(column, column): value for column, value in row.values.items()}
        key = _naming_column(values, row)
        start, stop = _span(values, row)
        yield ManifestEntry(
            file=_located(values[key], TableRow(f"{row.place}, column {key}", values)),
            identity=_text(values.get("identity")),
            start=start,
            stop=stop,
            licence=_text(values.get("licence")),
            consent=_consent(values, row),
            extra=_extra(values, key, row.place),
        )


def _naming_column(values: Mapping[str, Any], row: TableRow) -> str:
    key = next((column for column in ("url", "file") if column in values), "")
    if not key:
        near = difflib.get_close_matches("url", values, n=1, cutoff=0.5)
        there = ", ".join(map(repr, row.values)) or "nothing"
        hint = (
            f"call the column {near[0]!r} url"
            if near
            else "a manifest has the columns url, identity, start, end, licence, consent"
        )
        raise InputError(f"{row.place} has no url (its columns with a value: {there})", hint=hint)
    return key


def _located(value: Any, row: TableRow) -> str:
    """A video's name in its usual form; a scheme must be one that some store has."""
    if not isinstance(value, str) or "\0" in value:
        raise InputError(f"{row.place}: {value!r} is no name of a video")
    scheme, mark, _ = value.partition("://")
    if not mark:
        return posixpath.normpath(value)
    if not _known_scheme(scheme.rpartition("::")[2]):
        raise InputError(
            f"{row.place}: {scheme}:// is no store that fsspec knows", hint="say for example s3://, gs:// or https://"
        )
    return value


@cache
def _known_scheme(scheme: str) -> bool:
    return scheme in fsspec.available_protocols()


def _span(values: Mapping[str, Any], row: TableRow) -> tuple[int, int | None]:
    """The frames that lie wholly between `start` and `end`; exact, since decimals are."""
    start, end = (
        _seconds(values[name], f"{row.place}, column {name}") if name in values else None for name in ("start", "end")
    )
    if end is not None and end <= (start or 0):
        raise InputError(f"{row.place}, column end: {end} s is not after the start, {start or 0} s")
    return math.ceil((start or 0) * FPS), None if end is None else math.floor(end * FPS)


def _seconds(value: Any, place: str) -> Decimal:
    try:
        seconds = Decimal(str(value).strip())
    except InvalidOperation:
        seconds = Decimal("NaN")
    if isinstance(value, bool) or not seconds.is_finite() or seconds < 0:
        raise InputError(f"{place}: {value!r} is no time in seconds", hint="say for example 12.48")
    return seconds


def _consent(values: Mapping[str, Any], row: TableRow) -> bool | None:
    if "consent" not in values:
        return None
    word = str(values["consent"]).strip().lower()
    if word not in YES | NO:
        message = f"{row.place}, column consent: {values['consent']!r} is neither yes nor no"
        raise InputError(message, hint="leave it empty if it is not known")
    return word in YES


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()


def _extra(values: Mapping[str, Any], key: str, place: str) -> str:
    """Columns without a meaning to us, as JSON; what JSON does not know (dates) as text."""
    known = KNOWN - {"url", "file"} | {"", key}
    kept = {column: value for column, value in values.items() if column not in known}
    try:
        return json.dumps(kept, sort_keys=True, default=str, allow_nan=False) if kept else ""
    except ValueError:
        raise InputError(f"{place} holds a number that is not finite: {kept}") from None


# -------------------------------------------------------------------------------- who is in it
def read_people(url: str) -> dict[str, IdentityEntry]:
    """A table with the columns `file` and `identity`, and if they are there `licence` and
    `consent`; empty without a table.

    Raises:
        InputError: if it is missing, lacks a column, or a value makes no sense.
    """
    people = {}
    for row in read_table(url) if url else ():
        values = {SYNONYMS.get(column, column): value for column, value in row.values.items()}
        if "file" not in values:
            raise InputError(f"{row.place} has no file", hint="a table of identities has the columns file,identity")
        person = IdentityEntry(_text(values.get("identity")), _text(values.get("licence")), _consent(values, row))
        people[_text(values["file"])] = person
    if url and not any(person.identity for person in people.values()):
        raise InputError(f"{url} names nobody", hint="a table of identities has the columns file,identity")
    return people


# ---------------------------------------------------------------------------- who must not be in it
class OptOuts(NamedTuple):
    """Who and what must not be used, whatever other tables say."""

    identities: frozenset[str] = frozenset()
    hashes: frozenset[str] = frozenset()  # SHA-256 of videos, lower case

    def objection(self, identity: str, sha256: str) -> str:
        """Why a video must not be used; empty if it may."""
        if identity in self.identities:
            return f"{identity} is on the list of opt-outs"
        return f"the video {sha256} is on the list of opt-outs" if sha256 in self.hashes else ""


def read_opt_outs(url: str) -> OptOuts:
    """A table with the columns `identity` and/or `sha256`, or a plain list with one of either a
    line; empty without a url.

    Raises:
        InputError: if it is missing, or holds neither: a list that is misread would let people in
            who said no.
    """
    if not url:
        return OptOuts()
    names = list(_plain_list(url) if url.lower().endswith(".txt") else _listed(url))
    hashes = frozenset(name.lower() for name in names if _is_hash(name))
    return OptOuts(identities=frozenset(name for name in names if not _is_hash(name)), hashes=hashes)


def _is_hash(name: str) -> bool:
    return len(name) == SHA256_DIGITS and all(letter in "0123456789abcdef" for letter in name.lower())


def _plain_list(url: str) -> Iterator[str]:
    folder, slash, name = url.rpartition("/")
    try:
        text = Storage(folder or slash or ".").read(name).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{url} is not UTF-8 text ({error.reason} at byte {error.start})") from None
    yield from (line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith(COMMENT))


def _listed(url: str) -> Iterator[str]:
    for row in read_table(url):
        found = [_text(row.values[column]) for column in ("identity", "sha256") if not is_empty(row.values.get(column))]
        if not found:
            raise InputError(
                f"{row.place} has neither identity nor sha256",
                hint="or give a .txt with one identity or SHA-256 a line",
            )
        if (digest := _text(row.values.get("sha256"))) and not _is_hash(digest):
            raise InputError(f"{row.place}, column sha256: {digest!r} is not {SHA256_DIGITS} hexadecimal digits")
        yield from found
