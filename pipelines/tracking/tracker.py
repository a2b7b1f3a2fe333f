"""The tracking server: `Tracker` is the one object that talks to it.

It opens and closes runs, logs to them, and reads them again. MLflow is silent, and its errors become
`TrackingError`. No global state of MLflow is touched, so that several servers can be used in one
process.
"""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from math import isfinite
from pathlib import Path
from tempfile import TemporaryDirectory
from time import time
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from a2h_models.errors import ConfigError, RegistryError, first_line
from pipelines.config import TrackingConfig
from pipelines.core.secrets import mask_password
from pipelines.tracking.code_version import code_tags

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from mlflow import MlflowClient

Client: TypeAlias = "MlflowClient"  # so that other rooms name the type without importing MLflow

DATABASES = ("sqlite", "postgresql", "mysql", "mssql")  # stores without a server in front: we say where artifacts go
SERVERS = ("http", "https", "databricks")
DIGEST_LENGTH = 36  # characters of a dataset's digest that MLflow keeps; the whole fingerprint stands in the tags
NOT_FOUND = "RESOURCE_DOES_NOT_EXIST"  # MLflow's codes, as in TrackingError.code
ALREADY_EXISTS = "RESOURCE_ALREADY_EXISTS"
INVALID_VALUE = "INVALID_PARAMETER_VALUE"

QUIET = {  # read by MLflow when it is imported or used; what the user has set stays
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",  # of MLflow's 7: a server that is down is reported in seconds, not minutes
}


class TrackingError(RegistryError):
    """A request that the tracking server refused, or that did not reach it.

    `code` is MLflow's error code, such as `NOT_FOUND`; empty for errors of the network or the
    database. `cause` is the first line of what the server said.
    """

    def __init__(self, message: str, *, hint: str = "", code: str = "", cause: str = "") -> None:
        super().__init__(message, hint=hint)
        self.code, self.cause = code, cause


class LoggedModel(NamedTuple):
    """A folder of files that was uploaded to a run as a model."""

    model_id: str
    location: str  # URI of its files


