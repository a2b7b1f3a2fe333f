"""One promotion at a time: a lock on an alias, which no store gives to two processes.

A lock is a registered model without versions, named after the alias. Names of registered models are
unique in every store that MLflow has, so of two promotions that begin at once exactly one can
create it. A process that is killed leaves its lock behind; the lock says until when it is valid. An
expired lock is not taken over: the next one is created under the next number, which again only one
process can do. Before an alias moves, its lock is verified: it still exists, it is in time, and no
other lock is valid.

The clocks of machines that promote must agree within seconds.
"""

from __future__ import annotations

import getpass
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from a2h_models.errors import RegistryError
from pipelines.tracking import Tracker, TrackingError
from pipelines.tracking.tracker import ALREADY_EXISTS

LOCK_MARK = ".lock-"  # in the name of a lock
RESERVE_S = 5.0  # a lock that expires sooner is not trusted to last until the alias has moved


def is_lock(model: str) -> bool:
    """Whether a registered model is a lock, and no model."""
    return LOCK_MARK in model


@dataclass(frozen=True, kw_only=True)
class LockEntry:
    """A lock as the store has it."""

    name: str
    number: int
    owner: str  # user, machine and process, for people
    until: float  # seconds since 1970

    @property
    def valid(self) -> bool:
        return self.until > time.time()


class AliasLock:
    """The lock of a model's alias. Use it through `hold_lock`.

    Args:
        tracker: whose store holds the locks.
        model: name of the registered model.
        alias: of the model.
    """

    def __init__(self, tracker: Tracker, model: str, alias: str) -> None:
        self._tracker = tracker
        self._prefix = f"{model}.{alias}{LOCK_MARK}"
        self._label = f"{alias} of {model}"
        self._own: LockEntry | None = None

    def acquire(self, seconds: float) -> LockEntry:
        """Create the lock, valid for so many seconds, and delete those that have expired.

        Raises:
            RegistryError: if another process holds it.
        """
        others = self._entries()
        if valid := [entry for entry in others if entry.valid]:
            raise self._busy(valid[0])
        number = max((entry.number for entry in others), default=0) + 1
        own = LockEntry(name=f"{self._prefix}{number}", number=number, owner=_owner(), until=time.time() + seconds)
        try:
            with self._tracker.session() as client:
                client.create_registered_model(own.name, tags={"owner": own.owner, "until": repr(own.until)})
        except TrackingError as error:
            if error.code != ALREADY_EXISTS:
                raise
            raise self._busy(next((entry for entry in self._entries() if entry.valid), None)) from None
        for entry in others:
            with suppress(TrackingError):  # another process deleted it
                self._delete(entry)
        self._own = own
        return own

    def verify(self, *, reserve_s: float = 0.0) -> None:
        """Check that the lock is still valid for some seconds, and that no other is.

        Raises:
            RegistryError: if it is not.
        """
        entries = {entry.name: entry for entry in self._entries()}
        own = self._own
        others = [entry for entry in entries.values() if entry.valid and (own is None or entry.name != own.name)]
        if others:
            raise self._busy(others[0])
        if own is None or own.name not in entries or own.until - reserve_s < time.time():
            raise RegistryError(
                f"the lock on {self._label} ran out before the alias moved",
                hint="again, with a longer promote.lock_s",
            )

    def release(self) -> None:
        """Delete the lock."""
        if self._own is not None:
            self._delete(self._own)

    def _entries(self) -> list[LockEntry]:
        with self._tracker.session() as client:
            models = client.search_registered_models(f"name LIKE '{self._prefix}%'")
        return [
            LockEntry(
                name=str(model.name),
                number=int(model.name.removeprefix(self._prefix)),
                owner=str(model.tags.get("owner", "an unknown process")),
                until=float(model.tags.get("until", "inf")),
            )
            for model in models
            if model.name.startswith(self._prefix)
        ]

    def _delete(self, entry: LockEntry) -> None:
        with self._tracker.session() as client:
            client.delete_registered_model(entry.name)

    def _busy(self, entry: LockEntry | None) -> RegistryError:
        by = f" by {entry.owner}" if entry else ""
        hint = (
            f"wait for it; if it was killed, it keeps others out for {entry.until - time.time():.0f} s more"
            if entry
            else "try again"
        )
        return RegistryError(f"{self._label} is being moved{by}", hint=hint)


@contextmanager
def hold_lock(tracker: Tracker, model: str, alias: str, *, seconds: float) -> Iterator[AliasLock]:
    """Hold the lock of an alias during the block. Verify it right before the alias moves.

    Raises:
        RegistryError: if another process holds it.
    """
    lock = AliasLock(tracker, model, alias)
    lock.acquire(seconds)
    try:
        lock.verify()
        yield lock
    finally:
        with suppress(RegistryError):  # a store that is gone: the lock expires by itself
            lock.release()


def _owner() -> str:
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a container without a name for its user
        user = str(os.getuid())
    return f"{user} on {socket.gethostname()}, process {os.getpid()}"
