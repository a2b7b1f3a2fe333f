"""Write the reference pages of the documentation from the code: commands, keys, metrics, columns,
reasons, errors.

`pages()` is called by scripts/docs_hook.py; run as a program, this prints the names of the pages.
"""

import inspect
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import get_type_hints

from a2h_models import errors, metrics
from a2h_models.settings import Setting, documented
from pipelines.cli import help as cli_help
from pipelines.cli import main as cli
from pipelines.config import compose
from pipelines.prepare import reasons
from pipelines.prepare.output.ledger import LedgerRow
from pipelines.prepare.pipeline import describe_steps

ROOT = Path(__file__).resolve().parent.parent
GENERATED = "<!-- Written by scripts/generate_reference.py. -->\n\n"
MEMBER_MEANINGS = {
    "mp4": "the crop: 256×256, 25 fps, H.264 with a key frame at least every few frames",
    "flac": "16 kHz mono speech, 16 bit, cut to the sample",
    "speech.npy": "float32 (T, 4, 41): speech features, 100 rows a second",
    "mel.npy": "float16 (4T, 80): log-mel spectrogram",
    "pose.npy": "float32 (T, 6): rotation vector (rad) and translation (mm-like)",
    "landmarks.npy": "float16 (T, L, 3): face-mesh landmarks in the crop",
    "json": "the sample's record: source hash, span, scores, licence, versions",
}


def pages() -> dict[str, str]:
    """Map each generated file's path in docs/ to its text."""
    made = {
        "reference/commands.md": commands_page(),
        "reference/steps.md": steps_page(),
        "reference/metrics.md": metrics_page(),
        "reference/dataset-format.md": dataset_page(),
        "reference/ledger.md": ledger_page(),
        "reference/reasons.md": reasons_page(),
        "reference/errors.md": errors_page(),
        "images/rooms.svg": rooms_picture(),
    }
    return {name: text if name.endswith(".svg") else GENERATED + text for name, text in made.items()}


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Lay out a Markdown table; a bar inside a cell is escaped."""
    lines = [list(head), *map(list, rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return (
        "\n".join(
            "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in line) + " |" for line in lines
        )
        + "\n"
    )


# --------------------------------------------------------------------------- commands and their keys
def commands_page() -> str:
    """Describe every command, and every key that it takes."""
    described = cli_help.reference(cli.COMMANDS)
    parts = [
        "# Commands and keys\n",
        (
            "`a2h COMMAND key=value …`. `a2h COMMAND --help` prints the important keys, `--help-all` every key, `--cfg job` "
            "the configuration that would run. A group is a folder of `conf/`; `group=choice` takes one of its files.\n"
        ),
        table(("command", "what it does"), ((f"`a2h {each.name}`", each.summary) for each in described)),
        *map(command_part, described),
        "## Keys of the stages\n\nWhat `a2h train stage=…` takes.\n",
        *(f"### {name}\n\n{key_table(kind, 'stage.')}" for name, kind in compose.STAGES.items()),
    ]
    return "\n".join(parts)


def command_part(command: cli_help.CommandHelp) -> str:
    """Describe one command: its groups and its keys; those of a stage stand apart."""
    groups = (
        (f"`{name}=`", " · ".join(f"`{choice}`" for choice in choices)) for name, choices in command.groups.items()
    )
    keys = (
        (f"`{key.key}`", f"`--{key.flag}`" if key.flag else "", key.type, f"`{key.default}`", key.meaning)
        for key in command.keys
        if not key.key.startswith("stage.")
    )
    return (
        f"## {command.name}\n\n{command.summary}.\n\n"
        + (table(("group", "choices"), groups) + "\n" if command.groups else "")
        + table(("key", "flag", "type", "default", "meaning"), keys)
    )


def key_table(config: type, prefix: str) -> str:
    """List the keys of a configuration dataclass, nested ones with their dots."""
    return table(("key", "type", "default", "range", "meaning"), _key_rows(config, prefix))


def _key_rows(config: type, prefix: str) -> Iterator[tuple[str, str, str, str, str]]:
    comments = field_comments(config)
    for each in documented(config):
        if isinstance(each.type, type) and is_dataclass(each.type):
            yield from _key_rows(each.type, f"{prefix}{each.name}.")
            continue
        meaning = each.meaning or comments.get(each.name, "")
        yield (
            f"`{prefix}{each.name}`",
            cli_help.type_name(each.type),
            f"`{cli_help.default_text(each.default)}`",
            str(each.limits),
            meaning + _unit(each),
        )


def _unit(each: Setting) -> str:
    return f" ({each.unit})" if each.unit else ""


def field_comments(config: type) -> dict[str, str]:
    """Read the comments at or right above a dataclass's fields, for fields without a docstring."""
    found: dict[str, str] = {}
    above: list[str] = []
    for line in inspect.getsource(config).splitlines():
        if match := re.match(r"\s+(\w+): [^#]*?(?:#\s*(.*))?$", line):
            found[match[1]] = " ".join([*above, match[2] or ""]).strip()
            above = []
        elif match := re.match(r"\s+#\s*(.*)$", line):
            above.append(match[1])
        else:
            above = []
    return found


