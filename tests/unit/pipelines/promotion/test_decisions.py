"""A decision, as it is printed and recorded."""

import pytest

from pipelines.promotion.decisions import FAILED, PASSED, WAIVED, Decision, Gate


def decision(*statuses: str, accepted: bool, **changes: object) -> Decision:
    gates = tuple(
        Gate(name=f"gate{number}", status=status, required="a", found="b", reason="because")
        for number, status in enumerate(statuses)
    )
    values = {"model": "models:/m/2", "alias": "champion", "dry_run": False, "previous": "models:/m/1"}
    return Decision(**(values | {"accepted": accepted, "gates": gates} | changes))


@pytest.mark.parametrize(
    ("statuses", "accepted", "status"),
    [((PASSED, WAIVED), True, "passed"), ((WAIVED,), True, "waived"), ((PASSED, FAILED), False, "refused")],
)
def test_the_status_is_a_tag(statuses: tuple[str, ...], accepted: bool, status: str) -> None:
    assert decision(*statuses, accepted=accepted).status == status


def test_only_failed_gates_are_reasons() -> None:
    assert decision(PASSED, WAIVED, FAILED, accepted=False).reasons == ["gate2: because"]


def test_the_verdict_is_one_sentence() -> None:
    assert decision(PASSED, accepted=True).verdict == "models:/m/2 is now champion instead of models:/m/1"
    dry_run = decision(PASSED, accepted=True, dry_run=True, previous="")
    assert dry_run.verdict == "models:/m/2 would become champion"
    assert decision(FAILED, accepted=False).verdict == "models:/m/2 is refused: 1 of 1 gates failed"
    assert "gate0" in str(decision(FAILED, accepted=False))
