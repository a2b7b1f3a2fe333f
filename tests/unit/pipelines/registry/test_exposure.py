"""Which models have seen a video: by their own list, and by the dataset's fingerprint where they
have none.
"""

from __future__ import annotations

import pytest

from pipelines.dataset.provenance import DatasetOrigin, as_table
from pipelines.registry import register_stage, trained_on
from pipelines.tracking import open_run

SEEN, OTHER = "a" * 64, "b" * 64
FINGERPRINT = "f" * 64


@pytest.fixture
def version(tracking_config, stage_folders):
    """Registers a head_pose that lists these source videos; nothing: it has no list."""

    def register(*sources):
        rows = [(sha256, f"{sha256[0]}.mp4", "ann", "", "") for sha256 in sources]
        origin = (
            DatasetOrigin(path="data", fingerprint=FINGERPRINT, sources=as_table(rows), features={})
            if sources
            else None
        )
        run = open_run(tracking_config, run_name="head_pose")
        tags = {"dataset_fingerprint": FINGERPRINT, "config_hash": "c"}
        return register_stage(
            stage_folders["head_pose"], "head_pose", run_id=run, tags=tags, logger=tracking_config, origin=origin
        )

    return register


def test_a_version_is_found_by_its_list(version, tracking_config):
    found, _ = version(SEEN, OTHER), version(OTHER)
    (sighting,) = trained_on([SEEN], [FINGERPRINT], tracking_config)
    assert (str(sighting.version), sighting.certain) == (str(found), True)
    assert trained_on(["c" * 64], [FINGERPRINT], tracking_config) == []


def test_a_version_without_a_list_is_found_by_the_fingerprint(version, tracking_config):
    found = version()
    (sighting,) = trained_on([SEEN], ["0" * 64, FINGERPRINT], tracking_config)
    assert (str(sighting.version), sighting.certain) == (str(found), False)
    assert "by the dataset's fingerprint" in str(sighting)
    assert trained_on([SEEN], ["0" * 64], tracking_config) == []
