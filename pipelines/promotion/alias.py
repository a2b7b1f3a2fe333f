"""Moving an alias: under its lock, after the record, with a history of the versions that had it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from a2h_models.errors import RegistryError
from pipelines.registry import ModelRegistry, ModelVersion
from pipelines.registry.alias_lock import RESERVE_S, AliasLock, hold_lock

HISTORY_TAG = "history."  # tag of a registered model, with the alias: the versions that had it, oldest first, by commas
MAX_HISTORY = 100  # versions


@dataclass(frozen=True)
class Alias:
    """One alias of a registered model."""

    registry: ModelRegistry
    model: str
    name: str

    def current(self) -> ModelVersion | None:
        """The version that has the alias now."""
        return self.registry.version_with_alias(self.model, self.name)

    @contextmanager
    def locked(self, expected: ModelVersion | None, *, seconds: float) -> Iterator[AliasLock]:
        """Hold the alias's lock during the block; `expected` must have the alias.

        Raises:
            RegistryError: if another process holds the lock, or another version has the alias.
        """
        with hold_lock(self.registry.tracker, self.model, self.name, seconds=seconds) as lock:
            self.check_unmoved(expected)
            yield lock

    def check_unmoved(self, expected: ModelVersion | None) -> None:
        """Check that a version still has the alias, or still none has.

        The lock keeps promotions apart while they move. Between judging and locking another one
        may have been faster, and by hand an alias is moved without a lock.

        Raises:
            RegistryError: if another version has it.
        """
        current = self.current()
        if (current and current.version) != (expected and expected.version):
            raise RegistryError(
                f"{self.name} of {self.model} went to {current or 'no version'} in the meantime",
                hint="again: it must be compared with that one",
            )

    def move(self, version: ModelVersion, expected: ModelVersion | None, lock: AliasLock) -> None:
        """Give the alias to a version, while the lock is valid and `expected` has it.

        Raises:
            RegistryError: if one of the two no longer holds.
        """
        lock.verify(reserve_s=RESERVE_S)
        self.check_unmoved(expected)
        self.registry.set_alias(version, self.name)

    def history(self) -> list[int]:
        """The versions that had the alias, oldest first; the last one has it now.

        Empty where no version has it. The alias is the truth: what the record says after its
        version was a promotion that was killed, and a version that the record does not know was
        set by hand.
        """
        tag = f"{HISTORY_TAG}{self.name}"
        current, text = self.registry.alias_and_tag(self.model, self.name, tag)
        if current is None:
            return []
        recorded = [int(number) for number in text.split(",") if number]
        return recorded[: last_index(recorded, current) + 1] if current in recorded else [*recorded, current]

    def write_history(self, versions: list[int]) -> None:
        """Record the versions that had the alias, oldest first."""
        text = ",".join(map(str, versions[-MAX_HISTORY:]))
        self.registry.set_model_tag(self.model, f"{HISTORY_TAG}{self.name}", text)


def last_index(versions: list[int], number: int) -> int:
    """The position at which a number stands last."""
    return len(versions) - 1 - versions[::-1].index(number)
