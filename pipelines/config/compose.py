"""From command-line overrides to a typed config: conf/<command>.yaml, its groups, and `key=value`
in Hydra's grammar.

The only importer of Hydra. What a user mistypes becomes one sentence that names the key and the
nearest known one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from a2h_models.errors import ConfigError
from a2h_models.settings import documented, validate
from pipelines import config

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from a2h_models.settings import Setting

_ROOT = Path(__file__).resolve().parents[1]
# checkout, or installed wheel
CONF_DIR = next(path for path in (_ROOT.parent / "conf", _ROOT / "conf") if path.is_dir())

COMMANDS: dict[str, type] = {
    "prepare": config.PrepareCommand,
    "verify": config.VerifyCommand,
    "keypoints": config.KeypointsCommand,
    "split": config.SplitCommand,
    "forget": config.ForgetCommand,
    "train": config.TrainCommand,
    "register": config.RegisterCommand,
    "freeze": config.FreezeCommand,
    "evaluate": config.EvaluateCommand,
    "promote": config.PromoteCommand,
    "rollback": config.RollbackCommand,
    "models": config.ModelsCommand,
    "card": config.CardCommand,
    "copy": config.CopyCommand,
    "import-release": config.ImportReleaseCommand,
    "export-release": config.ExportReleaseCommand,
    "export": config.ExportCommand,
    "generate": config.GenerateCommand,
    "inspect": config.InspectCommand,
    "app": config.AppCommand,
    "assets": config.AssetsCommand,
    "talkers": config.TalkersCommand,
    "demo": config.DemoCommand,
}
NOT_FINITE = {"nan", "inf", "-inf"}  # words of Hydra's grammar
STAGES: dict[str, type] = {
    "image_generator": config.ImageGeneratorStage,
    "motion_field": config.MotionFieldStage,
    "head_pose": config.HeadPoseStage,
    "sync_expert": config.SyncExpertStage,
}


def compose(command: str, overrides: Sequence[str] = ()) -> Any:
    """The typed config of a command: conf/<command>.yaml, its groups, and `key=value` overrides in
    Hydra's grammar.

    Raises:
        ConfigError: for an unknown key or group choice (with a suggestion), a value of the wrong
            type, or a missing one.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import InterpolationResolutionError, MissingMandatoryValue, OmegaConfBaseException

    check_ranges(command, overrides)
    composed = compose_dict(command, overrides)
    try:
        typed = OmegaConf.to_object(composed)
    except MissingMandatoryValue as error:
        key = str(getattr(error, "full_key", "") or "")
        raise ConfigError(
            f"{command} needs a value for {key}", hint=f"say {key}=…; `a2h {command} --help` lists the keys"
        ) from None
    except InterpolationResolutionError as error:
        raise ConfigError(f"{command}: {_first_line(error)}") from None
    except OmegaConfBaseException as error:
        raise ConfigError(f"{command}: {_first_line(error)}") from None
    validate(typed)
    return typed


def compose_dict(command: str, overrides: Sequence[str] = ()) -> DictConfig:
    """Like `compose`, before it becomes dataclasses: what `--cfg job` prints."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    _store_schemas(command)
    texts = _text_keys(COMMANDS[command])
    plain = {
        key: value
        for key, equals, value in (override.partition("=") for override in overrides)
        if equals and key in texts
    }
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
            composed = cast(
                "DictConfig",
                hydra_compose(
                    _config_name(command), overrides=[word for word in overrides if word.partition("=")[0] not in plain]
                ),
            )
        for key, value in plain.items():
            OmegaConf.update(composed, key, value)
    except (HydraException, OmegaConfBaseException) as error:
        raise _explained(error, command, overrides) from None
    return composed


def to_yaml(command: str, overrides: Sequence[str] = ()) -> str:
    """The whole configuration that would run, as YAML."""
    from omegaconf import OmegaConf

    return OmegaConf.to_yaml(compose_dict(command, overrides))


def sweep(command: str, overrides: Sequence[str]) -> list[list[str]]:
    """Overrides in Hydra's grammar of sweeps (`a=1,2 b=choice(x,y) c=range(1,4)`) → the overrides
    of each job, all combinations.

    Raises:
        ConfigError: for a word that is no override.
    """
    from itertools import product

    texts = _text_keys(COMMANDS[command])
    return [list(job) for job in product(*(_choices(override, texts) for override in overrides))]


def _choices(override: str, texts: set[str]) -> list[str]:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        parsed = OverridesParser.create().parse_override(override)
    except HydraException as error:
        if override.partition("=")[0] in texts:  # a path may be what the grammar is not
            return [override]
        raise ConfigError(
            f"--multirun: {_first_line(error)}", hint="say for example stage.optimiser.lr=1e-4,2e-4"
        ) from None
    if not parsed.is_sweep_override():
        return [override]
    return [f"{parsed.get_key_element()}={value}" for value in parsed.sweep_string_iterator()]


def check_ranges(command: str, overrides: Sequence[str]) -> None:
    """Hold the values of `key=value` words to their ranges, before anything heavy is imported.

    Only plain numbers and words are looked at; `validate` sees everything after composition.

    Raises:
        ConfigError: naming the key, the value and the range.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    for key, equals, text in (override.partition("=") for override in overrides):
        described = _setting_of(command, key.lstrip("+"), overrides) if equals else None
        if described is None:
            continue
        try:
            value = OmegaConf.to_container(OmegaConf.from_dotlist([f"value={text}"]))["value"]  # type: ignore[call-overload,index]
        except (OmegaConfBaseException, ValueError):
            continue  # interpolations are resolved by composition
        if text in NOT_FINITE:
            value = float(text)
        if described.limits.broken_by(value):
            limits = str(described.limits) or "a finite number"
            raise ConfigError(f"{key} is {value}, and must be {limits}", hint=f"`a2h {command} --help` lists the keys")


