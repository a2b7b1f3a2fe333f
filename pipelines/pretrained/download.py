"""One file over HTTP, in as many calls as it takes: a call that is cut off leaves a part, from
which the next goes on.
"""

from __future__ import annotations

import fcntl
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

from a2h_models.errors import ConfigError, FailedError

if TYPE_CHECKING:
    from requests import Response

OK, PARTIAL, NOTHING_LEFT = 200, 206, 416  # HTTP's words
CONNECT_S, SILENCE_S = 10.0, 60.0  # that a server may take to answer, and may be silent in the middle
CHUNK = 1 << 16  # bytes; as much is lost where a connection breaks
MAX_BYTES = 4 << 30  # of a file whose size nobody has said
MB = 1e6
VERSION_SUFFIX = ".version"  # of the note beside a part: which version of the file it is a part of


def download(url: str, part: Path, *, size: int | None) -> None:
    """Bring `part` to the whole file. What it holds from an earlier call is kept, if the server can
    go on from there with the same file.

    Args:
        url: http or https; redirects are followed.
        part: where to write; the caller renames it when it has looked at it.
        size: bytes of the whole file; None where unknown, then at most MAX_BYTES.

    Raises:
        ConfigError: for another kind of address.
        FailedError: if there is no connection, it breaks off, the server refuses, or what it sends
            is too long.
    """
    import requests

    if not url.startswith(("https://", "http://")):
        raise ConfigError(f"{url} is neither http nor https")
    part.parent.mkdir(parents=True, exist_ok=True)
    with part.open("ab") as file:
        _lock(file, part)
        try:
            _complete(url, file, _Versioned(part), size)
        except requests.RequestException as error:
            have = file.tell()
            so_far = f", after {have / MB:.1f} MB" if have else ""
            hint = "the same command again goes on from there" if have else "is this machine allowed to reach it?"
            raise FailedError(f"{url}: {_reason(error)}{so_far}", hint=hint) from error
        except OSError as error:
            raise FailedError(
                f"cannot write {part}: {error.strerror}", hint="free some space or choose another folder"
            ) from error


def discard(part: Path) -> None:
    """Forget what was downloaded."""
    part.unlink(missing_ok=True)
    _Versioned(part).note.unlink(missing_ok=True)


def _complete(url: str, file: IO[bytes], version: _Versioned, size: int | None) -> None:
    import requests

    limit = size or MAX_BYTES
    with requests.Session() as session:
        for have in dict.fromkeys((file.tell(), 0)):  # from the start, where going on is impossible
            with session.get(
                url, headers=version.asking(have), stream=True, timeout=(CONNECT_S, SILENCE_S)
            ) as response:
                begin = _begin(response, have)
                if begin is None:
                    continue
                if response.status_code != NOTHING_LEFT:
                    file.truncate(file.seek(begin))
                    version.remember(response)
                    _write(response, file, limit)
                if size and file.tell() < size:
                    raise FailedError(
                        f"{url} sends {file.tell()} bytes; they should be {size}",
                        hint="is this still the right address?",
                    )
                return
    raise FailedError(f"{url} cannot be had from the start", hint="try again later")


def _begin(response: Response, have: int) -> int | None:
    """The place in the file at which an answer begins; None for an answer that is of no use beside
    the part that is there.

    Raises:
        FailedError: for an answer without the file.
    """
    found = re.match(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", response.headers.get("Content-Range", ""))
    start, total = found.groups() if found else (None, None)
    if response.status_code == OK:
        return 0
    if response.status_code == PARTIAL:
        return have if start == str(have) else None
    if response.status_code == NOTHING_LEFT and have:
        return have if total == str(have) else None
    raise FailedError(
        f"{response.url} answers {response.status_code} {response.reason}",
        hint="has the file moved? put it there by hand",
    )


def _write(response: Response, file: IO[bytes], limit: int) -> None:
    """Append an answer's body.

    Raises:
        FailedError: if the file is, or is said to be, longer than `limit`.
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


class _Versioned:
    """A part, and the server's own name for the version of the file that it is a part of, kept in a
    note beside it.
    """

    def __init__(self, part: Path) -> None:
        self.note = part.with_name(part.name + VERSION_SUFFIX)

    def asking(self, have: int) -> dict[str, str]:
        """The headers that ask for what is missing, or for everything if the file has changed
        since.
        """
        headers = {"Accept-Encoding": "identity"}  # the file's own bytes, or places in it would mean something else
        if have:
            headers["Range"] = f"bytes={have}-"
            if self.note.is_file():
                headers["If-Range"] = self.note.read_text(encoding="utf-8")
        return headers

    def remember(self, response: Response) -> None:
        tag = response.headers.get("ETag", "")
        # a weak tag does not mean the same bytes
        version = tag if tag.startswith('"') else response.headers.get("Last-Modified", "")
        if version:
            self.note.write_text(version, encoding="utf-8")
        else:
            self.note.unlink(missing_ok=True)


def _lock(file: IO[bytes], part: Path) -> None:
    """Two calls must not write to one part.

    The lock ends with the file's closing, however that comes about.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise FailedError(f"another process is writing {part}", hint="wait for it to end") from error


def _reason(error: BaseException) -> str:
    """The operating system's word for what went wrong, which requests wraps three times; else the
    error's own.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__cause__ or cause.__context__
    return f"the connection broke ({type(error).__name__})"


@contextmanager
def _progress(name: str, have: int, total: int | None) -> Iterator[Callable[[int], None]]:
    """A bar in bytes on a terminal; nothing elsewhere."""
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
