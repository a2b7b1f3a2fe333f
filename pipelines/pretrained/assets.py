"""Find, verify and download weights that other projects publish (conf/assets.yaml).

Only `fetch` opens a connection, and only `a2h assets fetch` calls it. All other code calls `locate`,
which raises an error that says how to get a missing file.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from a2h_models.errors import CheckpointError, FailedError, InputError
from pipelines.config import MISSING
from pipelines.config.compose import CONF_DIR
from pipelines.core.files import PART_SUFFIX, write_text
from pipelines.core.hashing import sha256_of_file
from pipelines.core.text_table import text_table
from pipelines.pretrained.download import MB, discard, download

LISTING = CONF_DIR / "assets.yaml"
# A file beside an asset whose hash the listing does not know. It holds the hash of the file that was
# used first, in the format of sha256sum.
PIN_SUFFIX = ".sha256"
ALL = "all"  # as a name for `a2h assets fetch`
COLUMNS = ("name", "for", "", "MB", "licence", "how to get it")
TABLE_WIDTH = 160  # characters


@dataclass
class AssetSpec:
    """The listing's entry for one file; omegaconf checks its types."""

    purpose: str = MISSING  # what needs it, as the subject of "… needs FILE"
    file: str = MISSING
    page: str = MISSING  # a web page about it
    licence: str = MISSING
    url: str | None = None  # direct download; None: only by hand, from the page
    size_bytes: int | None = None
    sha256: str | None = None  # None: unknown; the hash of the file that is used first is recorded


@dataclass(frozen=True, kw_only=True)
class Asset:
    """One file of the listing, and the folder where it belongs."""

    name: str
    spec: AssetSpec
    folder: Path

    @property
    def path(self) -> Path:
        return self.folder / self.spec.file

    @property
    def pin(self) -> Path:
        return self.path.with_name(self.path.name + PIN_SUFFIX)

    @property
    def sha256(self) -> str:
        """Return the listed hash, else that of the file that was used first, else an empty string."""
        if self.spec.sha256:
            return self.spec.sha256
        return self.pin.read_text(encoding="utf-8").split()[0] if self.pin.is_file() else ""

    @property
    def manual_instructions(self) -> str:
        """Say how to get the file by hand."""
        return f"get {self.spec.file} from {self.spec.url or self.spec.page} and put it at {self.path}"

    @property
    def instructions(self) -> str:
        """Say how to get the file, as the hint of an error."""
        return (
            f"`a2h assets fetch {self.name}` gets it; or {self.manual_instructions}"
            if self.spec.url
            else self.manual_instructions
        )


def list_assets(folder: str | Path) -> dict[str, Asset]:
    """Return all assets by name, in the listing's order."""
    from omegaconf import OmegaConf

    rows = OmegaConf.load(LISTING)
    schema = OmegaConf.structured(AssetSpec)
    specs = {
        str(name): cast("AssetSpec", OmegaConf.to_object(OmegaConf.merge(schema, row))) for name, row in rows.items()
    }
    return {name: Asset(name=name, spec=spec, folder=Path(folder)) for name, spec in specs.items()}


def select_assets(names: Sequence[str], assets: Mapping[str, Asset]) -> list[Asset]:
    """Return assets by name; `all` selects those with a direct download.

    Raises:
        InputError: if the listing does not know a name.
    """
    if ALL in names:
        return [asset for asset in assets.values() if asset.spec.url]
    for name in names:
        if name not in assets:
            close = difflib.get_close_matches(name, assets, n=1)
            hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(assets)}"
            raise InputError(f"there is no asset {name!r}", hint=hint)
    return [assets[name] for name in names]


def locate(name: str, folder: str | Path, *, otherwise: str = "") -> Path:
    """Return the path of an asset, after its hash was checked.

    If the listing has no hash, that of the file that is used first is recorded.

    Args:
        name: its name in the listing.
        folder: the setting `paths.assets`.
        otherwise: what the user can do without it, for the hint.

    Raises:
        InputError: if it is missing; the hint says how to get it.
        CheckpointError: if it has another hash.
    """
    asset = list_assets(folder)[name]
    if not asset.path.is_file():
        raise InputError(
            f"{asset.spec.purpose} needs {asset.spec.file}, which is not in {asset.folder}",
            hint=asset.instructions + (f"; or {otherwise}" if otherwise else ""),
        )
    _verify(asset, asset.path)
    return asset.path


# ----------------------------------------------------------------------------------------- download
def fetch(asset: Asset) -> Path:
    """Download an asset, or resume an interrupted download.

    The file gets its name after its hash was checked.

    Raises:
        InputError: if it has no direct download.
        FailedError: if the download fails; the received part is kept for the next call.
        CheckpointError: if the downloaded file has another hash, which deletes it, or a file with
            another hash is in its place already, which is kept.
    """
    if asset.path.is_file():
        _verify(asset, asset.path)
        return asset.path
    if not asset.spec.url:
        raise InputError(f"{asset.name} has no direct download", hint=asset.manual_instructions)
    part = asset.path.with_name(asset.path.name + PART_SUFFIX)
    try:
        download(asset.spec.url, part, size=asset.spec.size_bytes)
    except FailedError as error:
        error.hint = f"{error.hint}; or {asset.manual_instructions}"
        raise
    try:
        _verify(asset, part)
    except CheckpointError:
        discard(part)
        raise
    part.replace(asset.path)
    discard(part)
    return asset.path


def _verify(asset: Asset, path: Path) -> None:
    """Compare a file's hash with the expected one; if none is known, record it.

    Raises:
        CheckpointError: naming both hashes.
    """
    actual, expected = sha256_of_file(path), asset.sha256
    if not expected:
        write_text(asset.pin, f"{actual}  {asset.spec.file}\n")
    elif actual != expected:
        expectation = "the one used first here was" if not asset.spec.sha256 else "it should be"
        also_remove = f" and {asset.pin.name}, if you mean to change it" if not asset.spec.sha256 else ""
        raise CheckpointError(
            f"{path} is not the right {asset.spec.file}: its sha-256 is {actual}, {expectation} {expected}",
            hint=f"remove it{also_remove}; {asset.instructions}",
        )


# ------------------------------------------------------------------------------------------ display
def asset_state(asset: Asset) -> str:
    """Describe for the table whether an asset is here and intact."""
    if asset.path.is_file():
        expected = asset.sha256
        if expected and sha256_of_file(asset.path) != expected:
            return f"another file is at {asset.path}"
        return f"here: {asset.path}" + ("" if expected else ", not used yet")
    part = asset.path.with_name(asset.path.name + PART_SUFFIX)
    return (
        f"interrupted, {part.stat().st_size / MB:.0f} MB are here"
        if part.is_file() and part.stat().st_size
        else "missing"
    )


def assets_table(assets: Mapping[str, Asset]) -> str:
    """Format all assets as a table for a terminal."""
    rows = []
    for asset in assets.values():
        spec = asset.spec
        size = f"{spec.size_bytes / MB:.0f}" if spec.size_bytes else "?"
        instructions = f"a2h assets fetch {asset.name}" if spec.url else f"by hand: {spec.page}"
        rows.append((asset.name, spec.purpose, asset_state(asset), size, spec.licence, instructions))
    return text_table("weights of other projects", COLUMNS, rows, width=TABLE_WIDTH)
