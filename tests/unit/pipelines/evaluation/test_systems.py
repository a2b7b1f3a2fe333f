"""The systems whose videos are measured."""

from pathlib import Path

from pipelines.evaluation.systems import SystemsUnderTest


def test_systems_are_known_by_their_weights(tmp_path: Path) -> None:
    a, b = (SystemsUnderTest(candidate=str(tmp_path), third_party=True, weights={"alexnet": name}) for name in "ab")
    assert a.fingerprint != b.fingerprint
