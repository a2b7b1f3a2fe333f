"""One SHA-256 for files, streams, texts and JSON."""

import hashlib
import io
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from pipelines.core import hashing


@given(st.binary(max_size=64))
def test_file_stream_and_pieces_agree_with_hashlib(data: bytes) -> None:
    expected = hashlib.sha256(data).hexdigest()
    assert hashing.sha256_of_stream(io.BytesIO(data)) == (expected, len(data))
    assert hashing.sha256_of_bytes(data) == expected
    assert hashing.sha256_of_pieces([data[:10], data[10:]]) == expected


def test_a_file_larger_than_one_read_is_hashed_whole(tmp_path: Path) -> None:
    data = bytes(range(256)) * (hashing.CHUNK_BYTES // 256) + b"rest"
    (tmp_path / "file").write_bytes(data)
    assert hashing.sha256_of_file(tmp_path / "file") == hashlib.sha256(data).hexdigest()


def test_json_ignores_the_order_of_keys() -> None:
    assert hashing.sha256_of_json({"a": 1, "b": 2}) == hashing.sha256_of_json({"b": 2, "a": 1})
    assert hashing.sha256_of_json({}, digits=16) == hashlib.sha256(b"{}").hexdigest()[:16]


def test_the_hash_as_a_number_is_its_first_64_bits() -> None:
    digest = hashlib.sha256(b"7\nann").digest()
    assert hashing.hash_number("7\nann") == int.from_bytes(digest[:8], "big")


def test_names_that_are_not_utf8_hash_as_their_bytes() -> None:
    assert hashing.sha256_of_text("\udcff") == hashlib.sha256(b"\xff").hexdigest()
