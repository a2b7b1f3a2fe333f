"""`a2h --help`, `a2h COMMAND --help` and `--help-all`, all read off the configuration dataclasses."""

from __future__ import annotations

import re
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from typing import Any, get_args, get_origin

from a2h_models.settings import REQUIRED, Setting, documented
from pipelines.cli.command import Command
from pipelines.config import compose

EXAMPLE_STAGE = "image_generator"  # whose keys `a2h train --help` shows, if no stage is given
INTERPOLATED = re.compile(r"\$\{oc\.env:(\w+),'(.*)'\}")  # an environment variable, and what holds without it
REFERENCE = "`--help-all` lists every key"


@dataclass(frozen=True, kw_only=True)
class KeyHelp:
    """One key of a command, as help and reference pages show it."""

    key: str
    flag: str  # empty where the key has none
    type: str
    default: str
    meaning: str
    important: bool


@dataclass(frozen=True, kw_only=True)
class CommandHelp:
    """One command, as help and reference pages show it."""

    name: str
    summary: str
    groups: Mapping[str, tuple[str, ...]]  # group of conf/ → its choices
    keys: tuple[KeyHelp, ...]


def overview(commands: Mapping[str, Command]) -> str:
    """The page of `a2h --help`."""
    width = max(map(len, commands))
    rows = "\n".join(f"  {name:<{width}} {command.help}" for name, command in commands.items())
    return (
        "a2h: raw talking videos in, a measured, registered model and talking-head videos out\n\n"
        f"a2h COMMAND [key=value …]\n\n{rows}\n\n"
        "a2h COMMAND --help      its important keys; --help-all lists every key\n"
        "a2h COMMAND --cfg job   the whole configuration that would run\n"
        "--verbose               tracebacks instead of sentences\n"
        "--version\n\n"
        "Where to begin:  a2h demo"
    )


def command_help(command: Command, overrides: Sequence[str] = ()) -> CommandHelp:
    """Describe a command: its groups, and every key with type, default and meaning."""
    flags = {key: name for name, key in command.flags.items()}
    return CommandHelp(
        name=command.name,
        summary=command.help,
        groups=groups_of(command.name),
        keys=tuple(_keys(command, flags, overrides)),
    )


def reference(commands: Mapping[str, Command]) -> tuple[CommandHelp, ...]:
    """Describe every command, for the documentation."""
    return tuple(command_help(command) for command in commands.values())


def page(command: Command, overrides: Sequence[str], *, everything: bool) -> str:
    """The page of `a2h COMMAND --help`: groups, then one line a key."""
    described = command_help(command, overrides)
    keys = [key for key in described.keys if everything or key.important]
    lines = [f"a2h {described.name}: {described.summary}", ""]
    words = [f"[{name.upper()}]" for name in (*command.positional, *((f"{command.rest} …",) if command.rest else ()))]
    lines += [" ".join(["a2h", command.name, *words, "[key=value …]"]), ""]
    if described.groups:
        lines += ["Groups:", *(f"  {name}={'|'.join(choices)}" for name, choices in described.groups.items()), ""]
    rows = [("key", "type", "default", "meaning"), *((_names(key), key.type, key.default, key.meaning) for key in keys)]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines += [
        "  ".join((*(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=False)), row[3])) for row in rows
    ]
    hidden = len(described.keys) - len(keys)
    return "\n".join([*lines, *(["", f"{hidden} more keys: {REFERENCE}"] if hidden else [])])


def _names(key: KeyHelp) -> str:
    return f"{key.key} (--{key.flag})" if key.flag else key.key


def _keys(command: Command, flags: Mapping[str, str], overrides: Sequence[str]) -> Iterator[KeyHelp]:
    later: list[tuple[str, type]] = []
    for each in documented(command.schema):
        below = _schema_below(command, each, overrides)
        if below:
            later.append((f"{each.name}.", below))
        else:
            yield _key(each, "", flags)
    while later:
        prefix, schema = later.pop(0)
        for position, each in enumerate(documented(schema)):
            if isinstance(each.type, type) and is_dataclass(each.type):
                later.insert(position, (f"{prefix}{each.name}.", each.type))
            else:
                yield _key(each, prefix, flags)


def _schema_below(command: Command, each: Setting, overrides: Sequence[str]) -> type | None:
    if command.name == "train" and each.name == "stage":
        return compose.stage_schema([*overrides, f"stage={EXAMPLE_STAGE}"])
    if command.name == "train" and each.name == "networks":
        from a2h_models.networks import NetworksConfig

        return NetworksConfig
    return each.type if isinstance(each.type, type) and is_dataclass(each.type) else None


def _key(each: Setting, prefix: str, flags: Mapping[str, str]) -> KeyHelp:
    key = f"{prefix}{each.name}"
    limits = str(each.limits)
    extra = ", ".join(part for part in (each.unit if each.unit != "share" else "", limits) if part)
    return KeyHelp(
        key=key,
        flag=flags.get(key, "" if prefix else each.name),
        type=type_name(each.type),
        default=default_text(each.default),
        meaning=f"{each.meaning} [{extra}]" if extra else each.meaning,
        important=each.important,
    )


def type_name(kind: Any) -> str:
    """A type in words: text, number, whole number, yes/no, list, mapping."""
    if get_origin(kind) is types.UnionType:
        return type_name(next(each for each in get_args(kind) if each is not type(None)))
    plain = {str: "text", int: "whole number", float: "number", bool: "yes/no"}
    if kind in plain:
        return plain[kind]
    return {tuple: "list", list: "list", dict: "mapping"}.get(get_origin(kind) or kind, "text")


def default_text(default: Any) -> str:
    """A default as the command line takes it; what must be given is `required`."""
    if default == REQUIRED:
        return "required"
    if isinstance(default, bool):
        return str(default).lower()
    if default is None:
        return "null"
    if isinstance(default, list | tuple):
        return f"[{','.join(map(str, default))}]"
    return INTERPOLATED.sub(r"$\1 or \2", str(default)).replace("${paths.", "{") if default != "" else '""'


def groups_of(name: str) -> dict[str, tuple[str, ...]]:
    """The groups of conf/ that a command chooses from, with their choices."""
    file = compose.CONF_DIR / f"{name}.yaml"
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    folders = [path for path in sorted(compose.CONF_DIR.iterdir()) if path.is_dir() and f"- {path.name}:" in text]
    return {folder.name: tuple(sorted(path.stem for path in folder.glob("*.yaml"))) for folder in folders}
