"""A version's files: their SHA-256 stand in the version's tags, and are compared whenever the files
are fetched.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from tempfile import TemporaryDirectory

from a2h_models.errors import InputError, RegistryError
from pipelines.config import TrackingConfig
from pipelines.registry.versions import SCHEME, ModelVersion, find
from pipelines.tracking.tracker import session

BUNDLE_FOLDER = "data/bundle"  # where MLflow's pyfunc layout keeps ours
NOT_OURS = "registered_model_meta"  # MLflow writes it beside what it downloads


def fetch(uri: str, logger: TrackingConfig) -> Path:
    """The local folder with a version's weights, hashes checked; a folder's own path is given back
    as it is.

    Files of a local store are used where they lie; those of a server are downloaded once, to
    `logger.cache`.

    Raises:
        InputError: if `uri` is a folder's path and the folder does not exist.
        RegistryError: if there is no such version, or a file is not what was registered.
    """
    if not uri.startswith(SCHEME):
        folder = Path(uri)
        if not folder.is_dir():
            raise InputError(
                f"{uri} is neither a folder nor a model of the registry", hint="those are named models:/NAME/VERSION"
            )
        return folder
    version = find(uri, logger)
    root = download(version, logger)
    check(version, root)
    return weights_in(root)


def weights_in(root: Path) -> Path:
    """Where a version's weights lie below its files: a bundle is wrapped in MLflow's layout."""
    return root / BUNDLE_FOLDER if (root / BUNDLE_FOLDER).is_dir() else root


def download(version: ModelVersion, logger: TrackingConfig) -> Path:
    """The local folder with all files of a version, unchecked."""
    source = version.source.removeprefix("file://")
    if "://" not in source and ":/" not in source:
        return Path(source)
    key = hashlib.sha256(f"{logger.tracking_uri} {version.source}".encode()).hexdigest()[:12]
    target = Path(logger.cache) / f"{version.name}-{version.version}-{key}"
    if target.is_dir():
        return target
    with session(logger) as client, TemporaryDirectory(dir=_made(target.parent)) as aside:
        import mlflow.artifacts

        whole = mlflow.artifacts.download_artifacts(
            artifact_uri=version.source, dst_path=aside, tracking_uri=client.tracking_uri
        )
        Path(whole).rename(target)  # a download that broke off leaves nothing under the final name
    return target


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def check(version: ModelVersion, root: Path) -> None:
    """Compare a version's files with the hashes of its registration.

    Raises:
        RegistryError: naming the first file that is missing, changed or new.
    """
    expected: dict[str, str] = json.loads(version.tags.get("sha256", "{}"))
    if not expected:
        raise RegistryError(f"{version} was registered without hashes", hint="register it again with this program")
    compare(expected, root, name=str(version))


def compare(expected: dict[str, str], root: Path, *, name: str) -> None:
    """Compare a folder with the hashes it should have; `name` is what people know it by.

    Raises:
        RegistryError: naming the first file that is missing, changed or new.
    """
    found = file_hashes(root)
    for file in sorted(expected.keys() | found.keys()):
        if file not in found:
            raise RegistryError(f"{name}: {root / file} is missing")
        if found[file] != expected.get(file):
            raise RegistryError(
                f"{name}: {root / file} is not the file that was registered", hint="restore it before use"
            )


def file_hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file, by path below the folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != NOT_OURS)
    return {path.relative_to(folder).as_posix(): sha256_of(path) for path in files}


def sha256_of(path: Path) -> str:
    """Of one file, in hex."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