# ------------------------------------------------------------------------------------- preparation
def steps_page() -> str:
    """List the steps of preparation, with their scores, and the limits that filter clips."""
    steps = [(f"`{step['step']}`", step["what"], step["scores"], _as_list(step["limits"])) for step in describe_steps()]
    return (
        "# Preparation steps\n\nA raw video passes these steps in order; what does not pass is a row of the "
        "[ledger](ledger.md) with a [reason](reasons.md).\n\n"
        + table(("step", "what it does", "scores (unit)", "limit → reason"), steps)
        + "\n## Thresholds\n\nA value equal to its threshold passes.\n\n"
        + key_table(filters_config(), "prepare.filters.")
    )


def _as_list(limits: str) -> str:
    return "<br>".join(limit.removeprefix("prepare.filters.") for limit in limits.split(", "))


def filters_config() -> type:
    """Return the dataclass with the thresholds of preparation."""
    hints = get_type_hints(compose.COMMANDS["prepare"])
    kind: type = get_type_hints(hints["prepare"])["filters"]
    return kind


# --------------------------------------------------------------------------------- the other pages
def metrics_page() -> str:
    """List every metric with its unit and what is best."""
    best = {"higher": "higher", "lower": "lower", "truth": "closest to the ground truth's value"}
    rows = (
        (f"`{name}`", entry.label, entry.unit, best[entry.best], entry.meaning)
        for name, entry in metrics.DEFINITIONS.items()
    )
    needs = ((f"`{asset}`", ", ".join(f"`{name}`" for name in names)) for asset, names in metrics.NEEDS.items())
    return (
        "# Metrics\n\nAn evaluation reports each of these under two protocols: `true_pose` (the clip's own head pose "
        "drives) and `predicted_pose`.\n\n"
        + table(("name", "label", "unit", "best", "meaning"), rows)
        + "\n## Metrics that need weights of other projects\n\n`a2h assets fetch NAME` downloads them.\n\n"
        + table(("weights", "metrics"), needs)
    )


def dataset_page() -> str:
    """Describe the files of a dataset and the members of a sample."""
    from pipelines.dataset.shard_format import MEMBERS

    missing = set(MEMBERS) ^ set(MEMBER_MEANINGS)
    if missing:
        raise ValueError(f"MEMBER_MEANINGS and shard_format.MEMBERS differ: {sorted(missing)}")
    return (
        "# Dataset format\n\nA dataset is a folder on any store: WebDataset tars `a2h-SPLIT-000000.tar`, one sidecar "
        "`.json` a tar, `ledger.parquet`, `plan.jsonl`, `dataset.json`, `croissant.json`, `README.md` (the data card) "
        "and `report.html`. A shard exists once its sidecar exists.\n\n## Members of a sample\n\nAll arrays share the "
        "frame axis T. Keys are lower case, derived from content, without dots.\n\n"
        + table(("member", "content"), ((f"`{name}`", MEMBER_MEANINGS[name]) for name in MEMBERS))
        + "\n## Types\n\n::: a2h_models.data_types.Sample\n\n::: pipelines.dataset.shard_format.Sidecar\n"
    )


