"""Which models have seen a video: by their own list, and by the dataset's fingerprint where they
have none.
"""

from __future__ import annotations

import pytest

from pipelines.dataset.provenance import DatasetOrigin, as_table
from pipelines.registry import ModelRegistry, find_exposed_models

SEEN, OTHER = "a" * 64, "b" * 64
FINGERPRINT = "f" * 64


@pytest.fixture
def registry(tracking_config):
    return ModelRegistry.from_config(tracking_config)


@pytest.fixture
def version(registry, stage_folders):
    """Registers a head_pose that lists these source videos; nothing: it has no list."""

    def register(*sources):
        rows = [(sha256, f"{sha256[0]}.mp4", "ann", "", "") for sha256 in sources]
        origin = (
            DatasetOrigin(path="data", fingerprint=FINGERPRINT, sources=as_table(rows), features={})
            if sources
            else None
        )
        run = registry.tracker.open_run("head_pose")
        tags = {"dataset_fingerprint": FINGERPRINT, "config_hash": "c"}
        return registry.register_stage(stage_folders["head_pose"], "head_pose", run_id=run, tags=tags, origin=origin)

    return register


def test_a_version_is_found_by_its_list(version, registry):
    version_of_it, _ = version(SEEN, OTHER), version(OTHER)
    (exposure,) = find_exposed_models(registry, [SEEN], [FINGERPRINT])
    assert (str(exposure.version), exposure.certain) == (str(version_of_it), True)
    assert find_exposed_models(registry, ["c" * 64], [FINGERPRINT]) == []


def test_a_version_without_a_list_is_found_by_the_fingerprint(version, registry):
    found = version()
    (exposure,) = find_exposed_models(registry, [SEEN], ["0" * 64, FINGERPRINT])
    assert (str(exposure.version), exposure.certain) == (str(found), False)
    assert "by the dataset's fingerprint" in str(exposure)
    assert find_exposed_models(registry, [SEEN], ["0" * 64]) == []
