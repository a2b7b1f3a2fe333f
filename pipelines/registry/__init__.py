"""Runs, models and their promotion: the only door to MLflow."""

from pipelines.registry.card import card
from pipelines.registry.copying import copy
from pipelines.registry.decisions import Decision, Gate
from pipelines.registry.evaluations import Measured, evaluation_set_id, read_evaluation, record_evaluation
from pipelines.registry.files import fetch
from pipelines.registry.lineage import Lineage, list_versions, models, trace
from pipelines.registry.models import register_bundle, register_stage
from pipelines.registry.promotion import Rollback, promote, rollback
from pipelines.registry.provenance import read_provenance, read_sources
from pipelines.registry.tracking import (
    CodeState,
    close_run,
    code_tags,
    git_state,
    log_artifacts,
    log_dataset,
    log_figure,
    log_metrics,
    open_run,
    read_history,
    session,
    set_tags,
    tracking_uri,
)
from pipelines.registry.trained_on import Sighting, trained_on
from pipelines.registry.versions import BUNDLE, CHALLENGER, CHAMPION, SCHEME, STAGE_MODELS, ModelVersion, find

__all__ = [
    "BUNDLE",
    "CHALLENGER",
    "CHAMPION",
    "SCHEME",
    "STAGE_MODELS",
    "CodeState",
    "Decision",
    "Gate",
    "Lineage",
    "Measured",
    "ModelVersion",
    "Rollback",
    "Sighting",
    "card",
    "close_run",
    "code_tags",
    "copy",
    "evaluation_set_id",
    "fetch",
    "find",
    "git_state",
    "list_versions",
    "log_artifacts",
    "log_dataset",
    "log_figure",
    "log_metrics",
    "models",
    "open_run",
    "promote",
    "read_evaluation",
    "read_history",
    "read_provenance",
    "read_sources",
    "record_evaluation",
    "register_bundle",
    "register_stage",
    "rollback",
    "session",
    "set_tags",
    "trace",
    "tracking_uri",
    "trained_on",
]
