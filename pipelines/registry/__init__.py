"""Registered models: versions, their files, where they come from."""

from pipelines.registry.artifacts import fetch
from pipelines.registry.card import card
from pipelines.registry.copy_version import copy
from pipelines.registry.evaluations import EvaluationResults, evaluation_set_id, read_evaluation, record_evaluation
from pipelines.registry.exposure import ModelExposure, trained_on
from pipelines.registry.lineage import Lineage, list_versions, models, trace
from pipelines.registry.provenance import read_provenance, read_sources
from pipelines.registry.register import register_bundle, register_stage
from pipelines.registry.versions import BUNDLE, CHALLENGER, CHAMPION, SCHEME, STAGE_MODELS, ModelVersion, find

__all__ = [
    "BUNDLE",
    "CHALLENGER",
    "CHAMPION",
    "SCHEME",
    "STAGE_MODELS",
    "EvaluationResults",
    "Lineage",
    "ModelExposure",
    "ModelVersion",
    "card",
    "copy",
    "evaluation_set_id",
    "fetch",
    "find",
    "list_versions",
    "models",
    "read_evaluation",
    "read_provenance",
    "read_sources",
    "record_evaluation",
    "register_bundle",
    "register_stage",
    "trace",
    "trained_on",
]
