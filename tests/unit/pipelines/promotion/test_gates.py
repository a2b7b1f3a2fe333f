"""Each gate, for each reason it can refuse: pure values, no database."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.config import PromoteConfig
from pipelines.promotion.decisions import FAILED, PASSED, WAIVED, Decision, Gate
from pipelines.promotion.facts import ChampionFacts, Facts
from pipelines.promotion.gates import judge_gates
from pipelines.registry import EvaluationResults

CONFIG = PromoteConfig(
    lower_bounds={"true_pose/psnr": 20.0},
    upper_bounds={"true_pose/l1": 0.1},
    margins={"true_pose/psnr": 0.5, "true_pose/l1": 0.01},
    min_clips=3,
    max_real_time_factor=2.0,
    licences=("cc-by*", "own"),
)
FEATURES = {"version": 1, "f0": "harvest", "pose_smoothing_frames": 1.0}
MEASURED = EvaluationResults(
    set_id="s" * 16,
    dataset="mine, test, 3 clips",
    dataset_path="/data/mine",
    dataset_fingerprint="f" * 64,
    clips=3,
    identities=("eve",),
    sources=("e" * 64,),
    features=FEATURES,
    means={"true_pose/psnr": 25.0, "true_pose/l1": 0.05},
    real_time_factor=0.5,
)
GOOD = Facts(
    uri="models:/audio2head/2",
    tags={"schema_version": "1", "git_sha": "a" * 40, "code_clean": "true", "dataset_fingerprint": "d" * 64},
    files_problem="",
    training_identities=("ann", "bob"),
    sources=frozenset({"a" * 64, "b" * 64}),
    rights=frozenset({("CC-BY 4.0", "yes"), ("own", "yes")}),
    features=(FEATURES,),
    evaluation=MEASURED,
    dataset_problems={"/data/mine": ""},
)
CHAMPION = ChampionFacts("models:/audio2head/1", MEASURED)


def with_means(facts: Facts, **means: float) -> Facts:
    renamed = {name.replace("__", "/"): value for name, value in means.items()}
    return replace(facts, evaluation=replace(MEASURED, means={**MEASURED.means, **renamed}))


def failed(gates: tuple[Gate, ...]) -> list[str]:
    return [gate.name for gate in gates if gate.status == FAILED]


def test_a_good_version_passes_every_gate() -> None:
    gates = judge_gates(GOOD, CHAMPION, CONFIG)
    assert {gate.status for gate in gates} == {PASSED}
    assert len({gate.name for gate in gates}) == len(gates)


def test_the_first_version_has_no_champion_to_beat() -> None:
    gates = judge_gates(GOOD, None, CONFIG)
    assert failed(gates) == []
    assert next(gate for gate in gates if gate.name == "champion").found == "there is none yet"


TAGS = dict(GOOD.tags)


@pytest.mark.parametrize(
    ("change", "gate"),
    [
        ({"files_problem": "x.safetensors is not the file that was registered"}, "weights"),
        ({"tags": TAGS | {"schema_version": "0"}}, "schema_version"),
        ({"tags": TAGS | {"code_clean": "false"}}, "code_version"),
        ({"tags": TAGS | {"git_sha": "unknown"}}, "code_version"),
        ({"tags": TAGS | {"dataset_fingerprint": f"{'d' * 64},unknown"}}, "training_data"),
        ({"dataset_problems": {"/data/mine": "has the fingerprint 0 now"}}, "data_verified"),
        ({"dataset_problems": {}}, "data_verified"),
        ({"features": (FEATURES, FEATURES | {"f0": "dio"})}, "feature_version"),
        ({"features": ()}, "feature_version"),
        ({"evaluation": replace(MEASURED, features=FEATURES | {"f0": "dio"})}, "feature_version"),
        (
            {
                "features": (FEATURES | {"version": 0},),
                "evaluation": replace(MEASURED, features=FEATURES | {"version": 0}),
            },
            "feature_version",
        ),
        ({"rights": frozenset({("own", "yes"), ("", "yes")})}, "licence"),
        ({"rights": frozenset({("CC-BY-NC 4.0", "yes"), ("all rights reserved", "yes")})}, "licence"),
        ({"rights": frozenset({("own", "yes"), ("own", "")})}, "consent"),
        ({"rights": frozenset({("own", "yes"), ("own", "no")})}, "consent"),
        ({"evaluation": None}, "evaluation"),
        ({"evaluation": replace(MEASURED, clips=2)}, "evaluation_size"),
        ({"evaluation": replace(MEASURED, real_time_factor=2.1)}, "real_time_factor"),
        ({"evaluation": replace(MEASURED, real_time_factor=None)}, "real_time_factor"),
        ({"sources": frozenset({"a" * 64, "e" * 64})}, "sources_disjoint"),
        ({"sources": frozenset()}, "sources_disjoint"),
        ({"evaluation": replace(MEASURED, sources=())}, "sources_disjoint"),
        ({"evaluation": replace(MEASURED, dataset_fingerprint="unknown")}, "evaluation_data"),
        ({"training_identities": ("eve", "ann")}, "speakers_disjoint"),
        ({"training_identities": ()}, "speakers_disjoint"),
        ({"evaluation": replace(MEASURED, identities=())}, "speakers_disjoint"),
        ({"evaluation": replace(MEASURED, means={"true_pose/psnr": 19.9, "true_pose/l1": 0.05})}, "true_pose/psnr"),
        ({"evaluation": replace(MEASURED, means={"true_pose/psnr": 25.0, "true_pose/l1": 0.11})}, "true_pose/l1"),
        ({"evaluation": replace(MEASURED, means={"true_pose/psnr": 25.0})}, "true_pose/l1"),
        (
            {"evaluation": replace(MEASURED, means={"true_pose/psnr": float("nan"), "true_pose/l1": 0.05})},
            "true_pose/psnr",
        ),
    ],
)
def test_each_reason_to_refuse(change: dict[str, Any], gate: str) -> None:
    assert failed(judge_gates(replace(GOOD, **change), None, CONFIG)) == [gate]


@pytest.mark.parametrize(
    ("facts", "gate"),
    [
        (with_means(GOOD, true_pose__psnr=24.4), "true_pose/psnr against champion"),
        (with_means(GOOD, true_pose__l1=0.0601), "true_pose/l1 against champion"),
    ],
)
def test_worse_than_the_champion_by_more_than_the_margin(facts: Facts, gate: str) -> None:
    assert failed(judge_gates(facts, CHAMPION, CONFIG)) == [gate]


@given(psnr=st.floats(24.51, 99), l1=st.floats(0, 0.059))
def test_within_the_margin_or_better_is_not_worse(psnr: float, l1: float) -> None:
    assert failed(judge_gates(with_means(GOOD, true_pose__psnr=psnr, true_pose__l1=l1), CHAMPION, CONFIG)) == []


@pytest.mark.parametrize("evaluation", [None, replace(MEASURED, set_id="another")])
def test_a_champion_must_be_measured_on_the_same_set(evaluation: EvaluationResults | None) -> None:
    gates = judge_gates(GOOD, ChampionFacts("models:/audio2head/1", evaluation), CONFIG)
    assert failed(gates) == ["champion"]
    assert "a2h evaluate model=models:/audio2head/1" in gates[-1].reason


@pytest.mark.parametrize("metric", ["predicted_pose/charm", "psnr", "true_pose/ssim"])
def test_a_margin_needs_a_measured_metric_with_a_direction(metric: str) -> None:
    gates = judge_gates(GOOD, CHAMPION, replace(CONFIG, margins={metric: 0.1}))
    assert failed(gates) == [f"{metric} against champion"]


def test_the_default_preset_has_a_latency_budget() -> None:
    from pipelines.config.compose import compose

    limit = compose("promote", ["model=audio2head/2"]).promote.max_real_time_factor
    config = replace(CONFIG, max_real_time_factor=limit)
    assert (
        failed(judge_gates(replace(GOOD, evaluation=replace(MEASURED, real_time_factor=limit)), CHAMPION, config)) == []
    )
    gates = judge_gates(replace(GOOD, evaluation=replace(MEASURED, real_time_factor=limit * 1.01)), CHAMPION, config)
    assert [(gate.name, gate.reason) for gate in gates if gate.status == FAILED] == [("real_time_factor", "too slow")]


def test_nobody_asks_for_the_time_where_no_limit_is_set() -> None:
    gates = judge_gates(
        replace(GOOD, evaluation=replace(MEASURED, real_time_factor=None)),
        None,
        replace(CONFIG, max_real_time_factor=0.0),
    )
    assert "real_time_factor" not in {gate.name for gate in gates}


def test_nothing_known_of_the_sources_is_no_licence() -> None:
    gates = judge_gates(replace(GOOD, rights=frozenset()), None, CONFIG)
    assert failed(gates) == ["licence", "consent"]
    assert {gate.found for gate in gates if gate.name in {"licence", "consent"}} == {"not recorded"}


LENIENT = {name: False for name in vars(PromoteConfig()) if name.startswith("require_")}


def test_what_is_not_required_is_waived_and_shown() -> None:
    facts = replace(
        GOOD,
        tags=TAGS | {"code_clean": "false"},
        training_identities=("eve",),
        sources=frozenset({"e" * 64}),
        rights=frozenset({("", "")}),
        features=(),
        dataset_problems={},
    )
    gates = judge_gates(facts, None, replace(CONFIG, **LENIENT))
    assert failed(gates) == []
    waived = {gate.name: gate.reason for gate in gates if gate.status == WAIVED}
    assert waived.keys() == {
        "code_version",
        "data_verified",
        "feature_version",
        "licence",
        "consent",
        "speakers_disjoint",
        "sources_disjoint",
    }
    assert "eve" in waived["speakers_disjoint"]


def test_a_no_is_never_waived() -> None:
    facts = replace(GOOD, rights=frozenset({("own", "yes"), ("own", "no")}))
    assert failed(judge_gates(facts, None, replace(CONFIG, **LENIENT))) == ["consent"]


def test_many_leaking_speakers_are_named_by_example() -> None:
    names = tuple(f"person-{number}" for number in range(50))
    facts = replace(GOOD, training_identities=names, evaluation=replace(MEASURED, identities=names))
    (gate,) = (gate for gate in judge_gates(facts, None, CONFIG) if gate.name == "speakers_disjoint")
    assert gate.found == "50 of 50"
    assert gate.reason.endswith("person-10 …")


def test_a_decision_reads_as_a_table() -> None:
    gates = judge_gates(replace(GOOD, evaluation=None), None, CONFIG)
    decision = Decision(model=GOOD.uri, alias="champion", accepted=False, dry_run=False, previous="", gates=gates)
    text = str(decision)
    assert all(gate.name in text for gate in gates)
    assert text.endswith("models:/audio2head/2 is refused: 1 of 9 gates failed")
    assert decision.reasons == ["evaluation: run `a2h evaluate model=models:/audio2head/2 …` first"]
    accepted = replace(decision, accepted=True, previous="models:/audio2head/1")
    assert accepted.verdict == "models:/audio2head/2 is now champion instead of models:/audio2head/1"
    assert "would become" in replace(accepted, dry_run=True).verdict
