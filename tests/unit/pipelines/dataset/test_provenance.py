"""What a dataset says of its own origin: sources with licence and consent, and how its features
were computed.
"""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from a2h_models.errors import DatasetError
from pipelines.core.storage import Storage
from pipelines.dataset import shard_format
from pipelines.dataset.provenance import COLUMNS, as_table, read_origin, union


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Two videos in train, of which one gave two clips and a rejected candidate; one in test."""
    out = Storage(tmp_path)
    videos = {
        "train": [("a" * 64, "ann", ["k1", "k2"]), ("b" * 64, "bob", ["k3"])],
        "test": [("e" * 64, "eve", ["k4"])],
    }
    for split, found in videos.items():
        clips = [(key, sha256, person) for sha256, person, keys in found for key in keys]
        ledger = [
            {
                "kind": "clip",
                "key": key,
                "sha256": sha256,
                "file": f"{person}.mp4",
                "identity": person,
                "licence": "own",
                "consent": "yes",
            }
            for key, sha256, person in clips
        ]
        rejected = {**ledger[0], "key": "k0", "sha256": "c" * 64, "status": "rejected"}
        shard_format.write_shard(
            out,
            shard_format.shard_name(split, 0),
            [shard_format.Encoded(key=key, members={"json": b"{}"}) for key, _, _ in clips],
            split=split,
            unit=split,
            plan="plan",
            ledger=[{**ledger[0], "kind": "video", "key": ""}, rejected, *ledger],
            frames={key: 64 for key, _, _ in clips},
            identities={key: person for key, _, person in clips},
        )
    out.publish("dataset.json", json.dumps({"features_version": 1, "config": {"features": {"f0": "dio"}}}).encode())
    return tmp_path


def test_only_what_was_used_is_a_source(dataset: Path) -> None:
    origin = read_origin(str(dataset), "f" * 64, split="train")
    assert origin.sources.column_names == list(COLUMNS)
    assert origin.sources.to_pylist() == [
        {"sha256": "a" * 64, "file": "ann.mp4", "identity": "ann", "licence": "own", "consent": "yes"},
        {"sha256": "b" * 64, "file": "bob.mp4", "identity": "bob", "licence": "own", "consent": "yes"},
    ]
    assert origin.features == {"version": 1, "f0": "dio"}
    assert (origin.path, origin.fingerprint) == (str(dataset), "f" * 64)
    assert read_origin(str(dataset), "f", keys=["k3", "k4"]).sources["sha256"].to_pylist() == ["b" * 64, "e" * 64]


def test_the_place_does_not_depend_on_where_one_stands(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(dataset.parent)
    assert read_origin(dataset.name, "f").path == str(dataset)


def test_a_dataset_that_does_not_say(made_up_dataset: Path) -> None:
    origin = read_origin(str(made_up_dataset), "f")
    assert len(origin.sources) == 0
    assert origin.features == {}


def test_a_damaged_description_is_told(dataset: Path) -> None:
    (dataset / "dataset.json").write_text("{")
    with pytest.raises(DatasetError, match=r"dataset\.json is damaged"):
        read_origin(str(dataset), "f")


@given(parts=st.lists(st.lists(st.integers(0, 9), max_size=6), min_size=1, max_size=4))
def test_a_union_has_each_video_once(parts: list[list[int]]) -> None:
    tables = [as_table([(str(number), "x.mp4", "ann", "own", "yes") for number in part]) for part in parts]
    assert union(tables)["sha256"].to_pylist() == sorted({str(number) for part in parts for number in part})