class Tracker:
    """A tracking server, with the experiment that new runs belong to.

    It connects when it is first used. It may be pickled; the copy connects anew.

    Args:
        config: address, experiment, and where artifacts and downloads go.
    """

    def __init__(self, config: TrackingConfig) -> None:
        self.config = config

    def __reduce__(self) -> tuple[type[Tracker], tuple[TrackingConfig]]:
        return type(self), (self.config,)

    # ------------------------------------------------------------------------------- connection
    @cached_property
    def uri(self) -> str:
        """The absolute address of the store; the folder of a local database is created.

        Raises:
            ConfigError: for a store that MLflow 3 no longer takes (folders), or an unknown kind.
        """
        address = self.config.tracking_uri
        scheme, separator, rest = address.partition("://")
        if not separator or scheme.partition("+")[0] not in DATABASES + SERVERS:
            raise ConfigError(
                f"logger.tracking_uri={address} is neither a database nor a server",
                hint="say for example sqlite:///runs/mlflow.db or http://host:5000",
            )
        if scheme != "sqlite":
            return address
        if not rest.strip("/"):
            raise ConfigError(
                f"logger.tracking_uri={address} names no file", hint="say for example sqlite:///runs/mlflow.db"
            )
        database = Path(rest[1:]).absolute()
        database.parent.mkdir(parents=True, exist_ok=True)
        return f"sqlite:///{database}"

    @property
    def public_uri(self) -> str:
        """The address without the password in it, for messages and tags."""
        return mask_password(self.uri)

    @cached_property
    def _client(self) -> MlflowClient:
        from mlflow import MlflowClient

        return MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)

    @contextmanager
    def session(self) -> Iterator[MlflowClient]:
        """Give MLflow's client; an error of the store inside the block becomes a TrackingError.

        Raises:
            TrackingError: if the store refuses or cannot be reached.
        """
        uri = self.uri
        with quiet():
            from mlflow.exceptions import MlflowException
            from sqlalchemy.exc import SQLAlchemyError

            try:
                yield self._client
            except (MlflowException, SQLAlchemyError, OSError) as error:
                code, cause = getattr(error, "error_code", ""), first_line(error)
                hint = (
                    "`a2h models` lists what is there"
                    if code == NOT_FOUND
                    else "is it up, and is logger.tracking_uri right?"
                )
                message = f"the tracking store {mask_password(uri)} refused: {cause}"
                raise TrackingError(message, hint=hint, code=code, cause=cause) from error

    # ------------------------------------------------------------------------------------- runs
    def open_run(
        self, run_name: str, *, tags: Mapping[str, str] | None = None, params: Mapping[str, Any] | None = None
    ) -> str:
        """Start a run and return its id.

        Args:
            run_name: what people read in the list of runs.
            tags: added to `git_sha`, `code_clean` and `schema_version`, which every run gets.
            params: nested mappings become dotted keys.
        """
        with self.session() as client:
            run = client.create_run(self._experiment(client), run_name=run_name, tags=code_tags() | dict(tags or {}))
            run_id = str(run.info.run_id)
            _log_new_params(client, run_id, params or {})
        return run_id

    def resume_run(
        self, run_name: str, *, tags: Mapping[str, str] | None = None, params: Mapping[str, Any] | None = None
    ) -> str:
        """Reopen the latest run of that name, or start one. A reopened run keeps its params."""
        with self.session() as client:
            run_id = _latest_run(client, self._experiment(client), run_name)
        if run_id is None:
            return self.open_run(run_name, tags=tags, params=params)
        with self.session() as client:
            client.update_run(run_id, status="RUNNING")
            _log_new_params(client, run_id, params or {})
        return run_id

    def close_run(self, run_id: str, *, failed: bool = False) -> None:
        """Mark a run as finished, or as failed."""
        with self.session() as client:
            client.set_terminated(run_id, status="FAILED" if failed else "FINISHED")

    def copy_run(self, run_id: str, target: Tracker) -> str:
        """Create a run on another server with equal name, parameters, last metrics and files.

        The tag `copied_from` holds the id of the original. Curves stay where they were logged.
        """
        with self.session() as client:
            run = client.get_run(run_id)
        tags = {key: value for key, value in run.data.tags.items() if not key.startswith("mlflow.")}
        copied = target.open_run(str(run.info.run_name), tags={**tags, "copied_from": run_id}, params=run.data.params)
        with target.session() as client:
            from mlflow.entities import Metric

            now = _now_ms()
            client.log_batch(copied, metrics=[Metric(name, value, now, 0) for name, value in run.data.metrics.items()])
        with TemporaryDirectory() as folder:
            with self.session() as client:
                for file in client.list_artifacts(run_id):
                    client.download_artifacts(run_id, file.path, folder)
            if any(Path(folder).iterdir()):
                target.log_artifacts(copied, Path(folder))
        target.close_run(copied)
        return copied

    def _experiment(self, client: MlflowClient) -> str:
        """The id of the experiment, which is created on first use.

        Its artifacts go where the config says, unless a server decides that.
        """
        from mlflow.exceptions import MlflowException

        name = self.config.experiment
        experiment = client.get_experiment_by_name(name)
        if experiment is None:
            try:
                return str(client.create_experiment(name, artifact_location=self._artifact_location()))
            except MlflowException:  # another process was faster
                experiment = client.get_experiment_by_name(name)
                if experiment is None:
                    raise
        return str(experiment.experiment_id)

    def _artifact_location(self) -> str | None:
        if self.config.tracking_uri.partition("://")[0].partition("+")[0] not in DATABASES:
            return None
        if "://" in self.config.artifacts:
            return self.config.artifacts
        folder = Path(self.config.artifacts).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        return str(folder)

    # ---------------------------------------------------------------------------------- logging
    def log_dataset(self, run_id: str, path: str, fingerprint: str, *, context: str = "training") -> None:
        """Record which data a run used (MLflow's "dataset" input); the fingerprint becomes a tag.

        Args:
            run_id: the run.
            path: the dataset's folder or URL.
            fingerprint: of its `dataset.json`.
            context: preparation | training | evaluation.
        """
        with self.session() as client:
            from mlflow.entities import Dataset, DatasetInput, InputTag

            dataset = Dataset(
                name=Path(path).name or path,
                digest=fingerprint[:DIGEST_LENGTH],
                source_type="local" if "://" not in path else path.partition("://")[0],
                source=json.dumps({"uri": path}),
            )
            client.log_inputs(run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", context)])])
            client.set_tag(run_id, "dataset_fingerprint", fingerprint)

    def log_metrics(
        self, run_id: str, metrics: Mapping[str, float], *, step: int = 0, model_id: str | None = None
    ) -> None:
        """Log the finite numbers of one step; databases refuse NaN and infinity.

        Args:
            run_id: the run.
            metrics: name → value.
            step: of the training; 0 for what is measured once.
            model_id: the logged model (a version's tag of that name) that the numbers are about.
        """
        with self.session() as client:
            from mlflow.entities import Metric

            now = _now_ms()
            finite = {name: float(value) for name, value in metrics.items() if isfinite(value)}
            client.log_batch(
                run_id, metrics=[Metric(name, value, now, step, model_id=model_id) for name, value in finite.items()]
            )

    def log_artifacts(self, run_id: str, path: Path, *, folder: str = "") -> None:
        """Copy a file, or the contents of a folder, to the run's artifacts, below `folder`."""
        with self.session() as client:
            copy = client.log_artifacts if path.is_dir() else client.log_artifact
            copy(run_id, str(path), folder or None)

    def log_texts(self, run_id: str, texts: Mapping[str, str]) -> None:
        """Write text files to the run's artifacts: path below them → text."""
        with self.session() as client:
            for path, text in texts.items():
                client.log_text(run_id, text, path)

    def log_figure(self, run_id: str, figure: Figure, name: str) -> None:
        """Write a matplotlib figure to the path `name` below the run's artifacts."""
        with self.session() as client:
            client.log_figure(run_id, figure, name)

    def set_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Set tags of a run."""
        with self.session() as client:
            for key, value in tags.items():
                client.set_tag(run_id, key, value)

    def log_model(self, run_id: str, name: str, folder: Path) -> LoggedModel:
        """Upload a folder as a logged model of a run."""
        with self.session() as client:
            from mlflow.entities import LoggedModelOutput

            run = client.get_run(run_id)
            model = client.create_logged_model(run.info.experiment_id, name=name, source_run_id=run_id)
            client.log_model_artifacts(model.model_id, str(folder))
            client.finalize_logged_model(model.model_id, "READY")
            client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
            return LoggedModel(str(model.model_id), str(model.artifact_location))

    # ---------------------------------------------------------------------------------- reading
    def read_history(self, run_id: str) -> dict[str, list[tuple[int, float]]]:
        """Read all that a run logged over its steps: metric → (step, value), by step."""
        with self.session() as client:
            names = client.get_run(run_id).data.metrics
            return {
                name: sorted((point.step, point.value) for point in client.get_metric_history(run_id, name))
                for name in sorted(names)
            }

    def read_metrics(self, run_id: str) -> dict[str, float]:
        """Read the last value of each metric of a run."""
        with self.session() as client:
            return dict(client.get_run(run_id).data.metrics)

    def read_artifacts(self, run_id: str, names: Sequence[str]) -> dict[str, bytes]:
        """Read those of the named files that a run has among its artifacts."""
        with self.session() as client, TemporaryDirectory() as folder:
            stored = {file.path for file in client.list_artifacts(run_id)}
            return {
                name: Path(client.download_artifacts(run_id, name, folder)).read_bytes()
                for name in names
                if name in stored
            }

    def download(self, uri: str, folder: Path) -> Path:
        """Download an artifact URI into a folder; return the path of what came."""
        with self.session():
            import mlflow.artifacts

            return Path(
                mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=str(folder), tracking_uri=self.uri)
            )


# ----------------------------------------------------------------------------------------- helpers
@contextmanager
def quiet() -> Iterator[None]:
    """Silence the log lines and warnings of MLflow and its database layer during the block."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mlflow  # noqa: F401  its import sets its loggers up; we turn them down after that

        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.ERROR)
        yield


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Flatten nested mappings to dotted keys with text values, as MLflow wants parameters."""
    rows: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            rows |= flat(value, f"{prefix}{key}.")
        else:
            rows[f"{prefix}{key}"] = mask_password(str(value))
    return rows


def _latest_run(client: MlflowClient, experiment: str, run_name: str) -> str | None:
    quote = '"' if "'" in run_name else "'"  # the filter's grammar has no escapes
    runs = client.search_runs(
        [experiment],
        filter_string=f"attributes.run_name = {quote}{run_name}{quote}",
        order_by=["attributes.start_time DESC"],
        max_results=1,
    )
    return str(runs[0].info.run_id) if runs else None


def _log_new_params(client: MlflowClient, run_id: str, params: Mapping[str, Any]) -> None:
    from mlflow.entities import Param

    known = client.get_run(run_id).data.params
    added = [Param(key, value) for key, value in flat(params).items() if key not in known]
    if added:
        client.log_batch(run_id, params=added)


def _now_ms() -> int:
    return int(time() * 1000)
