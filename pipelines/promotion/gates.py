"""The gates of promotion: pure functions of what is recorded about a candidate and the champion."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from math import isfinite
from typing import Any

from a2h_models.data_types import FEATURES_VERSION, SCHEMA_VERSION
from pipelines.config.promotion import PromoteConfig
from pipelines.promotion.comparison import loss
from pipelines.promotion.decisions import FAILED, PASSED, WAIVED, Gate
from pipelines.promotion.facts import ChampionFacts, Facts
from pipelines.registry import EvaluationResults
from pipelines.tracking import UNKNOWN

NAMES_SHOWN = 3  # of the people, videos or licences in a reason
DIGITS_SHOWN = 12  # of a hash


def judge_gates(candidate: Facts, champion: ChampionFacts | None, config: PromoteConfig) -> tuple[Gate, ...]:
    """All gates, in a fixed order.

    Metrics' gates stand only where there is an evaluation to read.
    """
    return (*_of_the_version(candidate, config), *_of_the_evaluation(candidate, champion, config))


def _of_the_version(candidate: Facts, config: PromoteConfig) -> Iterator[Gate]:
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
    yield _code_version(candidate, config)
    yield _training_data(candidate)
    yield _verified(candidate, config)
    yield _features(candidate, config)
    yield _licence(candidate, config)
    yield _consent(candidate, config)


def _of_the_evaluation(candidate: Facts, champion: ChampionFacts | None, config: PromoteConfig) -> Iterator[Gate]:
    evaluation = candidate.evaluation
    if evaluation is None:
        yield _gate("evaluation", False, "recorded", "none", f"run `a2h evaluate model={candidate.uri} …` first")
        return
    yield _gate("evaluation", True, "recorded", evaluation.dataset)
    found = evaluation.dataset_fingerprint[:DIGITS_SHOWN]
    yield _gate(
        "evaluation_data",
        _known(evaluation.dataset_fingerprint),
        "known fingerprint",
        found,
        "the dataset has no fingerprint",
    )
    few = "chance could hide a loss; evaluate more clips, or lower promote.min_clips"
    yield _gate(
        "evaluation_size", evaluation.clips >= config.min_clips, f"{config.min_clips} clips", str(evaluation.clips), few
    )
    yield _disjoint("speakers_disjoint", candidate.training_identities, evaluation.identities, config)
    yield _disjoint("sources_disjoint", candidate.sources, evaluation.sources, config)
    if config.max_real_time_factor:
        yield _latency(evaluation, config.max_real_time_factor)
    for metric, bound in sorted(config.lower_bounds.items()):
        yield _bound(metric, evaluation, f"at least {bound:g}", lambda value, bound=bound: value >= bound)
    for metric, bound in sorted(config.upper_bounds.items()):
        yield _bound(metric, evaluation, f"at most {bound:g}", lambda value, bound=bound: value <= bound)
    yield from _against_champion(evaluation, champion, config)


def _gate(name: str, holds: bool, required: str, found: str, reason: str = "") -> Gate:
    return Gate(
        name=name, status=PASSED if holds else FAILED, required=required, found=found, reason="" if holds else reason
    )


def _waived(gate: Gate, required: bool) -> Gate:
    """A gate that the config does not ask for is shown, but cannot refuse."""
    if required or gate.status == PASSED:
        return gate
    return Gate(name=gate.name, status=WAIVED, required=gate.required, found=gate.found, reason=gate.reason)


def _some(names: list[str]) -> str:
    return f"{', '.join(names[:NAMES_SHOWN])}{' …' if len(names) > NAMES_SHOWN else ''}"


# ---------------------------------------------------------------------- what the version is made of
def _code_version(candidate: Facts, config: PromoteConfig) -> Gate:
    sha, clean = candidate.tags.get("git_sha", UNKNOWN), candidate.tags.get("code_clean") == "true"
    found = f"{sha[:DIGITS_SHOWN]}{'' if clean else ', changed'}"
    reason = "nobody can build this code again; commit, and train from that"
    return _waived(
        _gate("code_version", sha != UNKNOWN and clean, "a clean commit", found, reason), config.require_clean_code
    )


def _known(fingerprint: str) -> bool:
    return bool(fingerprint) and all(part not in {"", UNKNOWN} for part in fingerprint.split(","))


def _training_data(candidate: Facts) -> Gate:
    fingerprint = candidate.tags.get("dataset_fingerprint", UNKNOWN)
    found = ", ".join(part[:DIGITS_SHOWN] for part in fingerprint.split(","))
    return _gate(
        "training_data", _known(fingerprint), "known fingerprint", found, "a stage does not say what it was trained on"
    )


def _verified(candidate: Facts, config: PromoteConfig) -> Gate:
    """The datasets themselves, looked at again: their shards still add up to the recorded
    fingerprints.
    """
    wrong = [f"{path} {problem}" for path, problem in sorted(candidate.dataset_problems.items()) if problem]
    found = (
        f"{len(candidate.dataset_problems) - len(wrong)} of {len(candidate.dataset_problems)} verified"
        if candidate.dataset_problems
        else "not recorded"
    )
    reason = "; ".join(wrong) or "where the training data lies is not recorded"
    holds = bool(candidate.dataset_problems) and not wrong
    return _waived(_gate("data_verified", holds, "datasets as recorded", found, reason), config.require_verified_data)


def _features(candidate: Facts, config: PromoteConfig) -> Gate:
    """Training, evaluation and generation must compute speech and pose in the same way."""
    evaluated = [candidate.evaluation.features] if candidate.evaluation else []
    every = [_text(features) for features in (*candidate.features, *evaluated)]
    known = bool(candidate.features) and all(every)
    ways = sorted(set(every))
    current = all(features.get("version") == FEATURES_VERSION for features in (*candidate.features, *evaluated))
    found = " | ".join(ways) if known else "not recorded"
    reason = (
        "computed in different ways"
        if known and len(ways) > 1
        else "computed by another version of this program, or not recorded"
    )
    gate = _gate(
        "feature_version", known and len(ways) == 1 and current, f"one way, version {FEATURES_VERSION}", found, reason
    )
    return _waived(gate, config.require_same_features)


def _text(features: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in sorted(features.items()))


def _licence(candidate: Facts, config: PromoteConfig) -> Gate:
    patterns = [pattern.casefold() for pattern in config.licences]
    licences = sorted({licence for licence, _ in candidate.rights})
    bad = [
        name or "not stated"
        for name in licences
        if not name or not any(fnmatchcase(name.casefold(), p) for p in patterns)
    ]
    found = _some([name or "not stated" for name in licences]) or "not recorded"
    reason = f"not allowed: {_some(bad)}" if bad else "the sources of the training data are not recorded"
    return _waived(
        _gate("licence", bool(licences) and not bad, _some(list(config.licences)), found, reason),
        config.require_licence,
    )


def _consent(candidate: Facts, config: PromoteConfig) -> Gate:
    answers = sorted({consent for _, consent in candidate.rights})
    found = _some([answer or "not stated" for answer in answers]) or "not recorded"
    gate = _gate("consent", answers == ["yes"], "yes, of every source", found, "somebody refused, or nobody asked")
    return _waived(gate, config.require_consent or "no" in answers)


# -------------------------------------------------------------------------------- what was measured
def _disjoint(
    name: str, trained: tuple[str, ...] | frozenset[str], evaluated: tuple[str, ...], config: PromoteConfig
) -> Gate:
    """Nothing of the evaluation set may have been seen in training; a version that does not say
    what was seen cannot pass.
    """
    if not trained or not evaluated:
        gate = _gate(name, False, "none in both", "not recorded", "those of training or evaluation are not recorded")
    else:
        both = sorted(set(evaluated).intersection(trained))
        reason = f"also in the training data: {_some(both)}"
        gate = _gate(name, not both, "none in both", f"{len(both)} of {len(evaluated)}", reason)
    return _waived(gate, config.require_disjoint_speakers)


def _latency(evaluation: EvaluationResults, limit: float) -> Gate:
    found = evaluation.real_time_factor
    if found is None or not isfinite(found):
        return _gate(
            "real_time_factor", False, f"at most {limit:g}", "not measured", "the evaluation did not take the time"
        )
    return _gate("real_time_factor", found <= limit, f"at most {limit:g}", f"{found:.3g}", "too slow")


def _bound(metric: str, evaluation: EvaluationResults, required: str, holds: Any) -> Gate:
    value = evaluation.means.get(metric)
    if value is None or not isfinite(value):
        return _gate(metric, False, required, "not measured", "a bound on what was not measured")
    return _gate(metric, holds(value), required, f"{value:.4g}", "out of bounds")


def _against_champion(
    evaluation: EvaluationResults, champion: ChampionFacts | None, config: PromoteConfig
) -> Iterator[Gate]:
    if champion is None:
        yield _gate("champion", True, "not worse", "there is none yet")
        return
    theirs = champion.evaluation
    if theirs is None or theirs.set_id != evaluation.set_id:
        todo = f"run `a2h evaluate model={champion.uri} …` on the same set"
        yield _gate("champion", False, f"evaluated on {evaluation.dataset}", "not", todo)
        return
    yield _gate("champion", True, f"evaluated on {evaluation.dataset}", champion.uri)
    for metric, margin in sorted(config.margins.items()):
        yield _not_worse(metric, margin, evaluation, theirs)


def _not_worse(metric: str, margin: float, ours: EvaluationResults, theirs: EvaluationResults) -> Gate:
    name, required = f"{metric} against champion", f"loss at most {margin:g}, or chance"
    found = loss(metric, ours, theirs)
    if found is None:
        return _gate(name, False, required, "not measured", "not measured for both, or a metric that cannot be ranked")
    if found.missing:
        missing = f"{found.missing} clips lack it"
        return _gate(
            name,
            False,
            required,
            missing,
            f"it could not be measured on {found.missing} clips on which the champion's was",
        )
    means = f"{ours.means.get(metric, float('nan')):.4g} against the champion's {theirs.means.get(metric, float('nan')):.4g}"
    return _gate(
        name, not found.exceeds(margin), required, f"loss {found}", f"{means}: worse by more than chance and {margin:g}"
    )
