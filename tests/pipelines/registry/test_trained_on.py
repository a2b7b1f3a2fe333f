"""Which models have seen a video: by their own list, and by the dataset's fingerprint where they have none."""

from __future__ import annotations

import pytest

from pipelines.dataset.sources import Origin, as_table
from pipelines.registry import open_run, register_stage, trained_on

SEEN, OTHER = "a" * 64, "b" * 64
FINGERPRINT = "f" * 64


@pytest.fixture
def version(tracking, stage_folders):
    """Registers a head_pose that lists these source videos; nothing: it has no list."""

    def register(*sources):
        rows = [(sha256, f"{sha256[0]}.mp4", "ann", "", "") for sha256 in sources]
        origin = Origin(path="data", fingerprint=FINGERPRINT, sources=as_table(rows), features={}) if sources else None
        run = open_run(tracking, run_name="head_pose")
        tags = {"dataset_fingerprint": FINGERPRINT, "config_hash": "c"}
        return register_stage(stage_folders["head_pose"], "head_pose", run_id=run, tags=tags, logger=tracking, origin=origin)

    return register


def test_a_version_is_found_by_its_list(version, tracking):
    found, _ = version(SEEN, OTHER), version(OTHER)
    (sighting,) = trained_on([SEEN], [FINGERPRINT], tracking)
    assert (str(sighting.version), sighting.certain) == (str(found), True)
    assert trained_on(["c" * 64], [FINGERPRINT], tracking) == []


def test_a_version_without_a_list_is_found_by_the_fingerprint(version, tracking):
    found = version()
    (sighting,) = trained_on([SEEN], ["0" * 64, FINGERPRINT], tracking)
    assert (str(sighting.version), sighting.certain) == (str(found), False)
    assert "by the dataset's fingerprint" in str(sighting)
    assert trained_on([SEEN], ["0" * 64], tracking) == []
