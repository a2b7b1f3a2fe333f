"""The gates of promotion: pure functions of what is recorded about a candidate and the champion."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from math import isfinite, nan
from typing import Any

from a2h_models.data_types import FEATURES_VERSION, SCHEMA_VERSION
from pipelines.config import PromoteConfig
from pipelines.promotion.comparison import metric_loss
from pipelines.promotion.decisions import FAILED, PASSED, WAIVED, Gate
from pipelines.promotion.facts import ChampionFacts, Facts
from pipelines.registry import EvaluationResults
from pipelines.tracking import UNKNOWN

NAMES_SHOWN = 3  # of the people, videos or licences in a reason
DIGITS_SHOWN = 12  # of a hash


def judge_gates(candidate: Facts, champion: ChampionFacts | None, config: PromoteConfig) -> tuple[Gate, ...]:
    """Judge all gates, in a fixed order.

    The gates of metrics are there only if the candidate was evaluated.

    Args:
        candidate: the version that asks for the alias.
        champion: the version that has it; None: there is none, or it is the candidate.
        config: bounds and margins, and which gates can refuse.
    """
    return (*_version_gates(candidate, config), *_evaluation_gates(candidate, champion, config))


def _version_gates(candidate: Facts, config: PromoteConfig) -> Iterator[Gate]:
    yield _gate(
        "weights",
        not candidate.files_problem,
        "as registered",
        "changed" if candidate.files_problem else "as registered",
        candidate.files_problem,
    )
    version = candidate.tags.get("schema_version", UNKNOWN)
    yield _gate(
        "schema_version",
        version == str(SCHEMA_VERSION),
        str(SCHEMA_VERSION),
        version,
        "made with another version of the samples",
    )
    yield _code_gate(candidate, config)
    yield _training_data_gate(candidate)
    yield _datasets_gate(candidate, config)
    yield _features_gate(candidate, config)
    yield _licence_gate(candidate, config)
    yield _consent_gate(candidate, config)


def _evaluation_gates(candidate: Facts, champion: ChampionFacts | None, config: PromoteConfig) -> Iterator[Gate]:
    evaluation = candidate.evaluation
    if evaluation is None:
        yield _gate("evaluation", False, "recorded", "none", f"run `a2h evaluate model={candidate.uri} …` first")
        return
    yield _gate("evaluation", True, "recorded", evaluation.dataset)
    found = evaluation.dataset_fingerprint[:DIGITS_SHOWN]
    yield _gate(
        "evaluation_data",
        _is_known(evaluation.dataset_fingerprint),
        "known fingerprint",
        found,
        "the dataset has no fingerprint",
    )
    few = "chance could hide a loss; evaluate more clips, or lower promote.min_clips"
    yield _gate(
        "evaluation_size", evaluation.clips >= config.min_clips, f"{config.min_clips} clips", str(evaluation.clips), few
    )
    yield _disjoint_gate("speakers_disjoint", candidate.training_identities, evaluation.identities, config)
    yield _disjoint_gate("sources_disjoint", candidate.sources, evaluation.sources, config)
    if config.max_real_time_factor:
        yield _speed_gate(evaluation, config.max_real_time_factor)
    for metric, bound in sorted(config.lower_bounds.items()):
        yield _bound_gate(metric, evaluation, f"at least {bound:g}", lambda value, bound=bound: value >= bound)
    for metric, bound in sorted(config.upper_bounds.items()):
        yield _bound_gate(metric, evaluation, f"at most {bound:g}", lambda value, bound=bound: value <= bound)
    yield from _champion_gates(evaluation, champion, config)


def _gate(name: str, holds: bool, required: str, found: str, reason: str = "") -> Gate:
    return Gate(
        name=name, status=PASSED if holds else FAILED, required=required, found=found, reason="" if holds else reason
    )


def _waive_unless(required: bool, gate: Gate) -> Gate:
    """Turn a failed gate that the config does not require into one that is shown but cannot refuse."""
    if required or gate.status == PASSED:
        return gate
    return Gate(name=gate.name, status=WAIVED, required=gate.required, found=gate.found, reason=gate.reason)


def _first_few(names: list[str]) -> str:
    return f"{', '.join(names[:NAMES_SHOWN])}{' …' if len(names) > NAMES_SHOWN else ''}"


# -------------------------------------------------------------------------- of the version itself
def _code_gate(candidate: Facts, config: PromoteConfig) -> Gate:
    sha, clean = candidate.tags.get("git_sha", UNKNOWN), candidate.tags.get("code_clean") == "true"
    found = f"{sha[:DIGITS_SHOWN]}{'' if clean else ', changed'}"
    reason = "this code cannot be built again; commit it and train again"
    gate = _gate("code_version", sha != UNKNOWN and clean, "a clean commit", found, reason)
    return _waive_unless(config.require_clean_code, gate)


def _is_known(fingerprint: str) -> bool:
    return bool(fingerprint) and all(part not in {"", UNKNOWN} for part in fingerprint.split(","))


def _training_data_gate(candidate: Facts) -> Gate:
    fingerprint = candidate.tags.get("dataset_fingerprint", UNKNOWN)
    found = ", ".join(part[:DIGITS_SHOWN] for part in fingerprint.split(","))
    return _gate(
        "training_data",
        _is_known(fingerprint),
        "known fingerprint",
        found,
        "a stage does not say what it was trained on",
    )


def _datasets_gate(candidate: Facts, config: PromoteConfig) -> Gate:
    """The shards of the datasets must still add up to the recorded fingerprints."""
    datasets = candidate.dataset_problems
    wrong = [f"{path} {problem}" for path, problem in sorted(datasets.items()) if problem]
    found = f"{len(datasets) - len(wrong)} of {len(datasets)} verified" if datasets else "not recorded"
    reason = "; ".join(wrong) or "the place of the training data is not recorded"
    gate = _gate("data_verified", bool(datasets) and not wrong, "datasets as recorded", found, reason)
    return _waive_unless(config.require_verified_data, gate)


def _features_gate(candidate: Facts, config: PromoteConfig) -> Gate:
    """Training, evaluation and generation must compute speech and pose in one way."""
    evaluated = [candidate.evaluation.features] if candidate.evaluation else []
    recorded = [*candidate.features, *evaluated]
    known = bool(candidate.features) and all(recorded)
    ways = sorted({_text(features) for features in recorded})
    current = all(features.get("version") == FEATURES_VERSION for features in recorded)
    found = " | ".join(ways) if known else "not recorded"
    reason = (
        "computed in different ways"
        if known and len(ways) > 1
        else "computed by another version of this program, or not recorded"
    )
    holds = known and len(ways) == 1 and current
    gate = _gate("feature_version", holds, f"one way, version {FEATURES_VERSION}", found, reason)
    return _waive_unless(config.require_same_features, gate)


def _text(features: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in sorted(features.items()))


def _licence_gate(candidate: Facts, config: PromoteConfig) -> Gate:
    patterns = [pattern.casefold() for pattern in config.licences]
    licences = sorted({licence for licence, _ in candidate.rights})
    bad = [
        name or "not stated"
        for name in licences
        if not name or not any(fnmatchcase(name.casefold(), p) for p in patterns)
    ]
    found = _first_few([name or "not stated" for name in licences]) or "not recorded"
    reason = f"not allowed: {_first_few(bad)}" if bad else "the sources of the training data are not recorded"
    gate = _gate("licence", bool(licences) and not bad, _first_few(list(config.licences)), found, reason)
    return _waive_unless(config.require_licence, gate)


def _consent_gate(candidate: Facts, config: PromoteConfig) -> Gate:
    answers = sorted({consent for _, consent in candidate.rights})
    found = _first_few([answer or "not stated" for answer in answers]) or "not recorded"
    gate = _gate("consent", answers == ["yes"], "yes, of every source", found, "consent was refused or is not recorded")
    return _waive_unless(config.require_consent or "no" in answers, gate)


# ------------------------------------------------------------------------------ of the evaluation
def _disjoint_gate(
    name: str, trained: tuple[str, ...] | frozenset[str], evaluated: tuple[str, ...], config: PromoteConfig
) -> Gate:
    """Training and evaluation must have nothing in common; what is not recorded cannot pass."""
    if not trained or not evaluated:
        gate = _gate(name, False, "none in both", "not recorded", "those of training or evaluation are not recorded")
    else:
        both = sorted(set(evaluated).intersection(trained))
        reason = f"also in the training data: {_first_few(both)}"
        gate = _gate(name, not both, "none in both", f"{len(both)} of {len(evaluated)}", reason)
    return _waive_unless(config.require_disjoint_speakers, gate)


def _speed_gate(evaluation: EvaluationResults, limit: float) -> Gate:
    found = evaluation.real_time_factor
    if found is None or not isfinite(found):
        return _gate(
            "real_time_factor", False, f"at most {limit:g}", "not measured", "the evaluation did not measure its speed"
        )
    return _gate("real_time_factor", found <= limit, f"at most {limit:g}", f"{found:.3g}", "too slow")


def _bound_gate(metric: str, evaluation: EvaluationResults, required: str, holds: Any) -> Gate:
    value = evaluation.means.get(metric)
    if value is None or not isfinite(value):
        return _gate(metric, False, required, "not measured", "a bound on what was not measured")
    return _gate(metric, holds(value), required, f"{value:.4g}", "out of bounds")


def _champion_gates(
    evaluation: EvaluationResults, champion: ChampionFacts | None, config: PromoteConfig
) -> Iterator[Gate]:
    if champion is None:
        yield _gate("champion", True, "not worse", "there is none yet")
        return
    baseline = champion.evaluation
    if baseline is None or baseline.set_id != evaluation.set_id:
        reason = f"run `a2h evaluate model={champion.uri} …` on the same set"
        yield _gate("champion", False, f"evaluated on {evaluation.dataset}", "not", reason)
        return
    yield _gate("champion", True, f"evaluated on {evaluation.dataset}", champion.uri)
    for metric, margin in sorted(config.margins.items()):
        yield _loss_gate(metric, margin, evaluation, baseline)


def _loss_gate(metric: str, margin: float, candidate: EvaluationResults, champion: EvaluationResults) -> Gate:
    name, required = f"{metric} against champion", f"loss at most {margin:g}, or chance"
    loss = metric_loss(metric, candidate, champion)
    if loss is None:
        return _gate(name, False, required, "not measured", "not measured for both, or a metric that cannot be ranked")
    if loss.missing:
        reason = f"it could not be measured on {loss.missing} clips on which the champion's was"
        return _gate(name, False, required, f"{loss.missing} clips lack it", reason)
    means = [results.means.get(metric, nan) for results in (candidate, champion)]
    reason = f"{means[0]:.4g} against the champion's {means[1]:.4g}: worse by more than chance and {margin:g}"
    return _gate(name, not loss.exceeds(margin), required, f"loss {loss}", reason)