def _setting_of(command: str, key: str, overrides: Sequence[str]) -> Setting | None:
    """Find what a dotted key is declared as; None for a group, an unknown key, or one of `networks`."""
    from dataclasses import is_dataclass

    schema: Any = COMMANDS[command]
    *groups, name = key.split(".")
    for group in groups:
        if (command, group) == ("train", "stage"):
            schema = stage_schema(overrides)
            continue
        found = {each.name: each.type for each in documented(schema)}
        schema = found.get(group)
        if not (isinstance(schema, type) and is_dataclass(schema)):
            return None
    return next((each for each in documented(schema) if each.name == name), None) if schema else None


def stage_schema(overrides: Sequence[str]) -> type | None:
    """The dataclass of the stage that is chosen; stages in phases share one (motion_field_rendered)."""
    chosen = next((word.partition("=")[2] for word in overrides if word.startswith("stage=")), "")
    return next((schema for name, schema in STAGES.items() if chosen.startswith(name)), None)


def _config_name(command: str) -> str:
    """The file of conf/ that a command starts from; a command without groups needs none."""
    file, schema = CONF_DIR / f"{command}.yaml", f"{command}_schema"
    return command if file.is_file() and f"- {schema}" in file.read_text(encoding="utf-8") else schema


def _store_schemas(command: str) -> None:
    from hydra.core.config_store import ConfigStore

    store = ConfigStore.instance()
    store.store(name=f"{command}_schema", node=COMMANDS[command])
    if command == "train":
        from a2h_models.networks import NetworksConfig  # torch: only where networks are configured

        store.store(group="networks", name="schema", node=NetworksConfig)
        for name, stage in STAGES.items():
            store.store(group="stage", name=f"{name}_schema", node=stage)


def _text_keys(schema: type, prefix: str = "") -> set[str]:
    """Dotted names of the text fields of a config dataclass.

    Their values do not go through Hydra's grammar, so that a path may hold commas, brackets and
    equal signs.
    """
    from dataclasses import fields, is_dataclass
    from typing import get_type_hints

    keys: set[str] = set()
    hints = get_type_hints(schema)
    for entry in fields(schema):
        kind = hints[entry.name]
        if kind is str:
            keys.add(prefix + entry.name)
        elif is_dataclass(kind):
            keys |= _text_keys(cast("type", kind), f"{prefix}{entry.name}.")
    return keys


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0].rstrip(".")


def _explained(error: Exception, command: str, overrides: Sequence[str]) -> ConfigError:
    """One sentence that names the key, with the nearest known one or the possible choices as a
    hint.
    """
    import re

    text = "\n".join(str(cause) for cause in (error, error.__cause__) if cause is not None)
    if found := re.search(r"Could not find '(\w+)/([^']*)'", text):
        group, choice = found.groups()
        choices = sorted(path.stem for path in (CONF_DIR / group).glob("*.yaml"))
        return ConfigError(f"{command}: {group}={choice} is not a choice", hint=f"{group} can be {', '.join(choices)}")
    if found := re.search(r"You must specify '(\w+)'", text):
        group = found[1]
        choices = sorted(path.stem for path in (CONF_DIR / group).glob("*.yaml"))
        return ConfigError(f"{command} needs a choice for {group}", hint=f"say {group}={' | '.join(choices)}")
    for key in (override.partition("=")[0].lstrip("+~") for override in overrides):
        if key in text and (unknown := _unknown(key, command)):
            return unknown
    lines = [
        line.strip()
        for line in text.splitlines()
        if line.strip() and not line.strip().startswith(("full_key", "object_type"))
    ]
    return ConfigError(f"{command}: {' '.join(lines[:2]).rstrip('.')}", hint=f"`a2h {command} --help` lists the keys")


def _unknown(key: str, command: str) -> ConfigError | None:
    """An error for a key that the command does not have, with the nearest that it has; None where
    it has the key.
    """
    import difflib

    from omegaconf import OmegaConf

    required = ["stage=image_generator"] if command == "train" else []
    known = sorted(_dotted(OmegaConf.to_container(compose_dict(command, required))))
    if key in known:
        return None
    close = difflib.get_close_matches(key, known, n=1)
    hint = f"did you mean {close[0]}?" if close else f"`a2h {command} --help` lists the keys"
    return ConfigError(f"{command}: there is no key {key}", hint=hint)


def _dotted(values: Any, prefix: str = "") -> set[str]:
    if not isinstance(values, dict):
        return {prefix.rstrip(".")}
    return {name for key, value in values.items() for name in _dotted(value, f"{prefix}{key}.") | {f"{prefix}{key}"}}
