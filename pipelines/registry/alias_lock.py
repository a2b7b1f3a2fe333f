"""One promotion at a time: a claim on an alias, which no store gives twice.

A claim is a registered model without versions, named after what it claims. Names of registered
models are unique in every store that MLflow has, so of two promotions that begin at once exactly
one gets the name. Whoever is killed leaves the claim behind; it says until when it counts. A claim
that has run out is not taken over but outnumbered: the next one is made under the next number,
which again only one promotion can get. Before an alias moves, its claim is confirmed: still there,
in time, and the only one that counts.

Machines that promote need clocks that agree within seconds.
"""

from __future__ import annotations

import getpass
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from a2h_models.errors import RegistryError
from pipelines.config import TrackingConfig
from pipelines.tracking.tracker import session

if TYPE_CHECKING:
    from mlflow import MlflowClient

MARK = ".claim-"  # in the name of a claim
RESERVE_S = 5.0  # a claim that ends sooner is no longer trusted to last until the alias has moved


@dataclass(frozen=True, kw_only=True)
class AliasLock:
    """As the store has it."""

    name: str
    number: int
    owner: str  # user, machine and process, for people
    until: float  # seconds since 1970

    @property
    def counts(self) -> bool:
        return self.until > time.time()


@contextmanager
def hold_lock(model: str, alias: str, logger: TrackingConfig, *, seconds: float) -> Iterator[Callable[[], None]]:
    """Hold the claim on an alias during the block; gives a function that confirms it, to be called
    right before the alias moves.

    Raises:
        RegistryError: if somebody else holds it.
    """
    prefix = f"{model}.{alias}{MARK}"
    mine = _take(prefix, logger, seconds)
    try:
        _confirm(prefix, mine, logger)
        yield lambda: _confirm(prefix, mine, logger, reserve_s=RESERVE_S)
    finally:
        with suppress(RegistryError):  # a store that is gone: the claim runs out by itself
            _release(mine, logger)


def is_lock(model: str) -> bool:
    """Whether a registered model is none, but a claim."""
    return MARK in model


def _take(prefix: str, logger: TrackingConfig, seconds: float) -> AliasLock:
    with session(logger) as client:
        from mlflow.exceptions import MlflowException

        others = _claims(client, prefix)
        if busy := [claim for claim in others if claim.counts]:
            raise _busy(prefix, busy[0])
        number = max((claim.number for claim in others), default=0) + 1
        mine = AliasLock(name=f"{prefix}{number}", number=number, owner=_owner(), until=time.time() + seconds)
        try:
            client.create_registered_model(mine.name, tags={"owner": mine.owner, "until": repr(mine.until)})
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            raise _busy(prefix, next((claim for claim in _claims(client, prefix) if claim.counts), None)) from None
        for claim in others:
            with suppress(MlflowException):  # somebody else removed it
                client.delete_registered_model(claim.name)
    return mine


def _confirm(prefix: str, mine: AliasLock, logger: TrackingConfig, *, reserve_s: float = 0.0) -> None:
    with session(logger) as client:
        claims = _claims(client, prefix)
    others = [claim for claim in claims if claim.counts and claim.name != mine.name]
    if others:
        raise _busy(prefix, others[0])
    if mine.name not in {claim.name for claim in claims} or mine.until - reserve_s < time.time():
        raise RegistryError(
            f"the claim on {_claimed(prefix)} ran out before the alias moved",
            hint="again, with a longer promote.claim_s",
        )


def _release(mine: AliasLock, logger: TrackingConfig) -> None:
    with session(logger) as client:
        client.delete_registered_model(mine.name)


def _claims(client: MlflowClient, prefix: str) -> list[AliasLock]:
    found = client.search_registered_models(f"name LIKE '{prefix}%'")
    return [
        AliasLock(
            name=str(model.name),
            number=int(model.name.removeprefix(prefix)),
            owner=str(model.tags.get("owner", "somebody")),
            until=float(model.tags.get("until", "inf")),
        )
        for model in found
        if model.name.startswith(prefix)
    ]


def _busy(prefix: str, claim: AliasLock | None) -> RegistryError:
    by = f" by {claim.owner}" if claim else ""
    left = (
        f"wait for it; if it was killed, it keeps others out for {claim.until - time.time():.0f} s more"
        if claim
        else "try again"
    )
    return RegistryError(f"{_claimed(prefix)} is being moved{by}", hint=left)


def _claimed(prefix: str) -> str:
    model, _, alias = prefix.removesuffix(MARK).rpartition(".")
    return f"{alias} of {model}"


def _owner() -> str:
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a container without a name for its user
        user = str(os.getuid())
    return f"{user} on {socket.gethostname()}, process {os.getpid()}"
