"""logger/: MLflow, where runs and models are recorded."""

from __future__ import annotations

from dataclasses import dataclass

from a2h_models.settings import setting


@dataclass
class TrackingConfig:
    """The MLflow server or database that records runs and models."""

    tracking_uri: str = setting("${oc.env:MLFLOW_TRACKING_URI,'sqlite:///${paths.runs}/mlflow.db'}", important=True)
    """Address of the MLflow server or database."""

    artifacts: str = setting("${paths.runs}/artifacts")
    """Folder of artifacts, used where the tracking store is a local database."""

    cache: str = setting("${paths.cache}/models")
    """Folder of weights that were downloaded from a server."""

    experiment: str = setting("audio2head")
    """MLflow experiment of the runs."""
