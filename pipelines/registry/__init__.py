"""Registered models: versions, their files, where they come from.

`ModelRegistry` is the object through which everything else reads and writes them.
"""

from pipelines.registry.card import card
from pipelines.registry.copy_version import copy
from pipelines.registry.evaluations import EvaluationResults, evaluation_set_id
from pipelines.registry.exposure import ModelExposure, find_exposed_models
from pipelines.registry.lineage import Lineage, models, trace
from pipelines.registry.model_registry import ModelRegistry
from pipelines.registry.provenance import read_provenance, read_sources
from pipelines.registry.versions import BUNDLE, CHALLENGER, CHAMPION, SCHEME, STAGE_MODELS, ModelVersion

__all__ = [
    "BUNDLE",
    "CHALLENGER",
    "CHAMPION",
    "SCHEME",
    "STAGE_MODELS",
    "EvaluationResults",
    "Lineage",
    "ModelExposure",
    "ModelRegistry",
    "ModelVersion",
    "card",
    "copy",
    "evaluation_set_id",
    "find_exposed_models",
    "models",
    "read_provenance",
    "read_sources",
    "trace",
]
