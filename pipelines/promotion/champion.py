"""The alias that moves only when every gate holds, and back again; what was decided stays with the
version.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from a2h_models.errors import RegistryError
from pipelines.config import TrackingConfig
from pipelines.config.promotion import PromoteCommand, PromoteConfig, RollbackCommand
from pipelines.promotion.gates import Champion, Facts, judge
from pipelines.registry.alias_lock import hold_lock
from pipelines.registry.artifacts import fetch
from pipelines.registry.datasets import DIGITS_SHOWN, verify
from pipelines.registry.decisions import FAILED, WAIVED, Decision, Gate
from pipelines.registry.evaluations import EvaluationResults, read_evaluation
from pipelines.registry.lineage import list_versions
from pipelines.registry.provenance import read_provenance, read_sources
from pipelines.registry.versions import SCHEME, ModelVersion, find, version_with_alias
from pipelines.tracking.tracker import session

DECISIONS = "promotion"  # folder of the run's artefacts
HISTORY = "history."  # tag of a registered model, with the alias: the versions that had it, oldest first, by commas
REMEMBERED = 100  # versions in a history


def promote(command: PromoteCommand) -> Decision:
    """Give the alias to a version if every gate holds; record the decision on the version in either
    case, unless it is a dry run.

    Raises:
        ConfigError: if `model` names no version.
        RegistryError: if there is no such version, the registry cannot be reached, or somebody else
            moves the alias.
    """
    logger, alias = command.logger, command.alias
    candidate = find(command.model, logger)
    champion = version_with_alias(candidate.name, alias, logger)
    facts = gather(candidate, logger)
    set_id = facts.measured.set_id if facts.measured else ""
    same = champion is not None and champion.version == candidate.version
    rival = (
        None if champion is None or same else Champion(champion.uri, read_evaluation(champion, logger, set_id=set_id))
    )
    gates = judge(facts, rival, command.promote)
    decision = Decision(
        model=candidate.uri,
        alias=alias,
        accepted=all(gate.status != FAILED for gate in gates),
        dry_run=command.dry_run,
        previous=champion.uri if champion and not same else "",
        gates=gates,
    )
    if command.dry_run:
        return decision
    if not decision.accepted:
        _record(decision, candidate, logger)
        return decision
    assign_alias(decision, candidate, champion, logger, seconds=command.promote.claim_s)
    return decision


def force_promote(version: ModelVersion, alias: str, reason: str, logger: TrackingConfig) -> Decision:
    """Give the alias to a version by a person's word, without looking at any gate; the record says
    so.

    Raises:
        RegistryError: if the registry cannot be reached, or somebody else moves the alias.
    """
    champion = version_with_alias(version.name, alias, logger)
    previous = champion.uri if champion and champion.version != version.version else ""
    gate = Gate(name="every gate", status=WAIVED, required="to be looked at", found="not looked at", reason=reason)
    decision = Decision(model=version.uri, alias=alias, accepted=True, dry_run=False, previous=previous, gates=(gate,))
    assign_alias(decision, version, champion, logger, seconds=PromoteConfig.claim_s)
    return decision


def assign_alias(
    decision: Decision, version: ModelVersion, champion: ModelVersion | None, logger: TrackingConfig, *, seconds: float
) -> None:
    with hold_lock(version.name, decision.alias, logger, seconds=seconds) as confirm:
        _check_unmoved(champion, version.name, decision.alias, logger)
        _record(decision, version, logger)
        # first, for whoever never got the alias is dropped when it is read
        if champion is None or champion.version != version.version:
            earlier = read_history_of(version.name, decision.alias, logger)
            _write_history(version.name, decision.alias, [*earlier, version.version], logger)
        _move(version, champion, decision.alias, logger, confirm)


def gather(version: ModelVersion, logger: TrackingConfig) -> Facts:
    """Read what the gates look at."""
    folder, problem = _sound(version, logger)
    known = read_provenance(folder) if folder else {}
    sources = read_sources(folder) if folder else None
    measured = read_evaluation(version, logger)
    rights = zip(sources["licence"].to_pylist(), sources["consent"].to_pylist(), strict=True) if sources else ()
    return Facts(
        uri=version.uri,
        tags=version.tags,
        weights_sound=problem,
        trained_on=tuple(known.get("identities", ())),
        sources=frozenset(sources["sha256"].to_pylist()) if sources else frozenset(),
        rights=frozenset(rights),
        features=tuple(known.get("features", ())),
        measured=measured,
        data=_verify(known.get("datasets", ()), measured),
    )


def _sound(version: ModelVersion, logger: TrackingConfig) -> tuple[Path | None, str]:
    """The version's folder, or what is wrong with it: a changed file is a reason to refuse, not to
    stop.
    """
    try:
        return fetch(version.uri, logger), ""
    except RegistryError as error:
        return None, error.message


def _verify(datasets: Iterable[Mapping[str, str]], measured: EvaluationResults | None) -> dict[str, str]:
    """Each dataset of training and evaluation → empty, or why it is not what was recorded.

    Nothing where training recorded none.
    """
    recorded = [(entry["path"], entry["fingerprint"]) for entry in datasets]
    if recorded and measured:
        recorded.append((measured.dataset_path, measured.dataset_fingerprint))
    return {
        f"{path} (fingerprint {fingerprint[:DIGITS_SHOWN]})": verify(path, fingerprint)
        for path, fingerprint in recorded
    }


# -------------------------------------------------------------------------------- moving the alias
def _check_unmoved(champion: ModelVersion | None, name: str, alias: str, logger: TrackingConfig) -> None:
    """The claim keeps promotions apart while they move; between judging and claiming somebody may
    have been faster.

    Raises:
        RegistryError: if somebody was.
    """
    now = version_with_alias(name, alias, logger)
    if (now and now.version) != (champion and champion.version):
        raise RegistryError(
            f"{alias} of {name} went to {now or 'nobody'} in the meantime",
            hint="again: it must be compared with that one",
        )


def _move(
    version: ModelVersion,
    champion: ModelVersion | None,
    alias: str,
    logger: TrackingConfig,
    confirm: Callable[[], None],
) -> None:
    confirm()
    _check_unmoved(champion, version.name, alias, logger)  # once more: by hand, an alias is moved without a claim
    with session(logger) as client:
        client.set_registered_model_alias(version.name, alias, str(version.version))


def _record(decision: Decision, version: ModelVersion, logger: TrackingConfig) -> None:
    """Tags and an artefact, written before the alias moves: a promotion that is killed leaves the
    old champion and its reasons.
    """
    values = {**asdict(decision), "reasons": decision.reasons, "decided_at": _now()}
    tags = {
        "validation_status": decision.status,
        "promotion_alias": decision.alias,
        "promotion_reasons": "; ".join(decision.reasons),
        "promotion_decision": json.dumps(values, sort_keys=True),
    }
    name = f"{DECISIONS}/{version.name}-{version.version}-{decision.alias}-{values['decided_at'].replace(':', '')}"
    with session(logger) as client:
        client.log_text(version.run_id, json.dumps(values, indent=1, sort_keys=True) + "\n", f"{name}.json")
        client.log_text(version.run_id, f"{decision}\n", f"{name}.txt")
    _tag(version, tags, logger)


def _tag(version: ModelVersion, tags: Mapping[str, str], logger: TrackingConfig) -> None:
    with session(logger) as client:
        for key, value in tags.items():
            client.set_model_version_tag(version.name, str(version.version), key, value)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


# -------------------------------------------------------------------------------- who had the alias
def read_history_of(name: str, alias: str, logger: TrackingConfig) -> list[int]:
    """The versions that had an alias, oldest first; the last one has it now. Empty where nobody has
    it.

    The alias is the truth: what the record holds after its holder was a promotion that was killed,
    and a holder that the record does not know was set by hand.
    """
    with session(logger) as client:
        model = client.get_registered_model(name)
    now = model.aliases.get(alias)
    if now is None:
        return []
    recorded = [int(number) for number in model.tags.get(f"{HISTORY}{alias}", "").split(",") if number]
    return recorded[: _last(recorded, int(now)) + 1] if int(now) in recorded else [*recorded, int(now)]


def _write_history(name: str, alias: str, versions: list[int], logger: TrackingConfig) -> None:
    with session(logger) as client:
        client.set_registered_model_tag(name, f"{HISTORY}{alias}", ",".join(map(str, versions[-REMEMBERED:])))


@dataclass(frozen=True, kw_only=True)
class Rollback:
    """An alias that went back."""

    model: str  # the version that lost it
    restored: str  # the version that has it again
    alias: str
    dry_run: bool

    def __str__(self) -> str:
        return f"{self.restored} {'would be' if self.dry_run else 'is'} {self.alias} again, instead of {self.model}"


def rollback(command: RollbackCommand) -> Rollback:
    """Give the alias back to the version that had it before; again and again, until the first one
    has it.

    Raises:
        RegistryError: if nobody has the alias, nobody had it before, the earlier version's files
            were changed, or somebody else moves it.
    """
    name, alias, logger = command.model.removeprefix(SCHEME), command.alias, command.logger
    versions = read_history_of(name, alias, logger)
    if not versions:
        raise RegistryError(f"no version of {name} is {alias}", hint="`a2h models` shows who has which alias")
    current = find(f"{name}/{versions[-1]}", logger)
    earlier = _earlier(name, versions, logger)
    if earlier is None:
        raise RegistryError(
            f"{current} is the first {alias} of {name}: there is none to go back to",
            hint="`a2h models` shows the others",
        )
    fetch(earlier.uri, logger)  # its files must be sound before anybody generates with them
    outcome = Rollback(model=current.uri, restored=earlier.uri, alias=alias, dry_run=command.dry_run)
    if command.dry_run:
        return outcome
    with hold_lock(name, alias, logger, seconds=command.claim_s) as confirm:
        _check_unmoved(current, name, alias, logger)
        _record_rollback(outcome, current, command.reason, logger)
        _move(earlier, current, alias, logger, confirm)
        _write_history(name, alias, versions[: _last(versions[:-1], earlier.version) + 1], logger)
    return outcome


def _earlier(name: str, versions: list[int], logger: TrackingConfig) -> ModelVersion | None:
    """The last holder but this one that still exists."""
    there = {version.version: version for version, _ in list_versions(logger, name=name)}
    return next(
        (there[number] for number in reversed(versions[:-1]) if number != versions[-1] and number in there), None
    )


def _last(versions: list[int], number: int) -> int:
    return len(versions) - 1 - versions[::-1].index(number)


def _record_rollback(outcome: Rollback, version: ModelVersion, reason: str, logger: TrackingConfig) -> None:
    values = {**asdict(outcome), "reason": reason, "decided_at": _now()}
    name = f"{DECISIONS}/{version.name}-{version.version}-{outcome.alias}-rollback-{values['decided_at'].replace(':', '')}.json"
    with session(logger) as client:
        client.log_text(version.run_id, json.dumps(values, indent=1, sort_keys=True) + "\n", name)
    _tag(version, {"validation_status": "rolled_back", "rollback": json.dumps(values, sort_keys=True)}, logger)
