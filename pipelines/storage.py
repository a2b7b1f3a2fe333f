"""Files on any store that fsspec knows (local paths, s3://, gs://, …), published so that a reader never sees half of one."""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from a2h_models.errors import FailedError, InputError

PART_SUFFIX = ".part"  # what an unpublished file ends with; `a2h verify --clean` removes such rests


class Storage:
    """One folder on one store. Names are relative to it and use forward slashes."""

    def __init__(self, url: str | Path) -> None:
        self.url = str(url).rstrip("/")
        self.fs, self.root = fsspec.core.url_to_fs(self.url)
        self.local = isinstance(self.fs, LocalFileSystem)

    def __repr__(self) -> str:
        return f"Storage({self.url!r})"

    def __reduce__(self) -> tuple[type[Storage], tuple[str]]:
        return Storage, (self.url,)

    def path(self, name: str) -> str:
        """The name as this store's file system wants it."""
        return f"{self.root}/{name}"

    def exists(self, name: str) -> bool:
        return bool(self.fs.exists(self.path(name)))

    def names(self, pattern: str = "*") -> list[str]:
        """Names that match a glob, sorted; order never comes from the store."""
        prefix = len(self.root) + 1
        return sorted(str(found)[prefix:] for found in self.fs.glob(self.path(pattern)))

    def files(self, pattern: str = "**") -> list[str]:
        """Like `names`, but plain files only, also behind links: no folders, no pipes, no devices."""
        found = self.fs.glob(self.path(pattern), detail=True)
        prefix = len(self.root) + 1
        plain = [str(path) for path, info in found.items() if info["type"] == "file" or (self.local and Path(path).is_file())]
        return sorted(path[prefix:] for path in plain)

    def is_file(self, name: str) -> bool:
        return bool(self.fs.isfile(self.path(name) if name else self.root))

    def read(self, name: str) -> bytes:
        try:
            return bytes(self.fs.cat_file(self.path(name)))
        except FileNotFoundError:
            raise InputError(f"{self.url}/{name} does not exist") from None

    def open(self, name: str) -> IO[bytes]:
        """Open for reading, with seek."""
        try:
            handle: IO[bytes] = self.fs.open(self.path(name), "rb")
        except FileNotFoundError:
            raise InputError(f"{self.url}/{name} does not exist") from None
        return handle

    def publish(self, name: str, data: bytes) -> None:
        """Make `name` hold `data`, or leave what was there: write aside, flush, rename (one PUT on an object store)."""
        with self.writer(name) as handle:
            handle.write(data)

    @contextmanager
    def writer(self, name: str) -> Iterator[IO[bytes]]:
        """Like `publish`, for what is written piece by piece; nothing appears under `name` unless the block ends well."""
        target = self.path(name)
        if not self.local:
            with self.fs.transaction, self.fs.open(target, "wb") as handle:
                yield handle
            return
        aside = f"{target}.{uuid.uuid4().hex[:8]}{PART_SUFFIX}"
        try:
            os.makedirs(os.path.dirname(target), exist_ok=True)  # noqa: PTH103, PTH120  fsspec gives strings
            with open(aside, "wb") as handle:  # noqa: PTH123
                yield handle
                handle.flush()
                os.fsync(handle.fileno())
            os.replace(aside, target)  # noqa: PTH105
        except OSError as error:
            raise FailedError(f"cannot write {target}: {error.strerror}", hint="free some space or choose another folder") from error
        finally:
            with suppress(OSError):  # it was renamed, or never made
                Path(aside).unlink()

    @contextmanager
    def local_copy(self, name: str) -> Iterator[Path]:
        """The file as a local path: itself on a local store, else a copy that lives until the block ends.

        Raises:
            InputError: if it does not exist.
        """
        if self.local:
            yield Path(self.path(name))
            return
        with tempfile.TemporaryDirectory(prefix="a2h-") as folder:
            copy = Path(folder) / Path(name).name
            try:
                self.fs.get_file(self.path(name), str(copy))
            except FileNotFoundError:
                raise InputError(f"{self.url}/{name} does not exist") from None
            yield copy

    def remove(self, name: str) -> None:
        self.fs.rm_file(self.path(name))

    def local_path(self, name: str) -> Path:
        """The file as a local path. Only for local stores; remote shards go through a cache.

        Raises:
            InputError: on any other store.
        """
        if not self.local:
            raise InputError(f"{self.url} is not a local folder")
        return Path(self.path(name))


def open_url(url: str | Path, mode: str = "rb", **options: Any) -> Any:
    """Open one file on any store."""
    return fsspec.open(str(url), mode, **options).open()
