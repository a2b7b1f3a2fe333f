"""Tables that users write: what they mean, and the sentence that names file, row and column where
they mean nothing.
"""

from __future__ import annotations

import json
import math

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from a2h_models.errors import InputError
from pipelines.prepare.sources.manifest import (
    IdentityEntry,
    ManifestEntry,
    OptOuts,
    read_manifest,
    read_opt_outs,
    read_people,
)
from pipelines.prepare.sources.tables import is_table, read_table

ROWS = [
    {
        "url": "a.mp4",
        "identity": "ann",
        "start": 1.0,
        "end": 5.5,
        "licence": "CC BY",
        "consent": True,
        "camera": "left",
    },
    {"url": "sub/../b.mp4", "identity": 1001},
    {"url": "s3://other/c.mp4", "consent": False, "take": 3},
]
ENTRIES = [
    ManifestEntry("a.mp4", "ann", 25, 137, "CC BY", consent=True, extra='{"camera": "left"}'),
    ManifestEntry("b.mp4", "1001"),
    ManifestEntry("s3://other/c.mp4", consent=False, extra='{"take": 3}'),
]


def _csv(path, text):
    path.write_text(text, encoding="utf-8")
    return str(path)


def _write(path, rows):
    columns = list(dict.fromkeys(column for row in rows for column in row))
    if path.suffix == ".parquet":
        # a column has one type
        texts = [{**row, **({"identity": str(row["identity"])} if "identity" in row else {})} for row in rows]
        pq.write_table(pa.table({column: [row.get(column) for row in texts] for column in columns}), path)
    elif path.suffix == ".csv":
        lines = [",".join(str(row.get(column, "")) for column in columns) for row in rows]
        path.write_text("\ufeff" + "\r\n".join([",".join(columns), *lines]) + "\r\n\r\n", encoding="utf-8")
    else:
        path.write_text("\n\n".join(json.dumps(row) for row in rows))
    return str(path)


@pytest.mark.parametrize("suffix", [".jsonl", ".ndjson", ".parquet", ".PARQUET"])
def test_the_kinds_of_table_mean_the_same(tmp_path, suffix):
    assert list(read_manifest(_write(tmp_path / f"m{suffix.lower()}", ROWS))) == ENTRIES
    assert is_table(f"s3://bucket/m{suffix}")


def test_in_a_csv_further_columns_are_text(tmp_path):
    found = list(read_manifest(_write(tmp_path / "m.csv", ROWS)))
    assert found == [*ENTRIES[:2], ENTRIES[2]._replace(extra='{"take": "3"}')]


def test_spans_hold_only_whole_frames_exactly(tmp_path):
    # 0.28 s is 7.000000000000001 frames in binary
    url = _csv(tmp_path / "m.csv", "url,start,end\na,0.28,0.56\nb,0.01,0.99\nc,,2\nd,3,\n")
    assert [(entry.start, entry.stop) for entry in read_manifest(url)] == [(7, 14), (1, 24), (0, 50), (75, None)]


def test_file_is_another_word_for_url_and_license_for_licence(tmp_path):
    (entry,) = read_manifest(_csv(tmp_path / "m.csv", "file,license\na.mp4,MIT\n"))
    assert entry == ManifestEntry("a.mp4", licence="MIT")
    (entry,) = read_manifest(_csv(tmp_path / "m.csv", "url,file\na.mp4,b.mp4\n"))
    assert entry == ManifestEntry("a.mp4", extra='{"file": "b.mp4"}')


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("urll,identity\na.mp4,ann\n", r"m\.csv, line 2 has no url .*'urll'"),
        ("url\na.mp4\n  ,\n", r"m\.csv, line 3 has 2 values for 1 columns"),
        ("url,identity\n,ann\n", r"m\.csv, line 2 has no url"),
        ("url,start\na.mp4,soon\n", r"m\.csv, line 2, column start: 'soon' is no time in seconds"),
        ("url,start\na.mp4,-1\n", r"line 2, column start: '-1' is no time"),
        ("url,end\na.mp4,inf\n", r"line 2, column end: 'inf' is no time"),
        ("url,start,end\na.mp4,5,5\n", r"line 2, column end: 5 s is not after the start, 5 s"),
        ("url,consent\na.mp4,maybe\n", r"line 2, column consent: 'maybe' is neither yes nor no"),
        ("url\nfoo://a.mp4\n", r"line 2, column url: foo:// is no store"),
        ('url\n"a\nb.mp4"\nfoo://a.mp4\n', r"line 4, column url"),
        ("url\na\x00b\n", r"line 2, column url: 'a\\x00b' is no name"),
    ],
)
def test_a_bad_row_is_named(tmp_path, text, sentence):
    with pytest.raises(InputError, match=sentence) as refused:
        list(read_manifest(_csv(tmp_path / "m.csv", text)))
    assert str(tmp_path) in refused.value.message


