"""Each gate, for each reason it can refuse: pure values, no database."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.config import PromoteConfig
from pipelines.registry.gates import FAILED, PASSED, WAIVED, Decision, Facts, Gate, Measured, judge

CONFIG = PromoteConfig(
    lower_bounds={"true_pose/psnr": 20.0},
    upper_bounds={"true_pose/l1": 0.1},
    margins={"true_pose/psnr": 0.5, "true_pose/l1": 0.01},
)
MEASURED = Measured(
    set_id="s" * 16,
    dataset="mine, test, 3 clips",
    dataset_fingerprint="f" * 64,
    identities=("eve",),
    means={"true_pose/psnr": 25.0, "true_pose/l1": 0.05},
)
GOOD = Facts(
    uri="models:/audio2head/2",
    tags={"schema_version": "1", "git_sha": "a" * 40, "code_clean": "true", "dataset_fingerprint": "d" * 64},
    trained_on=("ann", "bob"),
    weights_sound="",
    measured=MEASURED,
)


def with_means(facts: Facts, **means: float) -> Facts:
    renamed = {name.replace("__", "/"): value for name, value in means.items()}
    return replace(facts, measured=replace(MEASURED, means={**MEASURED.means, **renamed}))


def failed(gates: tuple[Gate, ...]) -> list[str]:
    return [gate.name for gate in gates if gate.status == FAILED]


def test_a_good_version_passes_every_gate() -> None:
    gates = judge(GOOD, replace(GOOD, uri="models:/audio2head/1"), CONFIG)
    assert {gate.status for gate in gates} == {PASSED}
    assert len({gate.name for gate in gates}) == len(gates)


def test_the_first_version_has_no_champion_to_beat() -> None:
    gates = judge(GOOD, None, CONFIG)
    assert failed(gates) == []
    assert next(gate for gate in gates if gate.name == "champion").found == "there is none yet"


TAGS = dict(GOOD.tags)


@pytest.mark.parametrize(
    ("change", "gate"),
    [
        ({"weights_sound": "x.safetensors is not the file that was registered"}, "weights"),
        ({"tags": TAGS | {"schema_version": "0"}}, "schema_version"),
        ({"tags": TAGS | {"code_clean": "false"}}, "code_version"),
        ({"tags": TAGS | {"git_sha": "unknown"}}, "code_version"),
        ({"tags": TAGS | {"dataset_fingerprint": f"{'d' * 64},unknown"}}, "training_data"),
        ({"measured": None}, "evaluation"),
        ({"measured": replace(MEASURED, dataset_fingerprint="unknown")}, "evaluation_data"),
        ({"trained_on": ("eve", "ann")}, "speakers_disjoint"),
        ({"trained_on": ()}, "speakers_disjoint"),
        ({"measured": replace(MEASURED, identities=())}, "speakers_disjoint"),
        ({"measured": replace(MEASURED, means={"true_pose/psnr": 19.9, "true_pose/l1": 0.05})}, "true_pose/psnr"),
        ({"measured": replace(MEASURED, means={"true_pose/psnr": 25.0, "true_pose/l1": 0.11})}, "true_pose/l1"),
        ({"measured": replace(MEASURED, means={"true_pose/psnr": 25.0})}, "true_pose/l1"),
        ({"measured": replace(MEASURED, means={"true_pose/psnr": float("nan"), "true_pose/l1": 0.05})}, "true_pose/psnr"),
    ],
)
def test_each_reason_to_refuse(change: dict[str, Any], gate: str) -> None:
    assert failed(judge(replace(GOOD, **change), None, CONFIG)) == [gate]


@pytest.mark.parametrize(
    ("facts", "gate"),
    [
        (with_means(GOOD, true_pose__psnr=24.4), "true_pose/psnr against champion"),
        (with_means(GOOD, true_pose__l1=0.0601), "true_pose/l1 against champion"),
    ],
)
def test_worse_than_the_champion_by_more_than_the_margin(facts: Facts, gate: str) -> None:
    assert failed(judge(facts, GOOD, CONFIG)) == [gate]


@given(psnr=st.floats(24.51, 99), l1=st.floats(0, 0.059))
def test_within_the_margin_or_better_is_not_worse(psnr: float, l1: float) -> None:
    assert failed(judge(with_means(GOOD, true_pose__psnr=psnr, true_pose__l1=l1), GOOD, CONFIG)) == []


@pytest.mark.parametrize("measured", [None, replace(MEASURED, set_id="another")])
def test_a_champion_must_be_measured_on_the_same_set(measured: Measured | None) -> None:
    champion = replace(GOOD, uri="models:/audio2head/1", measured=measured)
    gates = judge(GOOD, champion, CONFIG)
    assert failed(gates) == ["champion"]
    assert "a2h evaluate model=models:/audio2head/1" in gates[-1].reason


def test_a_margin_needs_a_metric_that_can_be_ranked() -> None:
    facts = with_means(GOOD, predicted_pose__jitter=0.1)
    gates = judge(facts, facts, replace(CONFIG, margins={"predicted_pose/jitter": 0.1}))
    assert failed(gates) == ["predicted_pose/jitter against champion"]


def test_what_is_not_required_is_waived_and_shown() -> None:
    facts = replace(GOOD, tags=TAGS | {"code_clean": "false"}, trained_on=("eve",))
    gates = judge(facts, None, replace(CONFIG, require_clean_code=False, require_disjoint_speakers=False))
    assert failed(gates) == []
    waived = {gate.name: gate.reason for gate in gates if gate.status == WAIVED}
    assert waived.keys() == {"code_version", "speakers_disjoint"}
    assert "eve" in waived["speakers_disjoint"]


def test_many_leaking_speakers_are_named_by_example() -> None:
    names = tuple(f"person-{number}" for number in range(50))
    facts = replace(GOOD, trained_on=names, measured=replace(MEASURED, identities=names))
    (gate,) = (gate for gate in judge(facts, None, CONFIG) if gate.name == "speakers_disjoint")
    assert gate.found == "50 of 50"
    assert gate.reason.endswith("person-10 …")


def test_a_decision_reads_as_a_table() -> None:
    gates = judge(replace(GOOD, measured=None), None, CONFIG)
    decision = Decision(model=GOOD.uri, alias="champion", accepted=False, dry_run=False, previous="", gates=gates)
    text = str(decision)
    assert all(gate.name in text for gate in gates)
    assert text.endswith("models:/audio2head/2 is refused: 1 of 5 gates failed")
    assert decision.reasons == ["evaluation: run `a2h evaluate model=models:/audio2head/2 …` first"]
    accepted = replace(decision, accepted=True, previous="models:/audio2head/1")
    assert accepted.verdict == "models:/audio2head/2 is now champion instead of models:/audio2head/1"
    assert "would become" in replace(accepted, dry_run=True).verdict
