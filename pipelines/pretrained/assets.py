"""Weights of other people (conf/assets.yaml): whether they are here, whether they are the right
ones, and how to get them.

Only `fetch` opens a connection, and only `a2h assets fetch` calls it. Everything else asks
`locate`, which says what is missing.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from a2h_models.errors import CheckpointError, FailedError, InputError
from pipelines.config import MISSING
from pipelines.config.compose import CONF_DIR
from pipelines.pretrained.download import MB, discard, download

LISTING = CONF_DIR / "assets.yaml"
# beside a file whose hash the listing does not know: the one that was used first, as sha256sum
# writes it
PIN_SUFFIX = ".sha256"
ALL = "all"  # for `a2h assets fetch`
TABLE_WIDTH = 160  # letters


@dataclass
class AssetSpec:
    """What the listing says of one file; omegaconf checks its types."""

    purpose: str = MISSING  # what needs it, as the subject of "… needs FILE"
    file: str = MISSING
    page: str = MISSING  # where people read about it
    licence: str = MISSING
    url: str | None = None  # where programs get it; None: only people can
    size_bytes: int | None = None
    sha256: str | None = None  # None: unknown, so the file that is used first is remembered


@dataclass(frozen=True, kw_only=True)
class Asset:
    """One file of the listing, and the folder in which it lies or should lie."""

    name: str
    about: AssetSpec
    folder: Path

    @property
    def path(self) -> Path:
        return self.folder / self.about.file

    @property
    def pin(self) -> Path:
        return self.path.with_name(self.path.name + PIN_SUFFIX)

    @property
    def sha256(self) -> str:
        """As listed, else of the file that was used first, else empty."""
        if self.about.sha256:
            return self.about.sha256
        return self.pin.read_text(encoding="utf-8").split()[0] if self.pin.is_file() else ""

    @property
    def by_hand(self) -> str:
        return f"get {self.about.file} from {self.about.url or self.about.page} and put it at {self.path}"

    @property
    def how(self) -> str:
        """To get it, as a hint."""
        return f"`a2h assets fetch {self.name}` gets it; or {self.by_hand}" if self.about.url else self.by_hand


def list_assets(folder: str | Path) -> dict[str, Asset]:
    """All assets by name, in the listing's order."""
    from omegaconf import OmegaConf

    rows = OmegaConf.load(LISTING)
    schema = OmegaConf.structured(AssetSpec)
    abouts = {
        str(name): cast("AssetSpec", OmegaConf.to_object(OmegaConf.merge(schema, row))) for name, row in rows.items()
    }
    return {name: Asset(name=name, about=about, folder=Path(folder)) for name, about in abouts.items()}


def select_assets(names: Sequence[str], assets: Mapping[str, Asset]) -> list[Asset]:
    """Some of the assets by name; `all` means those that a program can get.

    Raises:
        InputError: if the listing does not know a name.
    """
    if ALL in names:
        return [asset for asset in assets.values() if asset.about.url]
    for name in names:
        if name not in assets:
            close = difflib.get_close_matches(name, assets, n=1)
            hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(assets)}"
            raise InputError(f"there is no asset {name!r}", hint=hint)
    return [assets[name] for name in names]


def locate(name: str, folder: str | Path, *, otherwise: str = "") -> Path:
    """The path of an asset that is here and is the right file. A hash that nobody knows is
    remembered at the first use.

    Args:
        name: of the listing.
        folder: `paths.assets`.
        otherwise: what can be done without it, for the hint.

    Raises:
        InputError: if it is not here; the hint says how to get it.
        CheckpointError: if it is another file.
    """
    asset = list_assets(folder)[name]
    if not asset.path.is_file():
        raise InputError(
            f"{asset.about.purpose} needs {asset.about.file}, which is not in {asset.folder}",
            hint=asset.how + (f"; or {otherwise}" if otherwise else ""),
        )
    _accept(asset, asset.path)
    return asset.path


# ------------------------------------------------------------------------------------------ getting
def fetch(asset: Asset) -> Path:
    """Download an asset, or go on with a download that was cut off. Nothing stands under its name
    before its hash was checked.

    Raises:
        InputError: if there is only a page for people.
        FailedError: if the download does not work out; what came is kept for the next call.
        CheckpointError: if another file came, which is thrown away, or lies there already, which is
            left alone.
    """
    if asset.path.is_file():
        _accept(asset, asset.path)
        return asset.path
    if not asset.about.url:
        raise InputError(f"{asset.name} is not offered to programs", hint=asset.by_hand)
    part = asset.path.with_name(asset.path.name + ".part")
    try:
        download(asset.about.url, part, size=asset.about.size_bytes)
    except FailedError as error:
        error.hint = f"{error.hint}; or {asset.by_hand}"
        raise
    try:
        _accept(asset, part)
    except CheckpointError:
        discard(part)
        raise
    part.replace(asset.path)
    discard(part)
    return asset.path


def _accept(asset: Asset, path: Path) -> None:
    """Compare a file's hash with the one it should have; without one, remember it.

    Raises:
        CheckpointError: naming both.
    """
    found, wanted = _sha256(path), asset.sha256
    if not wanted:
        asset.pin.write_text(f"{found}  {asset.about.file}\n", encoding="utf-8")
    elif found != wanted:
        first = "the one used first here was" if not asset.about.sha256 else "it should be"
        forget = f" and {asset.pin.name}, if you mean to change it" if not asset.about.sha256 else ""
        raise CheckpointError(
            f"{path} is not the right {asset.about.file}: its sha-256 is {found}, {first} {wanted}",
            hint=f"remove it{forget}; {asset.how}",
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# ------------------------------------------------------------------------------------------ showing
def asset_state(asset: Asset) -> str:
    """Whether an asset is here and right, for people."""
    if asset.path.is_file():
        wanted = asset.sha256
        if wanted and _sha256(asset.path) != wanted:
            return f"another file is at {asset.path}"
        return f"here: {asset.path}" + ("" if wanted else ", not used yet")
    part = asset.path.with_name(asset.path.name + ".part")
    return f"begun, {part.stat().st_size / MB:.0f} MB are here" if part.is_file() and part.stat().st_size else "missing"


def assets_table(assets: Mapping[str, Asset]) -> str:
    """All of them, for a terminal."""
    from io import StringIO

    from rich.console import Console
    from rich.table import Table

    rows = Table(title="weights of other people", title_justify="left")
    for column in ("name", "for", "", "MB", "licence", "how to get it"):
        rows.add_column(column, overflow="fold")
    for asset in assets.values():
        about = asset.about
        size = f"{about.size_bytes / MB:.0f}" if about.size_bytes else "?"
        how = f"a2h assets fetch {asset.name}" if about.url else f"by hand: {about.page}"
        rows.add_row(asset.name, about.purpose, asset_state(asset), size, about.licence, how)
    text = StringIO()
    Console(file=text, width=TABLE_WIDTH).print(rows, highlight=False)
    return text.getvalue()
