"""Settings: their ranges hold, and what is written below a field is what help shows."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from a2h_models.errors import ConfigError
from a2h_models.settings import REQUIRED, Limits, documented, setting, validate


@dataclass
class Inner:
    share: float = setting(0.5, at_least=0.0, at_most=1.0)
    """Of the frames, so many."""

    mode: str = setting("fast", choices=("fast", "exact"))
    """How it is computed."""


@dataclass
class Base:
    steps: int = setting(10, above=0, unit="batches", important=True)
    """How long
    it takes.
    """


@dataclass
class Outer(Base):
    name: str = setting()
    weights: tuple[float, ...] = setting((1.0, 2.0), at_least=0.0)
    plain: float = 1.0
    inner: Inner = field(default_factory=Inner)


def test_a_field_is_described_by_what_stands_at_it() -> None:
    steps, name, *_ = documented(Outer)
    assert (steps.name, steps.type, steps.default, steps.unit, steps.important) == ("steps", int, 10, "batches", True)
    assert steps.meaning == "How long it takes."
    assert str(steps.limits) == "> 0"
    assert name.default == REQUIRED


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"steps": 0}, "steps is 0, and must be > 0"),
        ({"inner": Inner(share=1.5)}, "inner.share is 1.5, and must be ≥ 0 and ≤ 1"),
        ({"inner": Inner(share=float("nan"))}, "inner.share is nan, and must be ≥ 0 and ≤ 1"),
        ({"inner": Inner(mode="slow")}, "inner.mode is 'slow', and must be fast | exact"),
        ({"weights": (1.0, -1.0)}, "weights is (1.0, -1.0), and must be ≥ 0"),
        ({"plain": float("inf")}, "plain is inf, and must be a finite number"),
    ],
)
def test_a_value_outside_its_range_is_one_sentence(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        validate(Outer(**changes))
    assert refusal.value.message == sentence


def test_defaults_and_missing_values_pass() -> None:
    validate(Outer())
    assert not Limits(choices=("a",)).broken_by(REQUIRED)
    assert not Limits(at_least=1).broken_by(None)
