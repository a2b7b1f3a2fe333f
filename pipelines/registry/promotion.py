"""Evaluations recorded with versions, and the alias that moves only when every gate holds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from math import nan
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from a2h_models.errors import RegistryError
from pipelines.config import LoggerConfig, PromoteCommand
from pipelines.registry.gates import Decision, Facts, Measured, judge
from pipelines.registry.models import SCHEME, ModelVersion, fetch, find, read_provenance
from pipelines.registry.tracking import session

METRICS_FILE = "metrics.json"  # the evaluation's summary, as an artefact of its run
EVALUATION_TAG = "evaluation"  # of a version: the set it was last evaluated on
DECISIONS = "promotion"  # folder of the run's artefacts


# ---------------------------------------------------------------------------------------------------------------- evaluations
def evaluation_set_id(*, fingerprint: str, split: str, clips: list[str], max_frames: int) -> str:
    """Sixteen hex digits that are equal only for evaluations whose numbers may be compared."""
    values = {"fingerprint": fingerprint, "split": split, "clips": sorted(clips), "max_frames": max_frames}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def record_evaluation(uri: str, *, set_id: str, run_id: str, logger: LoggerConfig) -> None:
    """Say on a version which run holds its numbers on an evaluation set. The run must have `metrics.json` among its artefacts."""
    version = find(uri, logger)
    with session(logger) as client:
        client.set_model_version_tag(version.name, str(version.version), f"{EVALUATION_TAG}.{set_id}", run_id)
        client.set_model_version_tag(version.name, str(version.version), EVALUATION_TAG, set_id)


def read_evaluation(version: ModelVersion, logger: LoggerConfig, *, set_id: str = "") -> Measured | None:
    """A version's numbers on an evaluation set, by default the one it was last evaluated on; None where there are none.

    Raises:
        RegistryError: if the run's `metrics.json` is gone or damaged.
    """
    set_id = set_id or version.tags.get(EVALUATION_TAG, "")
    run_id = version.tags.get(f"{EVALUATION_TAG}.{set_id}", "")
    if not run_id:
        return None
    with session(logger) as client, TemporaryDirectory() as aside:
        text = Path(client.download_artifacts(run_id, METRICS_FILE, aside)).read_text()
    try:
        return _measured(json.loads(text))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RegistryError(f"{METRICS_FILE} of run {run_id} is damaged ({error!r})", hint="evaluate again") from error


def _measured(summary: Mapping[str, Any]) -> Measured:
    means = {
        f"{row}/{metric}": nan if values["mean"] is None else float(values["mean"])
        for row, metrics in summary["rows"].items()
        for metric, values in metrics.items()
    }
    return Measured(
        set_id=str(summary["set_id"]),
        dataset=f"{Path(summary['dataset']).name}, {summary['split']}, {summary['clips']} clips",
        dataset_fingerprint=str(summary["dataset_fingerprint"]),
        identities=tuple(summary["identities"]),
        means=means,
    )


# ---------------------------------------------------------------------------------------------------------------- promotion
def promote(command: PromoteCommand) -> Decision:
    """Give the alias to a version if every gate holds; record the decision on the version in either case, unless it is a dry run.

    Raises:
        ConfigError: if `model` names no version.
        RegistryError: if there is no such version, or the registry cannot be reached.
    """
    logger = command.logger
    candidate = find(command.model, logger)
    champion = _holder(candidate.name, command.alias, logger)
    facts = gather(candidate, logger)
    set_id = facts.measured.set_id if facts.measured else ""
    same = champion is not None and champion.version == candidate.version
    gates = judge(facts, None if champion is None or same else gather(champion, logger, set_id=set_id), command.promote)
    decision = Decision(
        model=candidate.uri,
        alias=command.alias,
        accepted=all(gate.status != "failed" for gate in gates),
        dry_run=command.dry_run,
        previous=champion.uri if champion and not same else "",
        gates=gates,
    )
    if not command.dry_run:
        _record(decision, candidate, logger)
        if decision.accepted:
            _move(candidate, command.alias, champion, logger)
    return decision


def gather(version: ModelVersion, logger: LoggerConfig, *, set_id: str = "") -> Facts:
    """Read what the gates look at."""
    folder, problem = _sound(version, logger)
    return Facts(
        uri=version.uri,
        tags=version.tags,
        trained_on=tuple(read_provenance(folder).get("identities", [])) if folder else (),
        weights_sound=problem,
        measured=read_evaluation(version, logger, set_id=set_id),
    )


def _sound(version: ModelVersion, logger: LoggerConfig) -> tuple[Path | None, str]:
    """The version's folder, or what is wrong with it: a changed file is a reason to refuse, not to stop."""
    try:
        return fetch(version.uri, logger), ""
    except RegistryError as error:
        return None, error.message


def _holder(name: str, alias: str, logger: LoggerConfig) -> ModelVersion | None:
    """The version that has an alias now."""
    with session(logger) as client:
        versions = client.get_registered_model(name).aliases
    return find(f"{SCHEME}{name}/{versions[alias]}", logger) if alias in versions else None


def _record(decision: Decision, version: ModelVersion, logger: LoggerConfig) -> None:
    """Tags and an artefact, written before the alias moves: a promotion that is killed leaves the old champion and its reasons."""
    values = {**asdict(decision), "reasons": decision.reasons, "decided_at": datetime.now(UTC).isoformat(timespec="seconds")}
    name = f"{DECISIONS}/{version.name}-{version.version}-{decision.alias}-{values['decided_at'].replace(':', '')}.json"
    tags = {
        "validation_status": "passed" if decision.accepted else "refused",
        "promotion_alias": decision.alias,
        "promotion_reasons": "; ".join(decision.reasons),
        "promotion_decision": json.dumps(values, sort_keys=True),
    }
    with session(logger) as client:
        client.log_text(version.run_id, json.dumps(values, indent=1, sort_keys=True) + "\n", name)
        client.log_text(version.run_id, f"{decision}\n", str(Path(name).with_suffix(".txt")))
        for key, value in tags.items():
            client.set_model_version_tag(version.name, str(version.version), key, value)


def _move(version: ModelVersion, alias: str, champion: ModelVersion | None, logger: LoggerConfig) -> None:
    """Move the alias, unless somebody else moved it while we judged.

    Raises:
        RegistryError: if somebody did.
    """
    now = _holder(version.name, alias, logger)
    if (now and now.version) != (champion and champion.version):
        raise RegistryError(f"{alias} of {version.name} went to {now} while {version} was judged", hint="promote again")
    with session(logger) as client:
        client.set_registered_model_alias(version.name, alias, str(version.version))
