"""Datasets of past runs: still what was recorded, or why not."""

import json
import shutil
from pathlib import Path

from pipelines.dataset.fingerprints import fingerprint_problem


def test_a_dataset_is_verified_against_its_own_shards(paper_dataset: Path, fingerprint: str, tmp_path: Path) -> None:
    """Another shard under an old dataset.json, and a dataset.json that cannot be read."""
    copy = shutil.copytree(paper_dataset, tmp_path / "copy")
    assert fingerprint_problem(str(copy), fingerprint) == ""
    sidecar = copy / "a2h-train-000000.json"
    values = json.loads(sidecar.read_text())
    sidecar.write_text(json.dumps({**values, "sha256": "0" * 64}))
    assert (
        fingerprint_problem(str(copy), fingerprint)
        == f"has shards that do not add up to its fingerprint {fingerprint[:12]}"
    )
    (copy / "dataset.json").write_text("[]")
    assert fingerprint_problem(str(copy), fingerprint).startswith("cannot be read from here")
    assert fingerprint_problem("nosuchstore://bucket/x", fingerprint).startswith("cannot be read from here")
