"""The bundle: a folder with the weights of the three stages and `bundle.json`, which lists their
hashes; and where it is found by name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path

from a2h_models.errors import CheckpointError
from a2h_models.files import atomic_path, sha256
from a2h_models.networks import STAGES
from a2h_models.networks.weights import file_name

LISTING = "bundle.json"
FORMAT = "a2h-bundle"
VERSION = 1
FETCHERS = "audio2head.fetch"  # the entry points that find a folder by name; each is named as the scheme that it knows


def locate(name: str) -> Path:
    """The folder that a name stands for: its own path, or what the fetcher of its scheme finds
    (`models:/audio2head@champion`).

    Raises:
        CheckpointError: if there is no such folder, or nothing installed knows the scheme.
    """
    folder = Path(name)
    scheme, colon, _ = name.partition(":")
    if folder.is_dir() or not colon:
        return folder
    for fetcher in entry_points(group=FETCHERS, name=scheme):
        return Path(fetcher.load()(name))
    raise CheckpointError(
        f"{name}: nothing that is installed knows names that begin with {scheme}:", hint="give the folder of a bundle"
    )


def write_listing(folder: Path, files: Mapping[str, Path]) -> Path:
    """Write `bundle.json` for the files of a bundle, by their names."""
    content = {
        "format": FORMAT,
        "schema_version": VERSION,
        "files": {name: sha256(path) for name, path in files.items()},
    }
    path = folder / LISTING
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return path


def check(folder: Path) -> None:
    """Compare a bundle with its listing.

    Raises:
        CheckpointError: when a file is missing or is not the one that was saved.
    """
    path = folder / LISTING
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise CheckpointError(
            f"{folder} holds no {LISTING}", hint="give the folder of a bundle, or models:/audio2head@champion"
        ) from error
    except ValueError as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error
    if content.get("format") != FORMAT or content.get("schema_version") != VERSION:
        found = f"{content.get('format')} {content.get('schema_version')}"
        raise CheckpointError(f"{path} is not a bundle of this version: it says {found}, not {FORMAT} {VERSION}")
    for name in map(file_name, STAGES):
        if not (folder / name).is_file():
            raise CheckpointError(f"{folder} holds no {name}, which {LISTING} lists")
        if sha256(folder / name) != content["files"].get(name):
            raise CheckpointError(f"{folder / name} is not the file that {LISTING} lists: its sha-256 differs")
