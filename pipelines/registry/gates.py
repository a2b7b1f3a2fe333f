"""The gates of promotion: pure functions of what is recorded about a candidate and the champion."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

from a2h_models.metrics import DEFINITIONS
from a2h_models.sample import SCHEMA_VERSION
from pipelines.config import PromoteConfig
from pipelines.registry.tracking import UNKNOWN

PASSED, FAILED, WAIVED = "passed", "failed", "waived"
NAMES_SHOWN = 3  # of the people in a reason


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What an evaluation found, and on what."""

    set_id: str  # of the dataset's fingerprint, the split, the clips and how much of them was looked at
    dataset: str  # for people: the dataset and the split
    dataset_fingerprint: str
    identities: tuple[str, ...]
    means: Mapping[str, float]  # "row/metric" → mean over clips


@dataclass(frozen=True, kw_only=True)
class Facts:
    """All that a gate may look at of one version."""

    uri: str
    tags: Mapping[str, str]
    trained_on: tuple[str, ...]  # identities
    weights_sound: str  # empty, or what is wrong with the files
    measured: Measured | None


@dataclass(frozen=True, kw_only=True)
class Gate:
    """One condition and what came of it. A waived gate is shown and does not count."""

    name: str
    status: str  # passed | failed | waived
    required: str
    found: str
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What promotion decided about a version, and why."""

    model: str
    alias: str
    accepted: bool
    dry_run: bool
    previous: str  # the version that had the alias; empty: none
    gates: tuple[Gate, ...]

    @property
    def reasons(self) -> list[str]:
        """A sentence for each gate that failed."""
        return [f"{gate.name}: {gate.reason}" for gate in self.gates if gate.status == FAILED]

    def __str__(self) -> str:
        from io import StringIO

        from rich.console import Console
        from rich.table import Table

        table = Table(title=f"{self.model} → {self.alias}", title_justify="left")
        for column in ("gate", "", "required", "found", "why"):
            table.add_column(column, overflow="fold")
        for gate in self.gates:
            table.add_row(gate.name, gate.status, gate.required, gate.found, gate.reason)
        text = StringIO()
        Console(file=text, width=120).print(table, highlight=False)
        return text.getvalue() + self.verdict

    @property
    def verdict(self) -> str:
        """One sentence."""
        if not self.accepted:
            return f"{self.model} is refused: {len(self.reasons)} of {len(self.gates)} gates failed"
        instead = f" instead of {self.previous}" if self.previous else ""
        return f"{self.model} {'would become' if self.dry_run else 'is now'} {self.alias}{instead}"


def judge(candidate: Facts, champion: Facts | None, config: PromoteConfig) -> tuple[Gate, ...]:
    """All gates, in a fixed order. Metrics' gates stand only where there is an evaluation to read."""
    return tuple(_gates(candidate, champion, config))


def _gates(candidate: Facts, champion: Facts | None, config: PromoteConfig) -> Iterator[Gate]:
    yield _gate(
        "weights",
        not candidate.weights_sound,
        "as registered",
        "changed" if candidate.weights_sound else "as registered",
        candidate.weights_sound,
    )
    version = candidate.tags.get("schema_version", UNKNOWN)
    yield _gate("schema_version", version == str(SCHEMA_VERSION), str(SCHEMA_VERSION), version, "made with another version of the samples")
    yield _code_version(candidate, config)
    yield _training_data(candidate)
    measured = candidate.measured
    if measured is None:
        yield _gate("evaluation", False, "recorded", "none", f"run `a2h evaluate model={candidate.uri} …` first")
        return
    yield _gate("evaluation", True, "recorded", measured.dataset)
    yield _gate(
        "evaluation_data",
        _known(measured.dataset_fingerprint),
        "known fingerprint",
        measured.dataset_fingerprint[:12],
        "the dataset has no fingerprint",
    )
    yield _speakers(candidate, measured, config)
    for metric, bound in sorted(config.lower_bounds.items()):
        yield _bound("at least", metric, bound, measured, worse=lambda value, bound: value < bound)
    for metric, bound in sorted(config.upper_bounds.items()):
        yield _bound("at most", metric, bound, measured, worse=lambda value, bound: value > bound)
    yield from _against_champion(measured, champion, config)


