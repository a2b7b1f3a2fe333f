"""Runs, models and their promotion: the only door to MLflow."""

from pipelines.registry.gates import Decision, Gate, Measured
from pipelines.registry.models import (
    BUNDLE,
    CHALLENGER,
    STAGE_MODELS,
    ModelVersion,
    fetch,
    find,
    read_provenance,
    register_bundle,
    register_stage,
)
from pipelines.registry.promotion import evaluation_set_id, promote, read_evaluation, record_evaluation
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
    set_tags,
    tracking_uri,
)

__all__ = [
    "BUNDLE",
    "CHALLENGER",
    "STAGE_MODELS",
    "CodeState",
    "Decision",
    "Gate",
    "Measured",
    "ModelVersion",
    "close_run",
    "code_tags",
    "evaluation_set_id",
    "fetch",
    "find",
    "git_state",
    "log_artifacts",
    "log_dataset",
    "log_figure",
    "log_metrics",
    "open_run",
    "promote",
    "read_evaluation",
    "read_provenance",
    "record_evaluation",
    "register_bundle",
    "register_stage",
    "set_tags",
    "tracking_uri",
]
