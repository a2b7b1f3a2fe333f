"""A preparation leaves its curve, its settings and its report with the tracker, and does not need
it to live.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from a2h_models.errors import RegistryError
from pipelines.config import PrepareCommand
from pipelines.core.progress import Progress
from pipelines.dataset.summary import DatasetSummary
from pipelines.tracking import Tracker, prepare_tracking


@pytest.fixture
def command(tracking_config, tmp_path):
    out = tmp_path / "dataset"
    out.mkdir()
    (out / "report.html").write_text("a report")
    return PrepareCommand(videos="videos", out=str(out), logger=tracking_config)


@pytest.fixture
def summary(command):
    return DatasetSummary(
        path=command.out,
        plan="p" * 16,
        fingerprint="f" * 64,
        shards=2,
        videos={"accepted": 2},
        clips={"accepted": 5},
        reasons={},
        hours={"train": 1.5},
        identities={"train": 2},
    )


def _run(command):
    with Tracker(command.logger).session() as client:
        experiment = client.get_experiment_by_name(command.logger.experiment)
        (run,) = client.search_runs([experiment.experiment_id])
        return run, [item.path for item in client.list_artifacts(run.info.run_id)]


def test_a_run_holds_curve_settings_totals_and_report(command, summary):
    moving = Progress(describe="building shards", total=2)
    with prepare_tracking.track_preparation(command) as run:
        for counts in ({"accepted": 2, "no_face": 1}, {"accepted": 3}):
            moving.done += 1
            moving.hours += 0.5
            moving.counts.update(counts)
            run.log_progress(moving)
        run.log_summary(summary)
    found, files = _run(command)
    history = Tracker(command.logger).read_history(found.info.run_id)
    assert history["units/done"] == [(1, 1.0), (2, 2.0)]
    assert history["clips/accepted"] == [(1, 2.0), (2, 5.0)]
    assert history["samples"] == [(3, 5.0)]
    assert found.data.params["prepare.clips.min_frames"] == "64"
    assert found.data.tags["dataset_fingerprint"] == "f" * 64
    assert found.info.status == "FINISHED"
    assert files == ["report.html"]


def test_points_of_a_curve_are_not_closer_than_they_are_worth(command):
    moving = Progress(describe="building shards", total=1000)
    with prepare_tracking.track_preparation(command) as run:
        for _ in range(100):
            moving.done += 1
            run.log_progress(moving)
    found, _ = _run(command)
    assert Tracker(command.logger).read_history(found.info.run_id)["units/done"] == [(1, 1.0)]


def test_a_run_that_fails_is_marked(command):
    with pytest.raises(KeyboardInterrupt), prepare_tracking.track_preparation(command):
        raise KeyboardInterrupt
    assert _run(command)[0].info.status == "FAILED"


def test_a_tracker_that_goes_away_is_a_warning(command, caplog, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with prepare_tracking.track_preparation(command) as run:
        run._tracker = Tracker(replace(command.logger, tracking_uri="http://127.0.0.1:9"))
        run.log_progress(Progress(describe="building shards", total=1, done=1))
    assert "refused" in caplog.text


def test_a_tracker_that_is_not_there_at_the_start_is_told(command, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    away = replace(command, logger=replace(command.logger, tracking_uri="http://127.0.0.1:9"))
    with pytest.raises(RegistryError, match="refused"), prepare_tracking.track_preparation(away):
        pass