def _gate(name: str, holds: bool, required: str, found: str, reason: str = "") -> Gate:
    return Gate(name=name, status=PASSED if holds else FAILED, required=required, found=found, reason="" if holds else reason)


def _waived(gate: Gate, required: bool) -> Gate:
    """A gate that the config does not ask for is shown, but cannot refuse."""
    if required or gate.status == PASSED:
        return gate
    return Gate(name=gate.name, status=WAIVED, required=gate.required, found=gate.found, reason=gate.reason)


def _known(fingerprint: str) -> bool:
    return bool(fingerprint) and all(part not in {"", UNKNOWN} for part in fingerprint.split(","))


def _code_version(candidate: Facts, config: PromoteConfig) -> Gate:
    sha, clean = candidate.tags.get("git_sha", UNKNOWN), candidate.tags.get("code_clean") == "true"
    found = f"{sha[:12]}{'' if clean else ', changed'}"
    gate = _gate(
        "code_version", sha != UNKNOWN and clean, "a clean commit", found, "nobody can build this code again; commit, and train from that"
    )
    return _waived(gate, config.require_clean_code)


def _training_data(candidate: Facts) -> Gate:
    fingerprint = candidate.tags.get("dataset_fingerprint", UNKNOWN)
    found = ", ".join(part[:12] for part in fingerprint.split(","))
    return _gate("training_data", _known(fingerprint), "known fingerprint", found, "a stage does not say what it was trained on")


def _speakers(candidate: Facts, measured: Measured, config: PromoteConfig) -> Gate:
    """Nobody of the evaluation set may have been seen in training; a version that does not say who was seen cannot pass."""
    name, required = "speakers_disjoint", "nobody in both"
    if not candidate.trained_on or not measured.identities:
        gate = _gate(name, False, required, "not recorded", "the identities of training or evaluation are not recorded")
    else:
        both = sorted(set(candidate.trained_on) & set(measured.identities))
        reason = f"also in the training data: {', '.join(both[:NAMES_SHOWN])}{' …' if len(both) > NAMES_SHOWN else ''}"
        gate = _gate(name, not both, required, f"{len(both)} of {len(measured.identities)}", reason)
    return _waived(gate, config.require_disjoint_speakers)


def _bound(words: str, metric: str, bound: float, measured: Measured, *, worse: Any) -> Gate:
    value = measured.means.get(metric)
    if value is None or not isfinite(value):
        return _gate(metric, False, f"{words} {bound:g}", "not measured", "a bound on what was not measured")
    return _gate(metric, not worse(value, bound), f"{words} {bound:g}", f"{value:.4g}", "out of bounds")


def _against_champion(measured: Measured, champion: Facts | None, config: PromoteConfig) -> Iterator[Gate]:
    if champion is None:
        yield _gate("champion", True, "not worse", "there is none yet")
        return
    theirs = champion.measured
    if theirs is None or theirs.set_id != measured.set_id:
        yield _gate(
            "champion", False, f"evaluated on {measured.dataset}", "not", f"run `a2h evaluate model={champion.uri} …` on the same set"
        )
        return
    yield _gate("champion", True, f"evaluated on {measured.dataset}", champion.uri)
    for metric, margin in sorted(config.margins.items()):
        yield _not_worse(metric, margin, measured.means.get(metric), theirs.means.get(metric))


def _not_worse(metric: str, margin: float, ours: float | None, theirs: float | None) -> Gate:
    name = f"{metric} against champion"
    if ours is None or theirs is None or not (isfinite(ours) and isfinite(theirs)):
        return _gate(name, False, "measured for both", "not", "a margin on what was not measured")
    definition = DEFINITIONS.get(metric.rpartition("/")[2])
    if definition is None or definition.best == "truth":
        return _gate(name, False, "a metric that is best high or low", metric, "promote.margins holds a metric that cannot be ranked")
    higher = definition.best == "higher"
    loss = theirs - ours if higher else ours - theirs
    limit = theirs - margin if higher else theirs + margin
    return _gate(
        name,
        loss <= margin,
        f"at {'least' if higher else 'most'} {limit:.4g}",
        f"{ours:.4g}",
        f"worse than the champion's {theirs:.4g} by more than {margin:g}",
    )
