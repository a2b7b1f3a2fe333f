"""The tracking server: one way in, runs, and what is logged to them.

Each function opens a `session`, in which MLflow is silent and its exceptions become
`RegistryError`. No global state of MLflow is touched, so that several databases can be used in one
process.
"""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from a2h_models.data_types import SCHEMA_VERSION
from a2h_models.errors import ConfigError, RegistryError
from pipelines.config import TrackingConfig

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from mlflow import MlflowClient

DATABASES = ("sqlite", "postgresql", "mysql", "mssql")  # stores without a server in front: we say where artifacts go
SERVERS = ("http", "https", "databricks")
DIGEST_LENGTH = 36  # letters of a dataset's digest that MLflow keeps; the whole fingerprint stands in the tags
UNKNOWN = "unknown"

QUIET = {  # read by MLflow when it is imported or used; what the user has set stays
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",  # of MLflow's 7: a server that is down is told within seconds, not minutes
}


# --------------------------------------------------------------------------------------- the way in
def tracking_uri(logger: TrackingConfig) -> str:
    """The address of the tracking store, absolute, with the folder of a local database made.

    Raises:
        ConfigError: for a store that MLflow 3 no longer takes (folders), or that we do not know.
    """
    scheme, separator, rest = logger.tracking_uri.partition("://")
    if not separator or scheme.partition("+")[0] not in DATABASES + SERVERS:
        raise ConfigError(
            f"logger.tracking_uri={logger.tracking_uri} is neither a database nor a server",
            hint="say for example sqlite:///runs/mlflow.db or http://host:5000",
        )
    if scheme != "sqlite":
        return logger.tracking_uri
    if len(rest.strip("/")) == 0:
        raise ConfigError(
            f"logger.tracking_uri={logger.tracking_uri} names no file", hint="say for example sqlite:///runs/mlflow.db"
        )
    database = Path(rest[1:]).absolute()
    database.parent.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{database}"


@contextmanager
def quiet() -> Iterator[None]:
    """MLflow and its database layer narrate and warn about themselves; nothing of that is for our
    user.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mlflow  # noqa: F401  its import sets its loggers up; we turn them down after that

        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.ERROR)
        yield


@contextmanager
def session(logger: TrackingConfig) -> Iterator[MlflowClient]:
    """A client of the store; errors inside the block become ours.

    Raises:
        RegistryError: if the store refuses or cannot be reached.
    """
    uri = tracking_uri(logger)
    with quiet():
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        try:
            yield MlflowClient(tracking_uri=uri, registry_uri=uri)
        except (MlflowException, SQLAlchemyError, OSError) as error:
            missing = getattr(error, "error_code", "") == "RESOURCE_DOES_NOT_EXIST"
            hint = "`a2h models` lists what is there" if missing else "is it up, and is logger.tracking_uri right?"
            raise RegistryError(f"the tracking store {public(uri)} refused: {first_line(error)}", hint=hint) from error


def first_line(error: Exception) -> str:
    """What an error says, without what follows."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def public(uri: str) -> str:
    """An address without the password in it, for messages and tags."""
    scheme, separator, rest = uri.partition("://")
    before, at, place = rest.rpartition("@")
    return f"{scheme}{separator}{before.partition(':')[0]}{at}{place}" if at else uri


def _experiment(client: MlflowClient, logger: TrackingConfig) -> str:
    """The id of the experiment; it is made on first use, with artifacts where the config says if no
    server decides that.
    """
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(logger.experiment)
    if found is not None:
        return str(found.experiment_id)
    try:
        return str(client.create_experiment(logger.experiment, artifact_location=_artifact_location(logger)))
    except MlflowException:  # another process was faster
        found = client.get_experiment_by_name(logger.experiment)
        if found is None:
            raise
        return str(found.experiment_id)


def _artifact_location(logger: TrackingConfig) -> str | None:
    if logger.tracking_uri.partition("://")[0].partition("+")[0] not in DATABASES:
        return None
    if "://" in logger.artifacts:
        return logger.artifacts
    folder = Path(logger.artifacts).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    return str(folder)


# --------------------------------------------------------------------------------------------- runs
def open_run(
    logger: TrackingConfig,
    *,
    run_name: str,
    tags: Mapping[str, str] | None = None,
    params: Mapping[str, Any] | None = None,
    resume: bool = False,
) -> str:
    """Start a run and return its id; with `resume`, go on with the latest run of that name if there
    is one.

    Args:
        logger: where.
        run_name: what people read in the list of runs.
        tags: added to `git_sha`, `code_clean` and `schema_version`, which every run gets.
        params: nested mappings become dotted keys; a resumed run keeps what it has.
        resume: look for a run of that name first.
    """
    tags = {**code_tags(), **(tags or {})}
    with session(logger) as client:
        experiment = _experiment(client, logger)
        run_id = _latest_run(client, experiment, run_name) if resume else None
        if run_id is None:
            run_id = str(client.create_run(experiment, run_name=run_name, tags=tags).info.run_id)
        else:
            client.update_run(run_id, status="RUNNING")
        _log_new_params(client, run_id, params or {})
    return run_id


