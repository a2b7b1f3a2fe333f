"""Local files and folders that appear whole or not at all: write aside, flush, rename."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from a2h_models.errors import FailedError

PART_SUFFIX = ".part"  # ends the name of an unpublished file; `a2h verify --clean` removes such leftovers
RANDOM_DIGITS = 8  # hexadecimal, in the name of an unpublished file: several processes may write one target
HINT = "free some space or choose another folder"


def part_path(target: Path) -> Path:
    """Return a new name beside the target, for what is not published yet."""
    return target.with_name(f"{target.name}.{uuid.uuid4().hex[:RANDOM_DIGITS]}{PART_SUFFIX}")


@contextmanager
def replace_file(target: Path) -> Iterator[Path]:
    """Yield a path to write to; flush that file and rename it to the target when the block ends well.

    Folders above the target are created. Whatever was at the target stays until the rename.

    Raises:
        FailedError: if the file cannot be written.
    """
    part = part_path(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield part
        with part.open("rb") as stream:
            os.fsync(stream.fileno())
        os.replace(part, target)  # noqa: PTH105  Path.replace is no other call; tests stop a run here
    except OSError as error:
        raise _not_written(target, error) from error
    finally:
        with suppress(OSError):  # it was renamed, or never written
            part.unlink()


def write_text(target: Path, text: str) -> None:
    """Replace a file by a text in UTF-8.

    Raises:
        FailedError: if it cannot be written.
    """
    with replace_file(target) as part:
        part.write_text(text, encoding="utf-8")


@contextmanager
def replace_folder(target: Path) -> Iterator[Path]:
    """Yield a new folder that takes the target's place when the block ends well.

    Whatever was at the target stays until then.

    Raises:
        FailedError: if it cannot be written.
    """
    old = part_path(target)
    with _folder_aside(target) as part:
        yield part
        with suppress(FileNotFoundError):
            target.rename(old)
        part.rename(target)
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def create_folder(target: Path) -> Iterator[Path]:
    """Yield a new folder that becomes the target when the block ends well, unless one exists by then.

    For content that depends on nothing but the target's name: of two processes that write it, the
    second discards its own.

    Raises:
        FailedError: if it cannot be written.
    """
    with _folder_aside(target) as part:
        yield part
        if not target.exists():
            part.rename(target)


@contextmanager
def _folder_aside(target: Path) -> Iterator[Path]:
    part = part_path(target)
    try:
        part.mkdir(parents=True)
        yield part
    except OSError as error:
        raise _not_written(target, error) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _not_written(target: Path, error: OSError) -> FailedError:
    return FailedError(f"cannot write {target}: {error.strerror}", hint=HINT)
