"""Files of a version: their SHA-256 stand in its tags and are compared when they are fetched."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from a2h_models.errors import RegistryError
from pipelines.core.hashing import sha256_of_file
from pipelines.registry.versions import ModelVersion

BUNDLE_FOLDER = "data/bundle"  # where MLflow's pyfunc layout keeps ours
MLFLOW_FILE = "registered_model_meta"  # MLflow writes it beside what it downloads


def weights_folder(root: Path) -> Path:
    """The folder with the weights below a version's files: MLflow's layout wraps a bundle."""
    return root / BUNDLE_FOLDER if (root / BUNDLE_FOLDER).is_dir() else root


def check_files(version: ModelVersion, root: Path) -> None:
    """Compare a version's files with the hashes of its registration.

    Raises:
        RegistryError: naming the first file that is missing, changed or new.
    """
    expected: dict[str, str] = json.loads(version.tags.get("sha256", "{}"))
    if not expected:
        raise RegistryError(f"{version} was registered without hashes", hint="register it again with this program")
    compare_hashes(expected, root, name=str(version))


def compare_hashes(expected: Mapping[str, str], root: Path, *, name: str) -> None:
    """Compare the files of a folder with the hashes they should have.

    Args:
        expected: path below the folder → SHA-256.
        root: the folder.
        name: of the model, for the message.

    Raises:
        RegistryError: naming the first file that is missing, changed or new.
    """
    present = file_hashes(root)
    for file in sorted(expected.keys() | present.keys()):
        if file not in present:
            raise RegistryError(f"{name}: {root / file} is missing")
        if present[file] != expected.get(file):
            raise RegistryError(
                f"{name}: {root / file} is not the file that was registered", hint="restore it before use"
            )


def file_hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file, by path below the folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MLFLOW_FILE)
    return {path.relative_to(folder).as_posix(): sha256_of_file(path) for path in files}