def close_run(run_id: str, *, logger: TrackingConfig, failed: bool = False) -> None:
    with session(logger) as client:
        client.set_terminated(run_id, status="FAILED" if failed else "FINISHED")


def code_tags() -> dict[str, str]:
    """The tags that say which code made something."""
    code = git_state()
    return {"git_sha": code.sha, "code_clean": str(code.clean).lower(), "schema_version": str(SCHEMA_VERSION)}


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
    fresh = [Param(key, value) for key, value in flat(params).items() if key not in known]
    if fresh:
        client.log_batch(run_id, params=fresh)


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested mappings as dotted keys with text values, as the tracking store wants parameters."""
    rows: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            rows |= flat(value, f"{prefix}{key}.")
        else:
            rows[f"{prefix}{key}"] = str(value)
    return rows


# ----------------------------------------------------------------------------------- what is logged
def log_dataset(run_id: str, path: str, fingerprint: str, *, logger: TrackingConfig, context: str = "training") -> None:
    """Record which data a run used (MLflow's "dataset" input), by fingerprint; the whole of it
    becomes a tag.

    Args:
        run_id: the run.
        path: the dataset's folder or URL.
        fingerprint: of its `dataset.json`.
        logger: where.
        context: training | evaluation.
    """
    with session(logger) as client:
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
    run_id: str,
    metrics: Mapping[str, float],
    *,
    logger: TrackingConfig,
    step: int = 0,
    model_id: str | None = None,
) -> None:
    """Log numbers of one step. What is not finite is left out: databases refuse it, and it is no
    measurement.

    Args:
        run_id: the run.
        metrics: name → value.
        logger: where.
        step: of the training; 0 for what is measured once.
        model_id: the logged model (a version's tag of that name) that the numbers are about.
    """
    from math import isfinite
    from time import time

    with session(logger) as client:
        from mlflow.entities import Metric

        now = int(time() * 1000)
        rows = [
            Metric(name, float(value), now, step, model_id=model_id)
            for name, value in metrics.items()
            if isfinite(value)
        ]
        client.log_batch(run_id, metrics=rows)


def read_history(run_id: str, *, logger: TrackingConfig) -> dict[str, list[tuple[int, float]]]:
    """All that a run logged over its steps: metric → (step, value), by step."""
    with session(logger) as client:
        names = client.get_run(run_id).data.metrics
        return {
            name: sorted((point.step, point.value) for point in client.get_metric_history(run_id, name))
            for name in sorted(names)
        }


def log_artifacts(run_id: str, path: Path, *, logger: TrackingConfig, folder: str = "") -> None:
    """Copy a file, or what is in a folder, to the run's artifacts, below `folder`."""
    with session(logger) as client:
        copy = client.log_artifacts if path.is_dir() else client.log_artifact
        copy(run_id, str(path), folder or None)


def log_figure(run_id: str, figure: Figure, name: str, *, logger: TrackingConfig) -> None:
    """Store a matplotlib figure as a picture, `name` being its path below the run's artifacts."""
    with session(logger) as client:
        client.log_figure(run_id, figure, name)


def set_tags(run_id: str, tags: Mapping[str, str], *, logger: TrackingConfig) -> None:
    with session(logger) as client:
        for key, value in tags.items():
            client.set_tag(run_id, key, value)


# --------------------------------------------------------------------------- the code's own version
class CodeState(NamedTuple):
    sha: str  # of the commit, or "unknown" outside a checkout
    clean: bool  # whether the packages and conf/ are exactly that commit


def git_state() -> CodeState:
    """Which commit runs. Outside a checkout, or without git, it is unknown and hence not clean."""
    try:
        import git  # comes with MLflow; its import fails where there is no git program
    except ImportError:
        return CodeState(UNKNOWN, clean=False)
    here = Path(__file__).resolve()
    try:
        with git.Repo(here, search_parent_directories=True) as repository:
            # an installed copy below another project's checkout is not ours
            repository.git.ls_files("--error-unmatch", str(here))
            changed = repository.git.status(
                "--porcelain", "--", *(str(here.parents[2] / part) for part in ("a2h_models", "pipelines", "conf"))
            )
            return CodeState(str(repository.head.commit.hexsha), clean=not changed)
    except (git.exc.GitError, ValueError, OSError):
        return CodeState(UNKNOWN, clean=False)
