"""The command line: `a2h COMMAND key=value …`, commands in the order of use.

Nothing heavy is imported before a command needs it, so that `a2h --help` answers at once. Exit
codes: 0, 1 (it failed), 2 (wrong use).
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from a2h_models.errors import A2HError, ConfigError, UserError
from pipelines.cli import commands
from pipelines.config import compose
from pipelines.core.signals import Terminated

# Threads of torch that wait sleep instead of spinning: beside other work on the same cores,
# spinning made a training step ten times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# what a shell calls a program that Ctrl-C, SIGTERM or a closed pipe ended
INTERRUPTED, TERMINATED, NOT_READ = 130, 143, 141
BUG = "again with --verbose for the whole story; this is probably a bug of ours"


@dataclass(frozen=True)
class Command:
    """One word after `a2h`. `run` gets the arguments that are left, and returns the exit code."""

    help: str
    run: Callable[[list[str]], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code; with --verbose, errors are raised instead of told."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if "--verbose" in words:
        return _run([word for word in words if word != "--verbose"])
    try:
        return _run(words)
    except A2HError as error:
        return _complain(error.message, error.hint, error.exit_code)
    except ModuleNotFoundError as error:
        return _complain(
            f"the package {error.name} is not installed", "install what is missing, for example with `make setup`"
        )
    except KeyboardInterrupt as stop:
        hint = f"the same command again goes on where it stopped: {shlex.join(['a2h', *words])}"
        return _complain("interrupted", hint, TERMINATED if isinstance(stop, Terminated) else INTERRUPTED)
    except Exception as error:  # the last line of defence: a sentence instead of a traceback
        return (
            NOT_READ
            if isinstance(error, BrokenPipeError) and _nobody_reads()
            else _complain(f"{type(error).__name__}: {error}", BUG)
        )


def _run(words: list[str]) -> int:
    code = _answer(words)
    sys.stdout.flush()  # here a closed pipe can still be told from a bug
    return code


def _answer(words: list[str]) -> int:
    if not words or words[0] in {"-h", "--help"}:
        print(_overview())
        return 0
    if words[0] == "--version":
        from importlib.metadata import version

        print(f"a2h {version('audio2head')}")
        return 0
    return _command(words[0]).run(words[1:])


def _nobody_reads() -> bool:
    """Whether what reads our words has ended, as `| head` does; then there is nobody to tell
    either.
    """
    import select

    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    if not any(event & select.POLLERR for _, event in poll.poll(0)):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the end of the interpreter would complain
    return True


def _complain(message: str, hint: str, code: int = A2HError.exit_code) -> int:
    print(f"a2h: {message}" + (f"\n     {hint}" if hint else ""), file=sys.stderr)
    return code


def _overview() -> str:
    width = max(map(len, COMMANDS))
    rows = "\n".join(f"  {name:<{width}} {command.help}" for name, command in COMMANDS.items())
    return (
        "a2h: raw talking videos in, a measured, registered model and talking-head videos out\n\n"
        f"a2h COMMAND [key=value …]\n\n{rows}\n\n"
        "a2h COMMAND --help     its keys with their defaults\n"
        "a2h COMMAND --cfg job  the whole configuration that would run\n"
        "--verbose              tracebacks instead of sentences\n"
        "--version\n\n"
        "Where to begin:  a2h demo"
    )


def _command(name: str) -> Command:
    if name in COMMANDS:
        return COMMANDS[name]
    import difflib

    close = difflib.get_close_matches(name, COMMANDS, n=1)
    raise UserError(
        f"there is no command {name!r}", hint=f"did you mean {close[0]}?" if close else "`a2h --help` lists them"
    )


# ------------------------------------------------------------------------------ configured commands
def _configured(
    name: str, run: Callable[[Any], int], *, first: str = "", second: str = "", flags: Mapping[str, str] | None = None
) -> Callable[[list[str]], int]:
    """A command whose arguments are Hydra overrides; `--name value` is read as `name=value`, bare
    words as `first=word second=word`.

    `flags` are short names of keys.
    """

    def call(words: list[str]) -> int:
        if any(word in {"-h", "--help"} for word in words):
            print(_help(name))
            return 0
        show, overrides = _split(words, [key for key in (first, second) if key], FLAGS if flags is None else flags)
        if show:
            from omegaconf import OmegaConf

            print(OmegaConf.to_yaml(compose.compose_dict(name, overrides)), end="")
            return 0
        return run(compose.compose(name, overrides))

    return call


def _split(
    words: list[str], bare: Sequence[str] = (), flags: Mapping[str, str] = MappingProxyType({})
) -> tuple[bool, list[str]]:
    """Take `--cfg job` out, and write the rest as overrides: `--source_image a.png`, `--still`,
    `--dry-run` and `limit=3` alike.

    Words that are neither become the values of the keys in `bare`, in that order.
    """
    show, overrides, rest, keys = False, [], list(words), list(bare)
    while rest:
        word = rest.pop(0)
        if word == "--cfg":
            if not rest or rest.pop(0) != "job":
                raise ConfigError("--cfg knows only the word job", hint="say --cfg job")
            show = True
        elif word in WHOLE_FLAGS:
            overrides.append(WHOLE_FLAGS[word])
        elif word.startswith("--"):
            key, equals, value = word[2:].partition("=")
            key = flags.get(key, key).replace("-", "_")
            if not equals:
                value = rest.pop(0) if rest and _is_value(rest[0], key) else "true"
            overrides.append(f"{key}={value}")
        elif _is_override(word):
            overrides.append(word)
        elif keys:
            overrides.append(f"{keys.pop(0)}={word}")
        else:
            raise ConfigError(f"{word!r} is not key=value", hint="say for example out=datasets/mine")
    return show, overrides


def _is_value(word: str, key: str) -> bool:
    """Whether a word belongs to the flag before it; a switch takes only true and false."""
    if key in SWITCHES:
        return word in {"true", "false"}
    return not word.startswith("--") and not _is_override(word)


MULTIRUN, PIPELINE = "--multirun", "pipeline=all"
SWITCHES = ("champion", "dry_run", "generate.compile", "generate.mark", "generate.still", "resume")
FLAGS = {
    "split": "evaluate.split",
    "preprocess": "generate.preprocess",
    "face": "generate.face",
    "still": "generate.still",
    "batch_size": "generate.batch_size",
    "keypoints": "generate.keypoints",
    "pose_scale": "generate.pose_scale",
    "seed": "generate.seed",
    "format": "generate.format",
    "mark": "generate.mark",
    "precision": "generate.precision",
    "backend": "generate.backend",
}


WHOLE_FLAGS = {"--paste_back": "generate.preprocess=full", "--paste-back": "generate.preprocess=full"}


def _is_override(word: str) -> bool:
    key, equals, _ = word.partition("=")
    return (
        bool(equals) and key.lstrip("+~").replace(".", "").replace("_", "").replace("@", "").replace("/", "").isalnum()
    )


def _train(words: list[str]) -> int:
    """One stage; with pipeline=all the three in order; with --multirun one run for each combination
    of values that stand behind commas.
    """
    if any(word in {"-h", "--help"} for word in words) or not {MULTIRUN, PIPELINE} & set(words):
        return _configured("train", commands.train)(words)
    show, overrides = _split([word for word in words if word not in {MULTIRUN, PIPELINE}], (), FLAGS)
    jobs = compose.sweep("train", overrides) if MULTIRUN in words else [overrides]
    if len(jobs) > 1 and any(override.startswith("run_name=") for override in overrides):
        raise ConfigError(
            "run_name cannot be shared by the runs of a --multirun",
            hint="leave it out: each run gets a name of its own",
        )
    for job in jobs:
        if PIPELINE in words:
            if show:
                raise ConfigError(
                    "--cfg job shows one stage, and pipeline=all trains three",
                    hint="say stage=… instead of pipeline=all",
                )
            commands.train_all(job)
        else:
            _configured("train", commands.train)([*(["--cfg", "job"] if show else []), *job])
    return 0


def _help(name: str) -> str:
    from omegaconf import OmegaConf

    values = OmegaConf.to_yaml(compose.compose_dict(name, ["stage=image_generator"] if name == "train" else []))
    groups = [
        path.name
        for path in sorted(compose.CONF_DIR.iterdir())
        if path.is_dir() and f"- {path.name}:" in _defaults(name)
    ]
    choices = "\n".join(
        f"  {group}={'|'.join(sorted(path.stem for path in (compose.CONF_DIR / group).glob('*.yaml')))}"
        for group in groups
    )
    return f"a2h {name}: {COMMANDS[name].help}\n\nGroups:\n{choices}\n\nKeys and their defaults (??? must be given):\n\n{values}".rstrip()


def _defaults(name: str) -> str:
    return (compose.CONF_DIR / f"{name}.yaml").read_text()


COMMANDS: dict[str, Command] = {
    "prepare": Command(
        "raw talking videos → WebDataset shards, with ledger and report", _configured("prepare", commands.prepare)
    ),
    "verify": Command("check a dataset against itself", commands.verify),
    "keypoints": Command(
        "a trained detector's keypoints beside the shards", _configured("keypoints", commands.keypoints)
    ),
    "split": Command("another division into train, val and test, without encoding anything again", commands.split),
    "forget": Command("take a person or a video out of a dataset", commands.forget),
    "train": Command(
        "shards → a trained stage: stage=image_generator | motion_field | head_pose, or all (pipeline=all); sync_expert",
        _train,
    ),
    "register": Command(
        "three trained stages → a version of the model audio2head", _configured("register", commands.register)
    ),
    "freeze": Command(
        "the clips of a split → an evaluation set with hashes", _configured("freeze", commands.freeze, first="dataset")
    ),
    "evaluate": Command(
        "a model on an evaluation set → metrics, beside ground truth and baselines",
        _configured("evaluate", commands.evaluate),
    ),
    "promote": Command(
        "a version that passes every gate → champion", _configured("promote", commands.promote, first="model")
    ),
    "rollback": Command(
        "the champion before this one → champion again", _configured("rollback", commands.rollback, first="model")
    ),
    "models": Command(
        "what is registered; NAME/VERSION: back to the source videos",
        _configured("models", commands.models, first="model"),
    ),
    "card": Command(
        "a model card of a version, from what is recorded", _configured("card", commands.card, first="model")
    ),
    "copy": Command("a version → another registry", _configured("copy", commands.copy, first="model")),
    "import-release": Command(
        "the released audio2head.pth.tar → a version of the model",
        _configured("import-release", commands.import_release, first="file"),
    ),
    "export-release": Command(
        "a model → a file that the release's own program reads",
        _configured("export-release", commands.export_release, first="model", second="out"),
    ),
    "export": Command(
        "a model → ONNX graphs, compared with torch",
        _configured("export", commands.export, first="model", second="out", flags={}),
    ),
    "generate": Command("portrait + speech → talking-head video", _configured("generate", commands.generate)),
    "inspect": Command("what a generated file says of itself", commands.inspect),
    "app": Command("the same in the browser", _configured("app", commands.app)),
    "assets": Command("weights of other people: what is here, and `assets fetch NAME`", commands.assets),
    "talkers": Command("write synthetic talking heads with known truth", commands.talkers),
    "demo": Command("all of this once, in minutes, with a page to look at", _configured("demo", commands.demo)),
}


def _entry() -> None:
    sys.exit(main())


if __name__ == "__main__":
    _entry()
