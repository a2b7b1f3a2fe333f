"""Promotion and its way back: the alias moves only when every gate holds.

The decision is recorded with the version in either case.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from a2h_models.errors import RegistryError
from pipelines.config import PromoteCommand, PromoteConfig, RollbackCommand
from pipelines.promotion.alias import Alias, last_index
from pipelines.promotion.decisions import FAILED, WAIVED, Decision, Gate
from pipelines.promotion.facts import load_champion_facts, load_facts
from pipelines.promotion.gates import judge_gates
from pipelines.registry import SCHEME, ModelRegistry, ModelVersion

DECISIONS = "promotion"  # folder of the run's artifacts


def promote(command: PromoteCommand) -> Decision:
    """Give an alias to a version if every gate holds; record the decision unless it is a dry run.

    Raises:
        ConfigError: if `model` names no version.
        RegistryError: if there is no such version, the registry cannot be reached, or another
            process moves the alias.
    """
    registry = ModelRegistry.from_config(command.logger)
    candidate = registry.find(command.model)
    alias = Alias(registry, candidate.name, command.alias)
    champion = alias.current()
    rival = champion if champion and champion.version != candidate.version else None

    facts = load_facts(registry, candidate)
    rival_facts = load_champion_facts(registry, rival, facts) if rival else None
    gates = judge_gates(facts, rival_facts, command.promote)
    decision = Decision(
        model=candidate.uri,
        alias=command.alias,
        accepted=all(gate.status != FAILED for gate in gates),
        dry_run=command.dry_run,
        previous=rival.uri if rival else "",
        gates=gates,
    )
    if decision.accepted and not command.dry_run:
        assign_alias(alias, candidate, champion, decision, seconds=command.promote.lock_s)
    elif not command.dry_run:
        record_decision(registry, candidate, decision)
    return decision


def force_promote(registry: ModelRegistry, version: ModelVersion, alias_name: str, reason: str) -> Decision:
    """Give an alias to a version without looking at any gate, because a person says so.

    The record says so too.

    Raises:
        RegistryError: if the registry cannot be reached, or another process moves the alias.
    """
    alias = Alias(registry, version.name, alias_name)
    champion = alias.current()
    gate = Gate(name="every gate", status=WAIVED, required="to be looked at", found="not looked at", reason=reason)
    decision = Decision(
        model=version.uri,
        alias=alias_name,
        accepted=True,
        dry_run=False,
        previous=champion.uri if champion and champion.version != version.version else "",
        gates=(gate,),
    )
    assign_alias(alias, version, champion, decision, seconds=PromoteConfig.lock_s)
    return decision


def assign_alias(
    alias: Alias, version: ModelVersion, champion: ModelVersion | None, decision: Decision, *, seconds: float
) -> None:
    """Lock the alias, record the decision, and move the alias from the champion to the version.

    A promotion that is killed on the way leaves the old champion, and the reasons of its decision.

    Raises:
        RegistryError: if another process moves the alias, or the lock expires before it has moved.
    """
    with alias.locked(champion, seconds=seconds) as lock:
        record_decision(alias.registry, version, decision)
        # before the alias moves: readers of the history drop a last entry that never got the alias
        if champion is None or champion.version != version.version:
            alias.write_history([*alias.history(), version.version])
        alias.move(version, champion, lock)


def record_decision(registry: ModelRegistry, version: ModelVersion, decision: Decision) -> None:
    """Record a decision as tags of the version and as artifacts of its run."""
    values = {**asdict(decision), "reasons": decision.reasons, "decided_at": _now()}
    name = _artifact_name(version, decision.alias, values["decided_at"])
    registry.tracker.log_texts(version.run_id, {f"{name}.json": _json(values), f"{name}.txt": f"{decision}\n"})
    tags = {
        "validation_status": decision.status,
        "promotion_alias": decision.alias,
        "promotion_reasons": "; ".join(decision.reasons),
        "promotion_decision": json.dumps(values, sort_keys=True),
    }
    registry.set_tags(version, tags)


def _artifact_name(version: ModelVersion, what: str, time: str) -> str:
    return f"{DECISIONS}/{version.name}-{version.version}-{what}-{time.replace(':', '')}"


def _json(values: object) -> str:
    return json.dumps(values, indent=1, sort_keys=True) + "\n"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


# --------------------------------------------------------------------------------------- rollback
@dataclass(frozen=True, kw_only=True)
class Rollback:
    """An alias that went back to an earlier version."""

    model: str  # the version that lost it
    restored: str  # the version that has it again
    alias: str
    dry_run: bool

    def __str__(self) -> str:
        return f"{self.restored} {'would be' if self.dry_run else 'is'} {self.alias} again, instead of {self.model}"


def rollback(command: RollbackCommand) -> Rollback:
    """Give an alias back to the version that had it before; repeated, until the first one has it.

    Raises:
        RegistryError: if no version has the alias, none had it before, the earlier version's files
            were changed, or another process moves it.
    """
    registry = ModelRegistry.from_config(command.logger)
    name = command.model.removeprefix(SCHEME)
    alias = Alias(registry, name, command.alias)
    history = alias.history()
    if not history:
        raise RegistryError(f"no version of {name} is {alias.name}", hint="`a2h models` shows who has which alias")
    current = registry.find(f"{name}/{history[-1]}")
    earlier = _earlier(registry, name, history)
    if earlier is None:
        raise RegistryError(
            f"{current} is the first {alias.name} of {name}: there is none to go back to",
            hint="`a2h models` shows the others",
        )
    registry.fetch_version(earlier)  # its files must be sound before anybody generates with them
    outcome = Rollback(model=current.uri, restored=earlier.uri, alias=alias.name, dry_run=command.dry_run)
    if command.dry_run:
        return outcome
    with alias.locked(current, seconds=command.lock_s) as lock:
        record_rollback(registry, current, outcome, command.reason)
        alias.move(earlier, current, lock)
        alias.write_history(history[: last_index(history[:-1], earlier.version) + 1])
    return outcome


def _earlier(registry: ModelRegistry, name: str, history: list[int]) -> ModelVersion | None:
    """The last version in the history that is not the current one and still exists."""
    existing = {version.version: version for version, _ in registry.list_versions(name)}
    *earlier, current = history
    return next((existing[number] for number in reversed(earlier) if number != current and number in existing), None)


def record_rollback(registry: ModelRegistry, version: ModelVersion, outcome: Rollback, reason: str) -> None:
    """Record a rollback with the version that lost the alias, as tags and as an artifact."""
    values = {**asdict(outcome), "reason": reason, "decided_at": _now()}
    name = _artifact_name(version, f"{outcome.alias}-rollback", str(values["decided_at"]))
    registry.tracker.log_texts(version.run_id, {f"{name}.json": _json(values)})
    tags = {"validation_status": "rolled_back", "rollback": json.dumps(values, sort_keys=True)}
    registry.set_tags(version, tags)
