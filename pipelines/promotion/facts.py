"""What promotion looks at of a version: read from the registry, its files and its datasets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from a2h_models.errors import RegistryError
from pipelines.dataset.fingerprints import SHOWN_DIGITS, fingerprint_problem
from pipelines.registry import EvaluationResults, ModelRegistry, ModelVersion, read_provenance, read_sources


@dataclass(frozen=True, kw_only=True)
class Facts:
    """All that a gate may look at of one version."""

    uri: str
    tags: Mapping[str, str]
    files_problem: str  # empty, or what is wrong with the version's files
    training_identities: tuple[str, ...]
    sources: frozenset[str]  # SHA-256 of the videos trained on; empty where they are not recorded
    rights: frozenset[tuple[str, str]]  # (licence, consent) of those videos, each pair once
    features: tuple[Mapping[str, Any], ...]  # how the training data's features were computed, each way once
    evaluation: EvaluationResults | None
    # dataset of training or evaluation → empty, or why it could not be verified
    dataset_problems: Mapping[str, str] = field(default_factory=dict)


class ChampionFacts(NamedTuple):
    """What the candidate is compared with."""

    uri: str
    evaluation: EvaluationResults | None  # on the candidate's evaluation set


def load_facts(registry: ModelRegistry, version: ModelVersion) -> Facts:
    """Read what the gates look at.

    Raises:
        RegistryError: if the registry cannot be reached, or the evaluation is damaged. Changed
            weights are a fact, and no error.
    """
    folder, problem = _fetch(registry, version)
    provenance = read_provenance(folder) if folder else {}
    sources = read_sources(folder) if folder else None
    evaluation = registry.read_evaluation(version)
    rights = zip(sources["licence"].to_pylist(), sources["consent"].to_pylist(), strict=True) if sources else ()
    return Facts(
        uri=version.uri,
        tags=version.tags,
        files_problem=problem,
        training_identities=tuple(provenance.get("identities", ())),
        sources=frozenset(sources["sha256"].to_pylist()) if sources else frozenset(),
        rights=frozenset(rights),
        features=tuple(provenance.get("features", ())),
        evaluation=evaluation,
        dataset_problems=_verify(provenance.get("datasets", ()), evaluation),
    )


def load_champion_facts(registry: ModelRegistry, champion: ModelVersion, candidate: Facts) -> ChampionFacts:
    """Read the champion's numbers on the set that the candidate was evaluated on."""
    set_id = candidate.evaluation.set_id if candidate.evaluation else ""
    return ChampionFacts(champion.uri, registry.read_evaluation(champion, set_id=set_id))


def _fetch(registry: ModelRegistry, version: ModelVersion) -> tuple[Path | None, str]:
    """The version's folder, or what is wrong with its files."""
    try:
        return registry.fetch_version(version), ""
    except RegistryError as error:
        return None, error.message


def _verify(datasets: Iterable[Mapping[str, str]], evaluation: EvaluationResults | None) -> dict[str, str]:
    """Each dataset of training and evaluation → empty, or why it is not what was recorded.

    Empty where training recorded none.
    """
    recorded = [(entry["path"], entry["fingerprint"]) for entry in datasets]
    if recorded and evaluation:
        recorded.append((evaluation.dataset_path, evaluation.dataset_fingerprint))
    return {
        f"{path} (fingerprint {fingerprint[:SHOWN_DIGITS]})": fingerprint_problem(path, fingerprint)
        for path, fingerprint in recorded
    }
