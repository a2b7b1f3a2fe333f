"""The origin of a version, as it is written beside the weights."""

from pathlib import Path

from pipelines.dataset.provenance import DatasetOrigin, as_table
from pipelines.registry.provenance import (
    bundle_provenance,
    join_sources,
    read_provenance,
    read_sources,
    stage_provenance,
    write_provenance,
)

SOURCES = as_table([("a" * 64, "a.mp4", "ann", "own", "yes")])
ORIGIN = DatasetOrigin(path="/data", fingerprint="f" * 64, sources=SOURCES, features={"version": 1})


def test_what_is_written_is_read(tmp_path: Path) -> None:
    values = stage_provenance("head_pose", "run", {"git_sha": "c"}, ["eve", "ann", "eve"], ORIGIN)
    assert values["identities"] == ["ann", "eve"]
    write_provenance(tmp_path, values, SOURCES)
    assert read_provenance(tmp_path) == values
    assert read_sources(tmp_path).equals(SOURCES)


def test_a_folder_without_provenance_is_empty(tmp_path: Path) -> None:
    assert read_provenance(tmp_path) == {}
    assert len(read_sources(tmp_path)) == 0


def test_a_bundle_has_the_union_unless_a_stage_records_nothing() -> None:
    first = stage_provenance("head_pose", "1", {}, ["ann"], ORIGIN)
    second = stage_provenance("motion_field", "2", {}, ["bob", "ann"], ORIGIN)
    unknown = stage_provenance("image_generator", "3", {}, [], None)
    both = bundle_provenance("4", {}, {"head_pose": first, "motion_field": second})
    assert both["identities"] == ["ann", "bob"]
    assert both["datasets"] == [{"path": "/data", "fingerprint": "f" * 64}]
    assert bundle_provenance("4", {}, {"head_pose": first, "image_generator": unknown})["identities"] == []
    assert len(join_sources([SOURCES, SOURCES])) == 1
    assert len(join_sources([SOURCES, as_table([])])) == 0
