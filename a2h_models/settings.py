"""Fields of configuration dataclasses: default, unit, range and meaning, each written down once.

A field is declared with `setting`, and its meaning is the docstring below it:

    >>> @dataclass
    ... class CropConfig:
    ...     scale: float = setting(1.6, at_least=1.0, at_most=4.0)
    ...     '''Side of the crop / longer side of the face box.'''

`documented` reads all of that for help texts and reference pages; `validate` holds values to the
ranges. Nothing here imports more than the standard library.
"""

from __future__ import annotations

import ast
import inspect
import math
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from functools import cache
from itertools import pairwise
from typing import Any, get_type_hints

from a2h_models.errors import ConfigError

METADATA = "a2h"  # key of a field's metadata
REQUIRED = "???"  # a value that the user must give; omegaconf's word


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The values that a setting may take; None is no bound."""

    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None
    choices: tuple[Any, ...] = ()

    def broken_by(self, value: Any) -> bool:
        """Tell whether a value is outside. The elements of a list or mapping are values themselves."""
        if isinstance(value, dict):
            return any(self.broken_by(each) for each in value.values())
        if isinstance(value, list | tuple):
            return any(self.broken_by(each) for each in value)
        if value is None or value == REQUIRED:
            return False
        if self.choices:
            return value not in self.choices
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return not math.isfinite(value) or any(
            (
                self.at_least is not None and value < self.at_least,
                self.above is not None and value <= self.above,
                self.at_most is not None and value > self.at_most,
                self.below is not None and value >= self.below,
            )
        )

    def __str__(self) -> str:
        if self.choices:
            return " | ".join(map(str, self.choices))
        lower = (
            f"≥ {self.at_least:g}"
            if self.at_least is not None
            else f"> {self.above:g}"
            if self.above is not None
            else ""
        )
        upper = (
            f"≤ {self.at_most:g}" if self.at_most is not None else f"< {self.below:g}" if self.below is not None else ""
        )
        return " and ".join(part for part in (lower, upper) if part)


@dataclass(frozen=True, kw_only=True)
class Setting:
    """All that is known of one field of a configuration."""

    name: str
    type: Any
    default: Any
    unit: str
    limits: Limits
    meaning: str
    important: bool


def setting(
    default: Any = REQUIRED,
    *,
    factory: Callable[[], Any] | None = None,
    unit: str = "",
    important: bool = False,
    **limits: Any,
) -> Any:
    """Declare a field of a configuration dataclass.

    Args:
        default: the value where the user says nothing; without one, the user must.
        factory: makes the default, where it is a list or a mapping.
        unit: of the value, for people: "s", "frames", "share".
        important: shown by `--help`; the others by `--help-all`.
        limits: `at_least`, `above`, `at_most`, `below` or `choices`, as in `Limits`.
    """
    if "choices" in limits:
        limits["choices"] = tuple(limits["choices"])
    metadata = {METADATA: (unit, important, Limits(**limits))}
    if factory is not None:
        return field(default_factory=factory, metadata=metadata)
    return field(default=default, metadata=metadata)


def documented(config: type) -> tuple[Setting, ...]:
    """Describe the fields of a configuration dataclass, those of its bases first."""
    meanings = field_docstrings(config)
    types = get_type_hints(config)
    return tuple(_describe(each, types[each.name], meanings.get(each.name, "")) for each in fields(config))


def _describe(each: Field[Any], kind: Any, meaning: str) -> Setting:
    unit, important, limits = each.metadata.get(METADATA, ("", False, Limits()))
    default = each.default_factory() if each.default_factory is not MISSING else each.default
    return Setting(
        name=each.name, type=kind, default=default, unit=unit, limits=limits, meaning=meaning, important=important
    )


@cache
def field_docstrings(config: type) -> dict[str, str]:
    """Read the docstring below each field out of the source of a class and its bases, on one line each."""
    meanings: dict[str, str] = {}
    for base in reversed(config.__mro__):
        if is_dataclass(base):
            meanings |= dict(_docstrings_of(base))
    return meanings


def _docstrings_of(config: type) -> Iterator[tuple[str, str]]:
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(config))).body
    body: Sequence[ast.stmt] = definition.body if isinstance(definition, ast.ClassDef) else ()
    for statement, below in pairwise(body):
        if not (isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)):
            continue
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) and isinstance(below.value.value, str):
            yield statement.target.id, " ".join(below.value.value.split())


def validate(config: Any, prefix: str = "") -> None:
    """Hold every value of a configuration to its range, however deep it stands.

    Args:
        config: an instance of a configuration dataclass.
        prefix: of the keys, with its dot: `stage.`.

    Raises:
        ConfigError: naming the first key whose value is outside, the value and the range.
    """
    for each in fields(config):
        value, key = getattr(config, each.name), f"{prefix}{each.name}"
        if is_dataclass(value) and not isinstance(value, type):
            validate(value, f"{key}.")
            continue
        _, _, limits = each.metadata.get(METADATA, ("", False, Limits()))
        if limits.broken_by(value):
            raise ConfigError(f"{key} is {_shown(value)}, and must be {limits if str(limits) else 'a finite number'}")


def _shown(value: Any) -> str:
    return repr(value) if isinstance(value, str) else str(value)
