"""Download one file over HTTP; an interrupted download is resumed by the next call."""

from __future__ import annotations

import fcntl
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

from a2h_models.errors import ConfigError, FailedError
from pipelines.core.files import write_text

if TYPE_CHECKING:
    from requests import Response

OK, PARTIAL, RANGE_NOT_SATISFIABLE = 200, 206, 416  # HTTP status codes
CONNECT_S, READ_S = 10.0, 60.0  # timeouts: until the server answers, and between two reads
CHUNK = 1 << 16  # bytes; at most as much is lost when a connection breaks
MAX_BYTES = 4 << 30  # limit for a file of unknown size
MB = 1e6
VERSION_SUFFIX = ".version"  # of a file beside the part: its version, as the server names it


def download(url: str, part: Path, *, size: int | None) -> None:
    """Download a file into `part`, resuming an earlier call if the server supports it.

    Args:
        url: http or https; redirects are followed.
        part: where to write; the caller renames it after checking it.
        size: bytes of the file; None if unknown, then at most MAX_BYTES are accepted.

    Raises:
        ConfigError: for another kind of URL.
        FailedError: if there is no connection, it breaks, the server refuses, or sends too much.
    """
    import requests

    if not url.startswith(("https://", "http://")):
        raise ConfigError(f"{url} is neither http nor https")
    part.parent.mkdir(parents=True, exist_ok=True)
    with part.open("ab") as file:
        _lock(file, part)
        try:
            _complete(url, file, _PartVersion(part), size)
        except requests.RequestException as error:
            received = file.tell()
            progress = f", after {received / MB:.1f} MB" if received else ""
            hint = "the same command again goes on from there" if received else "is this machine allowed to reach it?"
            raise FailedError(f"{url}: {_reason(error)}{progress}", hint=hint) from error
        except OSError as error:
            raise FailedError(
                f"cannot write {part}: {error.strerror}", hint="free some space or choose another folder"
            ) from error


def discard(part: Path) -> None:
    """Delete a partial download."""
    part.unlink(missing_ok=True)
    _PartVersion(part).path.unlink(missing_ok=True)


def _complete(url: str, file: IO[bytes], version: _PartVersion, size: int | None) -> None:
    import requests

    limit = size or MAX_BYTES
    with requests.Session() as session:
        for have in dict.fromkeys((file.tell(), 0)):  # if resuming is impossible, from the start
            with session.get(
                url, headers=version.request_headers(have), stream=True, timeout=(CONNECT_S, READ_S)
            ) as response:
                start = _start_offset(response, have)
                if start is None:
                    continue
                if response.status_code != RANGE_NOT_SATISFIABLE:
                    file.truncate(file.seek(start))
                    version.save(response)
                    _write(response, file, limit)
                if size and file.tell() < size:
                    raise FailedError(
                        f"{url} sends {file.tell()} bytes; they should be {size}",
                        hint="is this still the right address?",
                    )
                return
    raise FailedError(f"{url} could not be downloaded from the start", hint="try again later")


def _start_offset(response: Response, have: int) -> int | None:
    """Return the offset at which a response begins; None if it does not fit the part.

    Raises:
        FailedError: for a response without the file.
    """
    content_range = re.match(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", response.headers.get("Content-Range", ""))
    start, total = content_range.groups() if content_range else (None, None)
    if response.status_code == OK:
        return 0
    if response.status_code == PARTIAL:
        return have if start == str(have) else None
    if response.status_code == RANGE_NOT_SATISFIABLE and have:
        return have if total == str(have) else None
    raise FailedError(
        f"{response.url} answers {response.status_code} {response.reason}",
        hint="has the file moved? put it there by hand",
    )


def _write(response: Response, file: IO[bytes], limit: int) -> None:
    """Append the body of a response.

    Raises:
        FailedError: if the file is longer than `limit`, or announced to be.
    """
    length = response.headers.get("Content-Length", "")
    total = file.tell() + int(length) if length.isdigit() else None
    if (total or 0) > limit:
        raise FailedError(
            f"{response.url} has {total} bytes, more than {limit}", hint="it is not the file it should be"
        )
    with _progress(Path(file.name).stem, file.tell(), total) as advance:
        for chunk in response.iter_content(CHUNK):
            if file.tell() + len(chunk) > limit:
                raise FailedError(
                    f"{response.url} sends more than {limit} bytes", hint="it is not the file it should be"
                )
            file.write(chunk)
            advance(len(chunk))


class _PartVersion:
    """The version of the file that a part belongs to (ETag or Last-Modified), kept beside the part."""

    def __init__(self, part: Path) -> None:
        self.path = part.with_name(part.name + VERSION_SUFFIX)

    def request_headers(self, have: int) -> dict[str, str]:
        """Return headers that ask for the missing rest, or for the whole file if it changed."""
        headers = {"Accept-Encoding": "identity"}  # uncompressed, so that offsets are those of the file
        if have:
            headers["Range"] = f"bytes={have}-"
            if self.path.is_file():
                headers["If-Range"] = self.path.read_text(encoding="utf-8")
        return headers

    def save(self, response: Response) -> None:
        tag = response.headers.get("ETag", "")
        # a weak tag does not guarantee the same bytes
        version = tag if tag.startswith('"') else response.headers.get("Last-Modified", "")
        if version:
            write_text(self.path, version)
        else:
            self.path.unlink(missing_ok=True)


def _lock(file: IO[bytes], part: Path) -> None:
    """Lock a part against other processes; closing the file, also by a crash, unlocks it.

    Raises:
        FailedError: if another process writes it.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise FailedError(f"another process is writing {part}", hint="wait for it to end") from error


def _reason(error: BaseException) -> str:
    """Return the operating system's message, which requests wraps three times, or a general one."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__cause__ or cause.__context__
    return f"the connection broke ({type(error).__name__})"


@contextmanager
def _progress(name: str, have: int, total: int | None) -> Iterator[Callable[[int], None]]:
    """Show a bar that counts bytes on a terminal, and nothing elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(name, total=total, completed=have)
        yield lambda count: bar.advance(task, count)
