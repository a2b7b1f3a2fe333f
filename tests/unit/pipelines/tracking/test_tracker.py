"""Runs, against a real MLflow on sqlite."""

import pickle
from pathlib import Path

import pytest
from mlflow import MlflowClient

from a2h_models.errors import ConfigError, RegistryError
from pipelines import tracking
from pipelines.config import TrackingConfig
from pipelines.tracking import Tracker, TrackingError
from pipelines.tracking.tracker import NOT_FOUND, flat


def client(tracking_config: TrackingConfig) -> MlflowClient:
    return MlflowClient(Tracker(tracking_config).uri)


def test_a_run_says_who_made_it_and_from_what(tracking_config: TrackingConfig) -> None:
    run_id = Tracker(tracking_config).open_run(
        "first", tags={"stage": "head_pose"}, params={"lr": 0.1, "nested": {"a": [1, 2]}}
    )
    run = client(tracking_config).get_run(run_id)
    assert run.data.params == {"lr": "0.1", "nested.a": "[1, 2]"}
    assert run.data.tags["stage"] == "head_pose"
    assert run.data.tags["schema_version"] == "1"
    assert run.data.tags["git_sha"] == tracking.git_state().sha
    Tracker(tracking_config).close_run(run_id)
    assert client(tracking_config).get_run(run_id).info.status == "FINISHED"


@pytest.mark.parametrize("name", ["plain", "it's"])
def test_resuming_finds_the_run_by_name(tracking_config: TrackingConfig, name: str) -> None:
    first = Tracker(tracking_config).open_run(name, params={"lr": 1})
    Tracker(tracking_config).close_run(first, failed=True)
    again = Tracker(tracking_config).resume_run(name, params={"lr": 2, "new": 3})
    assert again == first
    run = client(tracking_config).get_run(first)
    assert run.info.status == "RUNNING"
    assert run.data.params == {"lr": "1", "new": "3"}  # what was recorded stays
    assert Tracker(tracking_config).open_run(name) != first
    assert Tracker(tracking_config).resume_run("other") != first


def test_a_dataset_is_an_input_with_its_fingerprint(tracking_config: TrackingConfig) -> None:
    run_id = Tracker(tracking_config).open_run("x")
    Tracker(tracking_config).log_dataset(run_id, "/data/mine", "ab" * 32)
    run = client(tracking_config).get_run(run_id)
    (logged,) = run.inputs.dataset_inputs
    assert (logged.dataset.name, logged.dataset.digest) == ("mine", ("ab" * 32)[:36])
    assert run.data.tags["dataset_fingerprint"] == "ab" * 32


def test_numbers_that_are_none_are_left_out(tracking_config: TrackingConfig) -> None:
    run_id = Tracker(tracking_config).open_run("x")
    Tracker(tracking_config).log_metrics(
        run_id, {"true_pose/psnr": 20.5, "nothing": float("nan"), "endless": float("inf")}
    )
    assert client(tracking_config).get_run(run_id).data.metrics == {"true_pose/psnr": 20.5}


def test_files_folders_and_figures_become_artefacts(tracking_config: TrackingConfig, tmp_path: Path) -> None:
    from matplotlib.figure import Figure

    run_id = Tracker(tracking_config).open_run("x")
    (tmp_path / "some").mkdir()
    (tmp_path / "some" / "a.txt").write_text("a")
    Tracker(tracking_config).log_artifacts(run_id, tmp_path / "some", folder="folder")
    Tracker(tracking_config).log_artifacts(run_id, tmp_path / "some" / "a.txt")
    Tracker(tracking_config).log_figure(run_id, Figure(), "curves/loss.png")
    root = Path(client(tracking_config).get_run(run_id).info.artifact_uri)
    assert root.is_relative_to(tmp_path / "artifacts")
    assert sorted(path.relative_to(root).as_posix() for path in root.rglob("*.*")) == [
        "a.txt",
        "curves/loss.png",
        "folder/a.txt",
    ]


def test_a_relative_database_is_made_where_the_program_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    uri = Tracker(TrackingConfig(tracking_uri="sqlite:///deep/down/mlflow.db")).uri
    assert uri == f"sqlite:///{tmp_path}/deep/down/mlflow.db"
    assert (tmp_path / "deep" / "down").is_dir()


@pytest.mark.parametrize("uri", ["runs", "file:///tmp/mlruns", "sqlite://", "sqlite:///", "nonsense://x"])
def test_stores_that_cannot_be_are_refused(uri: str) -> None:
    with pytest.raises(ConfigError, match=r"logger\.tracking_uri") as caught:
        _ = Tracker(TrackingConfig(tracking_uri=uri)).uri
    assert "sqlite:///" in caught.value.hint


def test_a_store_that_refuses_is_our_error(tracking_config: TrackingConfig) -> None:
    with pytest.raises(RegistryError, match="refused"):
        Tracker(tracking_config).close_run("0" * 32)


def test_a_server_that_is_not_there_is_our_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    nowhere = TrackingConfig(tracking_uri="http://127.0.0.1:9")  # the discard port: nothing listens
    with pytest.raises(RegistryError, match=r"127\.0\.0\.1:9"):
        Tracker(nowhere).open_run("x")


def test_flat_keeps_empty_mappings() -> None:
    assert flat({"a": {}, "b": {"c": {"d": 1}}}) == {"a": "{}", "b.c.d": "1"}


def test_a_tracker_travels_to_workers_and_connects_there(tracking_config: TrackingConfig) -> None:
    tracker = Tracker(tracking_config)
    run_id = tracker.open_run("here")
    there = pickle.loads(pickle.dumps(tracker))
    there.log_metrics(run_id, {"loss": 1.0})
    assert tracker.read_metrics(run_id) == {"loss": 1.0}


def test_a_refusal_has_the_servers_code(tracking_config: TrackingConfig) -> None:
    with pytest.raises(TrackingError) as refused:
        Tracker(tracking_config).close_run("0" * 32)
    assert refused.value.code == NOT_FOUND
    copied = pickle.loads(pickle.dumps(refused.value))
    assert (copied.code, copied.cause, copied.hint) == (NOT_FOUND, refused.value.cause, refused.value.hint)
