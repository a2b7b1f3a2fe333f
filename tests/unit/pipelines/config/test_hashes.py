"""The hash of a configuration follows its values."""

import string
from dataclasses import dataclass, field

from pipelines.config.compose import compose
from pipelines.config.hashes import HASH_DIGITS, config_hash

REQUIRED = ["videos=in", "out=out"]  # keys that prepare cannot do without


@dataclass
class Inner:
    rate: float = 0.5


@dataclass
class Outer:
    name: str = "a"
    copy: str = "${name}"
    inner: Inner = field(default_factory=Inner)


@dataclass
class Reordered:
    """The fields of Outer in another order, with the reference written out."""

    inner: Inner = field(default_factory=Inner)
    copy: str = "a"
    name: str = "a"


def test_it_is_sixteen_hexadecimal_digits() -> None:
    digest = config_hash(Outer())
    assert len(digest) == HASH_DIGITS == 16
    assert set(digest) <= set(string.hexdigits.lower())


def test_a_nested_value_changes_the_hash() -> None:
    assert config_hash(Outer(inner=Inner(rate=0.25))) != config_hash(Outer())


def test_references_are_resolved_and_the_order_of_fields_does_not_matter() -> None:
    assert config_hash(Reordered()) == config_hash(Outer())
    assert config_hash(Outer(name="b")) != config_hash(Outer(name="b", copy="a"))


def test_the_config_hash_changes_with_values_and_with_nothing_else() -> None:
    one = compose("prepare", REQUIRED)
    same = compose("prepare", [*REQUIRED, "prepare=default"])
    other = compose("prepare", [*REQUIRED, "prepare.clips.min_frames=80"])
    assert config_hash(one.prepare) == config_hash(same.prepare) != config_hash(other.prepare)
