"""Identities → splits: by the hash of the identity, so that nobody is in two, whoever joins or
leaves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from pipelines.config import PlanConfig
from pipelines.core.hashing import HASH_NUMBERS, hash_number


def position(identity: str, seed: int) -> float:
    """Where an identity stands in [0, 1), by its hash: for ever the same, whoever else is there."""
    return hash_number(f"{seed}\n{identity}") / HASH_NUMBERS


def assign_splits(
    identities: Iterable[str], config: PlanConfig, bound: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Identity → split: [0, test_share) is test, the next val_share is val, the rest train.

    Where a split with a share stays empty although there are `min_identities_for_splits` identities
    or more, the identity whose hash is nearest to its range moves there. With fewer identities
    everything is train.

    Args:
        identities: in any order.
        config: prepare/plan.
        bound: identity → the one that decides for it, as `merge_identities` gives it; they count as
            one.
    """
    deciding = {identity: (bound or {}).get(identity, identity) for identity in identities}
    splits = _assign({decider: position(decider, config.seed) for decider in deciding.values()}, config)
    return {identity: splits[decider] for identity, decider in deciding.items()}


def merge_identities(together: Iterable[set[str]]) -> dict[str, str]:
    """Identities that share a video must share a split: each of them → the first by name of all
    that hang together.
    """
    parents: dict[str, str] = {}

    def root(identity: str) -> str:
        while (parent := parents.setdefault(identity, identity)) != identity:
            parents[identity] = identity = parents[parent]
        return identity

    for group in together:
        first, *others = sorted(map(root, group))
        for other in others:
            parents[other] = first
    return {identity: root(identity) for identity in list(parents)}


def _assign(places: Mapping[str, float], config: PlanConfig) -> dict[str, str]:
    if len(places) < config.min_identities_for_splits:
        return dict.fromkeys(places, "train")
    ranges = {
        "test": (0.0, config.test_share),
        "val": (config.test_share, config.test_share + config.val_share),
        "train": (config.test_share + config.val_share, 1.0),
    }
    splits = {
        identity: next((name for name, (a, b) in ranges.items() if a <= u < b), "train")
        for identity, u in places.items()
    }
    for name in ("train", "test", "val"):
        start, stop = ranges[name]
        if stop > start and name not in splits.values():
            splits[_nearest(places, splits, start, stop)] = name
    return splits


def _nearest(places: Mapping[str, float], splits: Mapping[str, str], start: float, stop: float) -> str:
    """The identity nearest to [start, stop) among those whose split can spare one."""
    members = Counter(splits.values())
    spare = [identity for identity in places if members[splits[identity]] > 1]
    return min(spare, key=lambda identity: (max(start - places[identity], places[identity] - stop, 0.0), identity))
