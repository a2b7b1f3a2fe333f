"""SHA-256 of files, streams, texts and JSON values, in lower-case hexadecimal digits."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

CHUNK_BYTES = 2**20  # read at a time, so that memory does not grow with the file
SHA256_DIGITS = 64
NUMBER_DIGITS = 16  # of a hash that is read as a number, which is 64 bits
HASH_NUMBERS: int = 16**NUMBER_DIGITS  # how many such numbers there are


class StreamHash(NamedTuple):
    """The hash of a stream and the number of bytes read from it."""

    sha256: str
    size: int


def sha256_of_stream(stream: IO[bytes]) -> StreamHash:
    """Read a binary stream to its end, piece by piece, and hash it."""
    digest, size = hashlib.sha256(), 0
    for piece in _pieces(stream):
        digest.update(piece)
        size += len(piece)
    return StreamHash(digest.hexdigest(), size)


def _pieces(stream: IO[bytes]) -> Iterator[bytes]:
    while piece := stream.read(CHUNK_BYTES):
        yield piece


def sha256_of_file(path: Path) -> str:
    """Hash a local file.

    Raises:
        OSError: if it cannot be read.
    """
    with path.open("rb") as stream:
        return sha256_of_stream(stream).sha256


def sha256_of_bytes(data: bytes, *, digits: int = SHA256_DIGITS) -> str:
    """Hash bytes; give the first `digits` hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()[:digits]


def sha256_of_text(text: str, *, digits: int = SHA256_DIGITS) -> str:
    """Hash a text as UTF-8; give the first `digits` hexadecimal digits.

    File names that are not UTF-8 (surrogates of `os.fsdecode`) are hashed as their raw bytes.
    """
    return sha256_of_bytes(text.encode("utf-8", "surrogateescape"), digits=digits)


def sha256_of_json(values: Any, *, digits: int = SHA256_DIGITS) -> str:
    """Hash a value as JSON with sorted keys; give the first `digits` hexadecimal digits."""
    return sha256_of_text(json.dumps(values, sort_keys=True), digits=digits)


def sha256_of_pieces(pieces: Iterable[bytes], *, digits: int = SHA256_DIGITS) -> str:
    """Hash pieces one after the other, without separators; give the first `digits` digits."""
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()[:digits]


def hash_number(text: str) -> int:
    """Map a text to a number in [0, HASH_NUMBERS) by the first 64 bits of its hash."""
    return int(sha256_of_text(text, digits=NUMBER_DIGITS), 16)
