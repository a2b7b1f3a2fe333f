"""croissant.json: the data card for machines, JSON-LD after MLCommons' Croissant 1.0.

It names every shard with its hash, and every member of a sample with its key. No path of this
machine and no name of a person stands in it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from pipelines.core.hashing import sha256_of_stream
from pipelines.core.storage import Storage
from pipelines.dataset.shard_format import MEMBERS
from pipelines.dataset.summary import DatasetSummary
from pipelines.prepare.output.ledger import LEDGER_FILE
from pipelines.prepare.output.summary import ShardFacts
from pipelines.prepare.planning.plan import SPLITS, Plan

CROISSANT_FILE = "croissant.json"
CONFORMS_TO = "http://mlcommons.org/croissant/1.0"
KEY_IN_NAME = r"^([^.]*)"  # keys have no dots
VERSION_DIGITS = 12  # of the fingerprint
CHUNK = 2**20  # bytes read at a time
MIME = {"flac": "audio/flac", "json": "application/json", "mp4": "video/mp4"}  # everything else is NumPy's own format
NUMPY_MIME = "application/octet-stream"
NOT_STATED = "https://schema.org/UnknownLicense"
TYPES = {"flac": "sc:AudioObject", "mp4": "sc:VideoObject"}
WHAT = {
    "flac": "Speech, 16 kHz mono, 16 bit.",
    "json": "Identity, source, span, crop, every score, licence, versions.",
    "landmarks.npy": "float16 (T, 468, 3): landmarks of the face mesh, crop pixels.",
    "mel.npy": "float16 (4T, 80): log-mel, 100 rows a second.",
    "mp4": "The crop, 256×256 pixels, 25 frames a second.",
    "pose.npy": "float32 (T, 6): rotation vector (rad) and translation of the head in the crop's camera.",
    "speech.npy": "float32 (T, 4, 41): speech features, 100 rows a second.",
}
LEDGER_COLUMNS = {
    "kind": "video or clip",
    "key": "Key of the clip's sample.",
    "sha256": "Of the video.",
    "identity": "Who is in the video.",
    "split": "train, val or test.",
    "shard": "The shard, without its ending.",
    "status": "accepted, rejected or failed",
    "reason": "Why it was not accepted.",
}
SPLIT_URLS = {
    "train": "https://mlcommons.org/definitions/training_split",
    "val": "https://mlcommons.org/definitions/validation_split",
    "test": "https://mlcommons.org/definitions/test_split",
}
CONTEXT = {  # of the standard, word for word: readers compare it
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}


def write_croissant(
    out: Storage, plan: Plan, summary: DatasetSummary, shards: Sequence[ShardFacts], licences: Mapping[str, int]
) -> None:
    """Publish croissant.json, after the ledger, whose hash it gives.

    A dataset that has not changed keeps its date.
    """
    values = describe(out, plan, summary, [shard for shard in shards if shard.samples], licences)
    if out.exists(CROISSANT_FILE):
        with suppress(ValueError, KeyError, TypeError):
            before = json.loads(out.read(CROISSANT_FILE))
            if before["version"] == values["version"]:
                values["datePublished"] = before["datePublished"]
    out.publish(CROISSANT_FILE, (json.dumps(values, indent=1, ensure_ascii=False) + "\n").encode())


def describe(
    out: Storage, plan: Plan, summary: DatasetSummary, shards: Sequence[ShardFacts], licences: Mapping[str, int]
) -> dict[str, Any]:
    """The whole document, with every property that the standard requires.

    Empty shards are left out: a reader could not open them.
    """
    members = MEMBERS if shards else ()
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "name": "talking-heads",
        "conformsTo": CONFORMS_TO,
        "description": (
            f"{summary.accepted} clips of one speaking face each, {sum(summary.hours.values()):.3f} hours: video, speech, head pose, "
            f"landmarks and speech features. Fingerprint {summary.fingerprint}, plan {plan.hash}."
        ),
        "version": f"1.0.0+{summary.fingerprint[:VERSION_DIGITS]}",
        "datePublished": datetime.now(UTC).date().isoformat(),
        "citeAs": f"A dataset of talking heads, made by a2h prepare; fingerprint {summary.fingerprint}",
        "license": sorted({licence or NOT_STATED for licence in licences}) or [NOT_STATED],
        "creator": {"@type": "sc:Organization", "name": "not stated"},
        "url": "./" if out.local else out.url,
        "isLiveDataset": False,
        "distribution": [
            *map(_shard_file, shards),
            _file(
                LEDGER_FILE,
                "One row for every video and every candidate clip.",
                "application/x-parquet",
                _sha256(out, LEDGER_FILE),
            ),
            *(_member_files(extension, shards) for extension in members),
        ],
        "recordSet": [*map(_member_records, members), _ledger_records(), _split_records()],
    }


# -------------------------------------------------------------------------------- files
def _file(name: str, what: str, kind: str, sha256: str) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": name,
        "name": name,
        "description": what,
        "contentUrl": name,
        "encodingFormat": kind,
        "sha256": sha256,
    }


def _shard_file(shard: ShardFacts) -> dict[str, Any]:
    plain = _file(shard.name, f"{shard.samples} samples of the split {shard.split}.", "application/x-tar", shard.sha256)
    return {**plain, "contentSize": f"{shard.size} B"}


def _member_files(extension: str, shards: Sequence[ShardFacts]) -> dict[str, Any]:
    return {
        "@type": "cr:FileSet",
        "@id": f"{extension}-files",
        "name": f"{extension}-files",
        "description": WHAT[extension],
        "containedIn": [{"@id": shard.name} for shard in shards],
        "encodingFormat": MIME.get(extension, NUMPY_MIME),
        "includes": f"*.{extension}",
    }


def _sha256(out: Storage, name: str) -> str:
    with out.open(name) as stream:
        return sha256_of_stream(stream).sha256


# -------------------------------------------------------------------------------- records
def _member_records(extension: str) -> dict[str, Any]:
    """Key and content of one member of every sample.

    The members of a sample have the same key; readers cannot join files yet.
    """
    source = {"fileSet": {"@id": f"{extension}-files"}}
    key = {
        **_field(f"{extension}/key", "The key of the sample.", "sc:Text"),
        "source": {**source, "extract": {"fileProperty": "filename"}, "transform": {"regex": KEY_IN_NAME}},
    }
    content = {
        **_field(f"{extension}/content", WHAT[extension], TYPES.get(extension, "sc:Text")),
        "source": {**source, "extract": {"fileProperty": "content"}},
    }
    return _records(extension, WHAT[extension], [key, content], key=f"{extension}/key")


def _ledger_records() -> dict[str, Any]:
    columns = [
        {
            **_field(f"ledger/{name}", what, "sc:Text"),
            "source": {"fileObject": {"@id": LEDGER_FILE}, "extract": {"column": name}},
        }
        for name, what in LEDGER_COLUMNS.items()
    ]
    return _records(
        "ledger", "What became of every video and every candidate clip; all scores are columns of the file.", columns
    )


def _split_records() -> dict[str, Any]:
    fields = [_field("splits/name", "Name of the split.", "sc:Text"), _field("splits/url", "What it is for.", "sc:URL")]
    data = [{"splits/name": split, "splits/url": SPLIT_URLS[split]} for split in SPLITS]
    return {
        **_records("splits", "No identity is in two of them.", fields, key="splits/name"),
        "dataType": "cr:Split",
        "data": data,
    }


def _records(name: str, what: str, fields: Sequence[Mapping[str, Any]], *, key: str = "") -> dict[str, Any]:
    values = {"@type": "cr:RecordSet", "@id": name, "name": name, "description": what, "field": list(fields)}
    return {**values, "key": {"@id": key}} if key else values


def _field(name: str, what: str, kind: str) -> dict[str, Any]:
    return {"@type": "cr:Field", "@id": name, "name": name, "description": what, "dataType": kind}
