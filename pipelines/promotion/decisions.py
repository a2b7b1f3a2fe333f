"""Gates and decisions of promotion: a table with reasons, for people and for the records."""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.core.text_table import text_table

PASSED, FAILED, WAIVED = "passed", "failed", "waived"


@dataclass(frozen=True, kw_only=True)
class Gate:
    """One condition and its result. A waived gate is shown and does not count."""

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

    @property
    def status(self) -> str:
        """The tag `validation_status`: passed | refused | waived (a person decided without gates)."""
        if not self.accepted:
            return "refused"
        return WAIVED if all(gate.status == WAIVED for gate in self.gates) else PASSED

    def __str__(self) -> str:
        rows = [(gate.name, gate.status, gate.required, gate.found, gate.reason) for gate in self.gates]
        return text_table(f"{self.model} → {self.alias}", ("gate", "", "required", "found", "why"), rows) + self.verdict

    @property
    def verdict(self) -> str:
        """The outcome in one sentence."""
        if not self.accepted:
            return f"{self.model} is refused: {len(self.reasons)} of {len(self.gates)} gates failed"
        instead = f" instead of {self.previous}" if self.previous else ""
        return f"{self.model} {'would become' if self.dry_run else 'is now'} {self.alias}{instead}"
