"""Nobody is in two splits: by the hash of the identity, for ever; who shares a video shares a
split.
"""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.config import PlanConfig
from pipelines.prepare.planning.splits import assign_splits, merge_identities, position

names = st.text("abcdefgh", min_size=1, max_size=2)


@settings(deadline=None)
@given(st.sets(st.text(min_size=1, max_size=6), min_size=3, max_size=40), st.integers(0, 5))
def test_no_split_is_empty_with_identities_enough(identities, seed):
    splits = assign_splits(identities, PlanConfig(seed=seed))
    assert set(splits) == identities
    assert set(splits.values()) == {"train", "val", "test"}


def test_few_identities_all_train():
    assert assign_splits({"a", "b"}, PlanConfig()) == {"a": "train", "b": "train"}


def test_who_is_bound_together_counts_as_one():
    bound = merge_identities([{"a", "b"}, {"b", "c"}])
    assert assign_splits({"a", "b", "c", "d"}, PlanConfig(), bound) == dict.fromkeys("abcd", "train")


def test_a_split_without_share_stays_empty():
    splits = assign_splits({str(n) for n in range(20)}, PlanConfig(val_share=0.0, test_share=0.0))
    assert set(splits.values()) == {"train"}


def test_a_new_identity_moves_nobody_in_a_large_set():
    many = {str(number) for number in range(500)}
    before, after = assign_splits(many, PlanConfig()), assign_splits({*many, "new"}, PlanConfig())
    assert {identity: after[identity] for identity in many} == before
    shares = Counter(before.values())
    assert 30 <= shares["val"] <= 70
    assert 30 <= shares["test"] <= 70


def test_positions_are_for_ever():
    # golden: a change would move people between the splits of every existing dataset
    assert position("someone", 0) == pytest.approx(0.6062673964232522, abs=1e-12)
    assert position("someone", 1) != position("someone", 0)


@settings(deadline=None)
@given(st.lists(st.sets(names, min_size=1, max_size=4), max_size=12), st.randoms())
def test_binding_is_the_same_in_any_order_and_never_tears_a_group(groups, random):
    shuffled = list(groups)
    random.shuffle(shuffled)
    bound = merge_identities(groups)
    assert merge_identities(shuffled) == bound
    assert all(len({bound[identity] for identity in group}) == 1 for group in groups)
    assert all(bound[decider] == decider <= identity for identity, decider in bound.items())
