"""The command line: `a2h COMMAND key=value …`, commands in the order of use.

Nothing heavy is imported before a command needs it, so that `a2h --help` answers at once. Exit
codes: 0 (done), 1 (failed), 2 (wrong use), 3 (refused by a gate).
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence

from a2h_models.errors import A2HError, UserError
from pipelines.cli import data, generate, help, model, operate, train
from pipelines.cli.command import Command, to_overrides
from pipelines.config import compose
from pipelines.core.signals import Terminated

# Threads of torch that wait sleep instead of spinning: beside other work on the same cores,
# spinning made a training step ten times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# what a shell calls a program that Ctrl-C, SIGTERM or a closed pipe ended
INTERRUPTED, TERMINATED, NOT_READ = 130, 143, 141
BUG = "again with --verbose for the whole story; this is probably a bug of ours"


HELP = {"-h", "--help", "--help-all"}
COMMANDS: dict[str, Command] = {
    command.name: command
    for name in compose.COMMANDS
    for group in (data, train, model, generate, operate)
    for command in group.COMMANDS
    if command.name == name
}


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
    if not words or words[0] in HELP:
        print(help.overview(COMMANDS))
        return 0
    if words[0] == "--version":
        from importlib.metadata import version

        print(f"a2h {version('audio2head')}")
        return 0
    return _call(_command(words[0]), words[1:])


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


def _command(name: str) -> Command:
    if name in COMMANDS:
        return COMMANDS[name]
    import difflib

    close = difflib.get_close_matches(name, COMMANDS, n=1)
    raise UserError(
        f"there is no command {name!r}", hint=f"did you mean {close[0]}?" if close else "`a2h --help` lists them"
    )


def _call(command: Command, words: list[str]) -> int:
    """Show help or the configuration, or run the command."""
    if asked := HELP & set(words):
        _, overrides = to_overrides(command, [word for word in words if word not in HELP])
        print(help.page(command, overrides, everything="--help-all" in asked))
        return 0
    if command is train.TRAIN and train.is_special(words):
        return train.train_words(words)
    show_config, overrides = to_overrides(command, words)
    if show_config:
        print(compose.to_yaml(command.name, overrides), end="")
        return 0
    return command.run(compose.compose(command.name, overrides))


def _entry() -> None:
    sys.exit(main())


if __name__ == "__main__":
    _entry()
