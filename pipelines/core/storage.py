"""Files on any store that fsspec knows (local paths, s3://, gs://, …), published so that a reader
never sees half of one.
"""

from __future__ import annotations

import glob
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import fsspec
from fsspec.implementations.local import LocalFileSystem
from fsspec.utils import get_protocol

from a2h_models.errors import A2HError, FailedError, InputError
from pipelines.core.files import PART_SUFFIX, replace_file

REFUSED = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)  # this file, not the store
# Listings are asked for afresh: other machines write too. S3: botocore waits longer from try to
# try, up to 20 s.
OPTIONS: dict[str, dict[str, Any]] = {
    "s3": {"use_listings_cache": False, "config_kwargs": {"retries": {"mode": "standard", "max_attempts": 8}}},
    "gs": {"use_listings_cache": False},
    "abfs": {"use_listings_cache": False},
}


class Storage:
    """One folder on one store. Names are relative to it and use forward slashes."""

    def __init__(self, url: str | Path) -> None:
        self.url = str(url).rstrip("/")
        self.fs, self.root = fsspec.core.url_to_fs(self.url, **OPTIONS.get(get_protocol(self.url), {}))
        self.local = isinstance(self.fs, LocalFileSystem)

    def __repr__(self) -> str:
        return f"Storage({self.url!r})"

    def __reduce__(self) -> tuple[type[Storage], tuple[str]]:
        return Storage, (self.url,)

    def path(self, name: str) -> str:
        """The name as this store's file system wants it."""
        return f"{self.root}/{name}"

    def exists(self, name: str) -> bool:
        with self._asking():
            return bool(self.fs.exists(self.path(name)))

    def names(self, pattern: str = "*") -> list[str]:
        """Names that match a glob, sorted; order never comes from the store."""
        return sorted(self._glob(pattern))

    def files(self, pattern: str = "**") -> list[str]:
        """Like `names`, but plain files only, also behind links: no folders, no pipes, no devices."""
        found = self._glob(pattern)
        return sorted(
            name
            for name, info in found.items()
            if info["type"] == "file" or (self.local and Path(self.path(name)).is_file())
        )

    def entries(self, pattern: str = "**") -> list[str]:
        """Like `names`, but all that is no folder: also pipes and links to nowhere, which somebody
        may have to be told of.
        """
        return sorted(name for name, info in self._glob(pattern).items() if info["type"] != "directory")

    def _glob(self, pattern: str) -> dict[str, dict[str, Any]]:
        with self._asking():
            found = self.fs.glob(f"{glob.escape(self.root)}/{pattern}", detail=True)
        return {str(path)[len(self.root) + 1 :]: info for path, info in found.items()}

    def is_file(self, name: str) -> bool:
        with self._asking():
            return bool(self.fs.isfile(self.path(name) if name else self.root))

    def read(self, name: str) -> bytes:
        with self._asking(name):
            return bytes(self.fs.cat_file(self.path(name)))

    def open(self, name: str) -> IO[bytes]:
        """Open for reading, with seek."""
        with self._asking(name):
            handle: IO[bytes] = self.fs.open(self.path(name), "rb")
        return handle

    @contextmanager
    def _asking(self, name: str = "") -> Iterator[None]:
        """What a store says no with is ours after this.

        Raises:
            InputError: if it has no such file, or does not give it.
            FailedError: if it cannot be reached, also after several tries.
        """
        place = f"{self.url}/{name}" if name else self.url
        try:
            yield
        except FileNotFoundError:
            raise InputError(f"{place} does not exist") from None
        except REFUSED as error:
            raise InputError(f"{place} cannot be read: {error.strerror or error}") from None
        except Exception as error:  # each kind of store has errors of its own
            raise FailedError(f"{place} cannot be read: {error}", hint=self._hint) from error

    @property
    def _hint(self) -> str:
        return "is the disk sound?" if self.local else "is the store up, and are its address and credentials right?"

    def publish(self, name: str, data: bytes) -> None:
        """Make `name` hold `data`, or leave what was there: write aside, flush, rename (one PUT on
        an object store).
        """
        with self.writer(name) as handle:
            handle.write(data)

    @contextmanager
    def writer(self, name: str) -> Iterator[IO[bytes]]:
        """Like `publish`, for what is written piece by piece; nothing appears under `name` unless
        the block ends well.
        """
        with self._to_disk(name) if self.local else self._to_store(name) as handle:
            yield handle

    @contextmanager
    def _to_store(self, name: str) -> Iterator[IO[bytes]]:
        """Nothing exists on an object store before its last request: that is the rename."""
        try:
            handle = self.fs.open(self.path(name), "wb", autocommit=False)
            try:
                yield handle
                handle.close()
                handle.commit()
            except BaseException:
                with suppress(Exception):  # the store may be what failed
                    handle.close()
                    handle.discard()
                raise
        except A2HError:
            raise
        except Exception as error:  # each kind of store has errors of its own
            raise FailedError(f"cannot write {self.url}/{name}: {error}", hint=self._hint) from error

    @contextmanager
    def _to_disk(self, name: str) -> Iterator[IO[bytes]]:
        with replace_file(Path(self.path(name))) as part, part.open("wb") as handle:
            yield handle

    @contextmanager
    def local_copy(self, name: str) -> Iterator[Path]:
        """The file as a local path: itself on a local store, else a copy that lives until the block
        ends.

        Raises:
            InputError: if it does not exist, or is no plain file: a pipe would be waited for, for
                ever.
        """
        if self.local:
            path = Path(self.path(name))
            if not path.is_file():
                raise InputError(f"{path} is no plain file" if os.path.lexists(path) else f"{path} does not exist")
            yield path
            return
        with tempfile.TemporaryDirectory(prefix="a2h-") as folder:
            copy = Path(folder) / Path(name).name
            with self._asking(name):
                self.fs.get_file(self.path(name), str(copy))
            yield copy

    def move(self, name: str, target: str) -> None:
        """Give a file another name, in the place of what has that name (a copy and a removal on an
        object store).
        """
        with self._asking(name):
            self.fs.mv(self.path(name), self.path(target))

    def remove(self, name: str) -> None:
        with self._asking(name):
            self.fs.rm_file(self.path(name))

    def remove_folder(self, name: str) -> None:
        """With everything below it; nothing where there is none."""
        with self._asking(name):
            if self.fs.exists(self.path(name)):
                self.fs.rm(self.path(name), recursive=True)

    def remove_parts(self) -> list[str]:
        """Remove what was being written when its writer was killed, and name it.

        Nobody may be writing here.
        """
        parts = self.names(f"**/*{PART_SUFFIX}")
        for name in parts:
            self.remove(name)
        return [*parts, *self._abort_uploads()]

    def _abort_uploads(self) -> Iterator[str]:
        """S3 keeps, and charges for, what was sent of a file that never became one."""
        if not hasattr(self.fs, "list_multipart_uploads"):
            return
        bucket, _, folder = self.root.partition("/")
        with self._asking():
            for upload in self.fs.list_multipart_uploads(bucket):
                if upload["Key"].startswith(f"{folder}/"):
                    self.fs.abort_mpu(bucket, upload["Key"], upload["UploadId"])
                    yield upload["Key"].removeprefix(f"{folder}/")

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