def test_a_mistyped_column_brings_a_suggestion(tmp_path):
    with pytest.raises(InputError, match="has no url") as refused:
        list(read_manifest(_csv(tmp_path / "m.csv", "ulr\na.mp4\n")))
    assert refused.value.hint == "call the column 'ulr' url"


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("[1]", r"line 1 is not a JSON object"),
        ("{", r"line 1 is not JSON"),
        ('{"url": 7}', r"line 1, column url: 7 is no name"),
        ('{"url": "a", "start": true}', r"line 1, column start: True"),
        ('{"url": "a", "gain": Infinity}', r"line 1 holds a number that is not finite"),
    ],
)
def test_a_bad_line_of_json_is_named(tmp_path, line, sentence):
    with pytest.raises(InputError, match=sentence):
        list(read_manifest(_csv(tmp_path / "m.jsonl", line)))


def test_a_bad_file_is_named(tmp_path):
    (tmp_path / "m.csv").write_bytes(b"url\n\xff\xfe\n")
    with pytest.raises(InputError, match=r"m\.csv is not UTF-8"):
        list(read_table(str(tmp_path / "m.csv")))
    (tmp_path / "m.parquet").write_bytes(b"url\n")
    with pytest.raises(InputError, match=r"m\.parquet is not a Parquet file"):
        list(read_table(str(tmp_path / "m.parquet")))
    with pytest.raises(InputError, match=r"none\.csv does not exist"):
        list(read_table(str(tmp_path / "none.csv")))


def test_empty_values_are_no_values(tmp_path):
    path = tmp_path / "m.parquet"
    pq.write_table(pa.table({"url": ["a"], "start": [math.nan], "licence": [None], "note": ["  "]}), path)
    assert list(read_manifest(str(path))) == [ManifestEntry("a")]


# ------------------------------------------------------------------------------ people and opt-outs
def test_the_table_of_people(tmp_path):
    url = _csv(tmp_path / "people.csv", "\ufefffile,identity,licence,consent\na.mp4,zoë,CC BY,yes\nb.mp4,,,no\n")
    assert read_people(url) == {
        "a.mp4": IdentityEntry("zoë", "CC BY", consent=True),
        "b.mp4": IdentityEntry(consent=False),
    }
    assert read_people("") == {}


@pytest.mark.parametrize(
    ("text", "sentence"), [("name,who\na,b\n", "has no file"), ("file,who\na,b\n", "names nobody")]
)
def test_a_table_without_people_is_refused(tmp_path, text, sentence):
    with pytest.raises(InputError, match=sentence):
        read_people(_csv(tmp_path / "people.csv", text))


def test_opt_outs_are_identities_and_hashes(tmp_path):
    digest = "AB" * 32
    expected = OptOuts(frozenset({"ann", "Bob B."}), frozenset({digest.lower()}))
    assert read_opt_outs(_csv(tmp_path / "o.txt", f"# who said no\nann\n\n  Bob B. \n{digest}\n")) == expected
    assert read_opt_outs(_csv(tmp_path / "o.csv", f"identity,sha256\nann,{digest}\nBob B.,\n")) == expected
    assert read_opt_outs("") == OptOuts()
    assert expected.objection("ann", "") == "ann is on the list of opt-outs"
    assert "abab" in expected.objection("eve", digest.lower())
    assert not expected.objection("Ann", "00")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("name\nann\n", "has neither identity nor sha256"),
        ("sha256\nabc\n", "column sha256: 'abc' is not 64 hexadecimal"),
    ],
)
def test_a_list_of_opt_outs_that_could_be_misread_is_refused(tmp_path, text, sentence):
    with pytest.raises(InputError, match=sentence):
        read_opt_outs(_csv(tmp_path / "o.csv", text))
    with pytest.raises(InputError, match="does not exist"):
        read_opt_outs(str(tmp_path / "none.txt"))
