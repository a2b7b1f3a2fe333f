"""What a command is, and how its words become `key=value`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, is_dataclass
from typing import Any

from a2h_models.errors import ConfigError
from a2h_models.settings import documented
from pipelines.config import compose


@dataclass(frozen=True)
class Command:
    """One word after `a2h`: a dataclass of pipelines/config, and the function that gets it filled.

    Attributes:
        name: the word.
        run: does the work and returns the exit code.
        positional: keys of words that stand alone, in their order.
        rest: key of a list that takes all further words.
        flags: short flag → key, for keys below the top: `--face 2` for `generate.face=2`.
        words: flags that stand for a whole `key=value`.
    """

    name: str
    run: Callable[[Any], int]
    positional: tuple[str, ...] = ()
    rest: str = ""
    flags: Mapping[str, str] = field(default_factory=dict)
    words: Mapping[str, str] = field(default_factory=dict)

    @property
    def schema(self) -> type:
        return compose.COMMANDS[self.name]

    @property
    def help(self) -> str:
        """The first line of the schema's docstring, without its full stop."""
        return (self.schema.__doc__ or "").strip().splitlines()[0].rstrip(".")


def to_overrides(command: Command, words: Sequence[str]) -> tuple[bool, list[str]]:
    """Write the words of a command line as `key=value`; tell whether `--cfg job` is among them.

    `--source_image a.png`, `--source_image=a.png`, `--still`, `--dry-run` and `limit=3` are all understood.

    Raises:
        ConfigError: for a flag that the command does not have, and for a word too many.
    """
    show_config, overrides, rest = False, [], list(words)
    alone: list[str] = []  # words that are neither flags nor key=value
    while rest:
        word = rest.pop(0)
        if word == "--cfg":
            if not rest or rest.pop(0) != "job":
                raise ConfigError("--cfg knows only the word job", hint="say --cfg job")
            show_config = True
        elif word.startswith("--"):
            overrides.append(_flag_override(command, word[2:], rest))
        elif is_override(word):
            overrides.append(word)
        else:
            alone.append(word)
    return show_config, [*_positional_overrides(command, alone), *overrides]


def _flag_override(command: Command, flag: str, rest: list[str]) -> str:
    """Write a flag as `key=value`; a value that stands behind it is taken out of `rest`."""
    name, equals, value = flag.partition("=")
    if (whole := command.words.get(name.replace("-", "_"))) and not equals:
        return whole
    key = key_of_flag(command, name)
    if not equals:
        value = rest.pop(0) if rest and _is_value(rest[0], command, key) else "true"
    return f"{key}={value}"


def _positional_overrides(command: Command, words: Sequence[str]) -> list[str]:
    overrides = [f"{key}={word}" for key, word in zip(command.positional, words, strict=False)]
    further = words[len(command.positional) :]
    if further and not command.rest:
        raise ConfigError(f"{further[0]!r} is not key=value", hint="say for example out=datasets/mine")
    return [*overrides, f"{command.rest}=[{','.join(further)}]"] if further else overrides


def key_of_flag(command: Command, name: str) -> str:
    """Find the key that a flag stands for: a declared short flag, or a key by its full name.

    Raises:
        ConfigError: naming the nearest flag.
    """
    import difflib

    wanted = name.replace("-", "_")
    if wanted in command.flags:
        return command.flags[wanted]
    top = [each.name for each in documented(command.schema)]
    if wanted in top or wanted.partition(".")[0] in top:
        return wanted
    close = difflib.get_close_matches(wanted, [*command.flags, *top], n=1)
    hint = f"did you mean --{close[0]}?" if close else f"`a2h {command.name} --help` lists the keys"
    raise ConfigError(f"{command.name} has no flag --{name}", hint=hint)


def is_override(word: str) -> bool:
    key, equals, _ = word.partition("=")
    return (
        bool(equals) and key.lstrip("+~").replace(".", "").replace("_", "").replace("@", "").replace("/", "").isalnum()
    )


def _is_value(word: str, command: Command, key: str) -> bool:
    """Tell whether a word belongs to the flag before it; a switch takes only true and false."""
    if type_of(command.schema, key) is bool:
        return word in {"true", "false"}
    return not word.startswith("--") and not is_override(word)


def type_of(schema: type, key: str) -> Any:
    """The type that a dotted key is declared with; None where it is not declared."""
    name, _, below = key.partition(".")
    kind = next((each.type for each in documented(schema) if each.name == name), None)
    if not below:
        return kind
    return type_of(kind, below) if isinstance(kind, type) and is_dataclass(kind) else None
