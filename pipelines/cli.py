"""The command line: `a2h COMMAND key=value …`, commands in the order of use.

Nothing heavy is imported before a command needs it, so that `a2h --help` answers at once. Exit codes: 0, 1 (it failed), 2 (wrong use).
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from a2h_models.errors import A2HError, ConfigError, UserError
from pipelines import compose, config

# Threads of torch that wait sleep instead of spinning: beside other work on the same cores, spinning made a training step ten times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

INTERRUPTED = 130  # what a shell calls a program that Ctrl-C ended


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
        return _complain(f"the package {error.name} is not installed", "install what is missing, for example with `make setup`")
    except KeyboardInterrupt:
        return _complain("interrupted", "the same command again goes on where it stopped", INTERRUPTED)
    except Exception as error:  # the last line of defence: a sentence instead of a traceback
        return _complain(f"{type(error).__name__}: {error}", "again with --verbose for the whole story; this is probably a bug of ours")


def _run(words: list[str]) -> int:
    if not words or words[0] in {"-h", "--help"}:
        print(_overview())
        return 0
    if words[0] == "--version":
        from importlib.metadata import version

        print(f"a2h {version('audio2head')}")
        return 0
    return _command(words[0]).run(words[1:])


def _complain(message: str, hint: str, code: int = A2HError.exit_code) -> int:
    print(f"a2h: {message}" + (f"\n     {hint}" if hint else ""), file=sys.stderr)
    return code


def _overview() -> str:
    rows = "\n".join(f"  {name:<10} {command.help}" for name, command in COMMANDS.items())
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
    raise UserError(f"there is no command {name!r}", hint=f"did you mean {close[0]}?" if close else "`a2h --help` lists them")


# -------------------------------------------------------------------------------- configured commands
def _configured(name: str, run: Callable[[Any], int]) -> Callable[[list[str]], int]:
    """A command whose arguments are Hydra overrides; `--name value` is read as `name=value`."""

    def call(words: list[str]) -> int:
        if any(word in {"-h", "--help"} for word in words):
            print(_help(name))
            return 0
        show, overrides = _split(words)
        if show:
            from omegaconf import OmegaConf

            print(OmegaConf.to_yaml(compose.compose_dict(name, overrides)), end="")
            return 0
        return run(compose.compose(name, overrides))

    return call


def _split(words: list[str]) -> tuple[bool, list[str]]:
    """Take `--cfg job` out, and write flags as overrides: `--source_image a.png`, `--still`, `--dry-run` and `limit=3` alike."""
    show, overrides, rest = False, [], list(words)
    while rest:
        word = rest.pop(0)
        if word == "--cfg":
            if not rest or rest.pop(0) != "job":
                raise ConfigError("--cfg knows only the word job", hint="say --cfg job")
            show = True
        elif word.startswith("--"):
            key, equals, value = word[2:].partition("=")
            key = FLAGS.get(key, key).replace("-", "_")
            if not equals:
                value = rest.pop(0) if rest and not rest[0].startswith("--") and not _is_override(rest[0]) else "true"
            overrides.append(f"{key}={value}")
        elif _is_override(word):
            overrides.append(word)
        else:
            raise ConfigError(f"{word!r} is not key=value", hint="say for example out=datasets/mine")
    return show, overrides


FLAGS = {
    "preprocess": "generate.preprocess",
    "still": "generate.still",
    "batch_size": "generate.batch_size",
    "keypoints": "generate.keypoints",
    "pose_scale": "generate.pose_scale",
}


def _is_override(word: str) -> bool:
    key, equals, _ = word.partition("=")
    return bool(equals) and key.lstrip("+~").replace(".", "").replace("_", "").replace("@", "").replace("/", "").isalnum()


def _help(name: str) -> str:
    from omegaconf import OmegaConf

    values = OmegaConf.to_yaml(compose.compose_dict(name, ["stage=image_generator"] if name == "train" else []))
    groups = [path.name for path in sorted(compose.CONF_DIR.iterdir()) if path.is_dir() and f"- {path.name}:" in _defaults(name)]
    choices = "\n".join(
        f"  {group}={'|'.join(sorted(path.stem for path in (compose.CONF_DIR / group).glob('*.yaml')))}" for group in groups
    )
    return f"a2h {name}: {COMMANDS[name].help}\n\nGroups:\n{choices}\n\nKeys and their defaults (??? must be given):\n\n{values}".rstrip()


def _defaults(name: str) -> str:
    return (compose.CONF_DIR / f"{name}.yaml").read_text()


def _prepare(command: config.PrepareCommand) -> int:
    from pipelines.prepare.flow import prepare

    print(prepare(command))
    return 0


def _train(command: config.TrainCommand) -> int:
    from pipelines.train import train

    print(train(command))
    return 0


def _evaluate(command: config.EvaluateCommand) -> int:
    from pipelines.evaluate import evaluate

    print(evaluate(command))
    return 0


def _register(command: config.RegisterCommand) -> int:
    from pipelines.registry import register_bundle

    print(register_bundle(command))
    return 0


def _promote(command: config.PromoteCommand) -> int:
    from pipelines.registry import promote

    decision = promote(command)
    print(decision)
    return 0 if decision.accepted else A2HError.exit_code


def _generate(command: config.GenerateCommand) -> int:
    from pipelines.generate import generate

    print(generate(command))
    return 0


def _app(command: config.AppCommand) -> int:
    import signal

    from pipelines.app import serving

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a stopped container deletes its visitors' files, like Ctrl-C
    with serving(command) as page:
        print(f"{page.local_url}  (Ctrl-C ends it)", flush=True)
        page.block_thread()
    return 0


def _demo(command: config.DemoCommand) -> int:
    from pipelines.demo import demo

    demo(command)
    return 0


# -------------------------------------------------------------------------------- commands with plain arguments
def _talkers(words: list[str]) -> int:
    parser = _parser("talkers", "write synthetic talking heads with known truth")
    parser.add_argument("out", type=Path, help="folder to write to")
    parser.add_argument("--count", type=int, default=6, help="how many people (default: 6)")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same talkers (default: 0)")
    parser.add_argument("--seconds", type=float, default=6.0, help="length of each (default: 6)")
    parser.add_argument("--size", type=int, default=320, help="pixels a side (default: 320)")
    parser.add_argument("--fps", type=float, default=25.0, help="frames a second (default: 25)")
    parser.add_argument("--audio-offset", type=int, default=0, metavar="FRAMES", help="how many frames (of 1/25 s) the sound comes late")
    parser.add_argument("--second-face", action="store_true", help="a second, silent face beside the talker")
    parser.add_argument("--cut", action="store_true", help="a cut to another shot half-way")
    values = parser.parse_args(words)
    from pipelines.talkers import make_talkers

    videos = make_talkers(
        values.out,
        count=values.count,
        seed=values.seed,
        seconds=values.seconds,
        size=values.size,
        fps=values.fps,
        audio_offset_frames=values.audio_offset,
        second_face=values.second_face,
        cut=values.cut,
    )
    print(f"{len(videos)} talkers in {values.out}")
    return 0


def _verify(words: list[str]) -> int:
    parser = _parser("verify", "check a dataset: plan, tars, sidecars, ledger and hashes against each other")
    parser.add_argument("dataset", help="its folder, on any store")
    parser.add_argument("--clean", action="store_true", help="remove what an interrupted run left unpublished")
    values = parser.parse_args(words)
    from pipelines.prepare.verify import verify

    report = verify(values.dataset, clean=values.clean)
    print(report)
    return 0 if report.sound else A2HError.exit_code


def _parser(name: str, description: str) -> argparse.ArgumentParser:
    return argparse.ArgumentParser(prog=f"a2h {name}", description=description, allow_abbrev=False)


COMMANDS: dict[str, Command] = {
    "prepare": Command("raw talking videos → WebDataset shards, with ledger and report", _configured("prepare", _prepare)),
    "verify": Command("check a dataset against itself", _verify),
    "train": Command("shards → one trained stage: stage=image_generator | motion_field | head_pose", _configured("train", _train)),
    "register": Command("three trained stages → a version of the model audio2head", _configured("register", _register)),
    "evaluate": Command("a model on an evaluation set → metrics, beside ground truth and baselines", _configured("evaluate", _evaluate)),
    "promote": Command("a version that passes every gate → champion", _configured("promote", _promote)),
    "generate": Command("portrait + speech → talking-head video", _configured("generate", _generate)),
    "app": Command("the same in the browser", _configured("app", _app)),
    "talkers": Command("write synthetic talking heads with known truth", _talkers),
    "demo": Command("all of this once, in minutes, with a page to look at", _configured("demo", _demo)),
}


def _entry() -> None:
    sys.exit(main())


if __name__ == "__main__":
    _entry()
