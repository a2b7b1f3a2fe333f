"""Commands that make heads talk, and that look at what was made."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from pipelines import config
from pipelines.cli.command import Command

# every key of generate/ has a flag of its own name, as in SadTalker's program
FLAGS = {field.name: f"generate.{field.name}" for field in fields(config.GenerateConfig)}
PASTE_BACK = {"paste_back": "generate.preprocess=full"}


def generate(command: config.GenerateCommand) -> int:
    from pipelines import inference

    print(inference.generate_pairs(command) if command.pairs else inference.generate(command))
    return 0


def inspect(command: config.InspectCommand) -> int:
    from pipelines import inference

    for key, value in inference.read_provenance(Path(command.file)).items():
        print(f"{key}: {str(value).lower() if isinstance(value, bool) else value}")
    return 0


def app(command: config.AppCommand) -> int:
    import signal

    from pipelines.app import serving

    # a container that is stopped deletes the files of its sessions, as after Ctrl-C
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with serving(command) as page:
        print(f"{page.local_url}  (Ctrl-C ends it)", flush=True)
        page.block_thread()
    return 0


COMMANDS = (
    Command("generate", generate, flags=FLAGS, words=PASTE_BACK),
    Command("inspect", inspect, positional=("file",)),
    Command("app", app, flags={name: key for name, key in FLAGS.items() if name != "max_speech_s"}, words=PASTE_BACK),
)