def ledger_page() -> str:
    """List the columns of ledger.parquet."""
    rows = []
    for kind in (LedgerRow, get_type_hints(LedgerRow)["scores"]):
        comments, hints = field_comments(kind), get_type_hints(kind)
        documents = {each.name: each.meaning for each in documented(kind)}
        for each in fields(kind):
            if not is_dataclass(hints[each.name]):
                named = hints[each.name]
                column_type = named.__name__ if isinstance(named, type) else str(named)
                rows.append((f"`{each.name}`", f"`{column_type}`", documents[each.name] or comments.get(each.name, "")))
    return (
        "# Ledger columns\n\n`ledger.parquet` has one row for every video and one for every candidate clip. Inputs = "
        "accepted + rejected + failed, at both levels. Frames count at 25 a second.\n\n"
        + table(("column", "type", "meaning"), rows)
    )


def reasons_page() -> str:
    """List the reasons for which a video or clip is not in the dataset."""
    comments = reason_comments()
    rows = (
        (f"`{reason.value}`", reasons.status_of(reason).value, comments.get(reason.name, ""))
        for reason in reasons.Reason
    )
    return (
        "# Reasons\n\nWhy a video or clip is not in the dataset. The first that applies is given. The thresholds are "
        "listed under [Preparation steps](steps.md).\n\n" + table(("reason", "status", "note"), rows)
    )


def reason_comments() -> dict[str, str]:
    """Read the comments beside the reasons."""
    pattern = re.compile(r"^\s+([A-Z_]+) = \"[a-z_]+\"(?:\s+#\s*(.*))?$", re.MULTILINE)
    return {name: text or "" for name, text in pattern.findall(inspect.getsource(reasons.Reason))}


def errors_page() -> str:
    """Show the tree of errors and the exit codes of the command line."""
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.A2HError)]
    rows = (
        (f"`{kind.__name__}`", f"`{kind.__base__.__name__}`" if kind.__base__ else "", str(kind.exit_code))
        for kind in kinds
    )
    tree = inspect.cleandoc(errors.__doc__ or "")
    return (
        "# Errors\n\nEvery foreseen error is an `A2HError`: its message names the file or key and the value, its hint "
        f"says what to do.\n\n```text\n{tree}\n```\n\n"
        + table(("class", "base", "exit code"), rows)
        + "\nThe command line ends with 0 (done), 1 (failed), 2 (wrong use), 3 (refused by a gate), 130 (interrupted) or 143 (terminated).\n"
    )


def rooms_picture() -> str:
    """Draw the rooms in the order of the import layers, which pyproject.toml holds for import-linter."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    names = [layer.removeprefix("pipelines.") for layer in layers]
    width, height, gap, columns = 150, 34, 16, 4
    boxes = []
    for number, name in enumerate(names):
        row, column = divmod(number, columns)
        x, y = gap + column * (width + gap), gap + row * (height + gap)
        fill = "#3949ab" if name != "a2h_models" else "#00796b"
        boxes.append(
            f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="6" fill="{fill}"/>'
            f'<text x="{x + width / 2}" y="{y + 22}" text-anchor="middle" fill="#fff">{name.replace(" | ", " · ")}</text>'
        )
    rows = -(-len(names) // columns)
    size = (gap + columns * (width + gap), gap + rows * (height + gap))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size[0]} {size[1]}" font-family="sans-serif" '
        f'font-size="14">{"".join(boxes)}</svg>\n'
    )


if __name__ == "__main__":
    sys.stdout.write("\n".join(pages()) + "\n")
