"""The lock of an alias, in every kind of store: one process holds it, and it expires."""

import pytest

from a2h_models.errors import RegistryError
from pipelines.config import TrackingConfig
from pipelines.registry import alias_lock
from pipelines.registry.alias_lock import AliasLock, hold_lock
from pipelines.tracking import Tracker


def registered(store: TrackingConfig) -> set[str]:
    with Tracker(store).session() as client:
        return {model.name for model in client.search_registered_models()}


def test_a_lock_excludes_others_and_ends(store: TrackingConfig) -> None:
    with hold_lock(Tracker(store), "m", "champion", seconds=60) as lock:
        lock.verify(reserve_s=alias_lock.RESERVE_S)
        with (
            pytest.raises(RegistryError, match="champion of m is being moved by"),
            hold_lock(Tracker(store), "m", "champion", seconds=60),
        ):
            pass
        with hold_lock(Tracker(store), "m", "challenger", seconds=60):  # another alias has another lock
            pass
    assert registered(store) == set()


def test_a_lock_that_ran_out_is_not_valid(tracking_config: TrackingConfig) -> None:
    with (
        pytest.raises(RegistryError, match="ran out before the alias moved"),
        hold_lock(Tracker(tracking_config), "m", "champion", seconds=alias_lock.RESERVE_S / 2) as lock,
    ):
        lock.verify(reserve_s=alias_lock.RESERVE_S)


def test_a_lock_that_was_overtaken_is_not_valid(tracking_config: TrackingConfig) -> None:
    """A process that slept past the end of its lock wakes up while the next one holds it."""
    with hold_lock(Tracker(tracking_config), "m", "champion", seconds=60) as lock:
        with Tracker(tracking_config).session() as client:
            client.set_registered_model_tag(f"m.champion{alias_lock.LOCK_MARK}1", "until", "0")
        with (
            hold_lock(Tracker(tracking_config), "m", "champion", seconds=60),
            pytest.raises(RegistryError, match="is being moved by"),
        ):
            lock.verify(reserve_s=alias_lock.RESERVE_S)


def test_one_of_many_that_find_an_expired_lock_gets_the_next(tracking_config: TrackingConfig) -> None:
    """All see that lock 1 has expired; only one of them can create lock 2."""
    with Tracker(tracking_config).session() as client:
        client.create_registered_model(f"m.champion{alias_lock.LOCK_MARK}1", tags={"owner": "ann", "until": "0"})
    first = AliasLock(Tracker(tracking_config), "m", "champion").acquire(60)
    assert first.number == 2
    with pytest.raises(RegistryError, match="is being moved by"):
        AliasLock(Tracker(tracking_config), "m", "champion").acquire(60)
