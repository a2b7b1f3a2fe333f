"""Is one version worse than another by more than chance? On made-up clips whose answer is known."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.promotion.comparison import metric_loss
from pipelines.registry.evaluations import EvaluationResults

KEYS = [f"clip-{number:03d}" for number in range(40)]


def measured(**by_clip: np.ndarray | dict[str, float]) -> EvaluationResults:
    """An evaluation with the given values of each clip; `true_pose__psnr` stands for
    "true_pose/psnr".
    """
    columns = {
        name.replace("__", "/"): values
        if isinstance(values, dict)
        else dict(zip(KEYS, map(float, values), strict=False))
        for name, values in by_clip.items()
    }
    return EvaluationResults(
        set_id="s" * 16,
        dataset="mine, test",
        dataset_path="/data/mine",
        dataset_fingerprint="f" * 64,
        clips=len(KEYS),
        identities=("eve",),
        sources=(),
        features={},
        means={name: float(np.nanmean(list(values.values()))) for name, values in columns.items()},
        by_clip=columns,
    )


HARD = np.random.default_rng(0).normal(25, 4, len(KEYS))  # dB: clips differ far more than versions do


def test_pairs_find_a_loss_that_the_means_own_intervals_hide() -> None:
    """0.3 dB worse on every clip, where clips differ by 4 dB."""
    noise = np.random.default_rng(1).normal(0, 0.1, len(KEYS))
    champion, candidate = measured(true_pose__psnr=HARD), measured(true_pose__psnr=HARD - 0.3 + noise)
    found = metric_loss("true_pose/psnr", candidate, champion)
    assert found.exceeds(0.0)
    assert not found.exceeds(0.5)
    assert found.low < 0.3 < found.high
    wide = {"true_pose/psnr": (HARD.mean() - 1.5, HARD.mean() + 1.0)}
    unpaired = metric_loss("true_pose/psnr", replace(candidate, by_clip={}, intervals=wide), champion)
    assert not unpaired.exceeds(0.0)


def test_chance_alone_refuses_about_one_in_forty() -> None:
    """The interval's upper and lower tail are 2.5 % each; of 400 equal pairs some 10 look worse."""
    rng = np.random.default_rng(2)
    refused = 0
    for _ in range(400):
        noise = rng.normal(0, 1, (2, len(KEYS)))
        refused += metric_loss(
            "true_pose/l1", measured(true_pose__l1=noise[0]), measured(true_pose__l1=noise[1])
        ).exceeds(0.0)
    assert 2 <= refused <= 24


@pytest.mark.parametrize(("metric", "worse"), [("psnr", -1.0), ("l1", +1.0)])
def test_each_metric_has_its_direction(metric: str, worse: float) -> None:
    ours, theirs = measured(**{f"true_pose__{metric}": HARD + worse}), measured(**{f"true_pose__{metric}": HARD})
    assert metric_loss(f"true_pose/{metric}", ours, theirs).mean == pytest.approx(1.0)
    assert metric_loss(f"true_pose/{metric}", theirs, ours).mean == pytest.approx(-1.0)


def test_metrics_without_a_direction_are_held_against_the_truth() -> None:
    """Jitter is best where the ground truth's is: twice as far off is worse, whether above or
    below.
    """
    truth = np.full(len(KEYS), 0.5)
    theirs = measured(predicted_pose__jitter=truth + 0.1, ground_truth__jitter=truth)
    for sign in (-1, 1):
        ours = measured(predicted_pose__jitter=truth + sign * 0.2, ground_truth__jitter=truth)
        assert metric_loss("predicted_pose/jitter", ours, theirs).mean == pytest.approx(0.1)
    assert metric_loss("predicted_pose/jitter", measured(predicted_pose__jitter=truth), theirs) is None


def test_clips_measured_only_for_the_champion_are_counted() -> None:
    """A film without a face has no landmark distance; leaving such clips out would reward the loss
    of faces.
    """
    theirs = measured(true_pose__lmd=HARD)
    ours = measured(true_pose__lmd=np.where(np.arange(len(KEYS)) < 3, np.nan, HARD - 1))
    found = metric_loss("true_pose/lmd", ours, theirs)
    assert (found.clips, found.missing) == (37, 3)
    assert metric_loss("true_pose/lmd", theirs, ours).missing == 0


def test_a_single_clip_is_judged_by_its_loss() -> None:
    ours, theirs = measured(true_pose__psnr={"a": 24.0}), measured(true_pose__psnr={"a": 25.0})
    found = metric_loss("true_pose/psnr", ours, theirs)
    assert np.isnan(found.low)
    assert found.exceeds(0.5)
    assert not found.exceeds(1.5)


def test_what_was_not_measured_for_both_has_no_loss() -> None:
    ours, theirs = measured(true_pose__psnr=HARD), measured(true_pose__ssim=HARD)
    assert metric_loss("true_pose/psnr", ours, theirs) is None
    assert metric_loss("true_pose/ssim", ours, theirs) is None
    assert metric_loss("true_pose/charm", ours, ours) is None


@settings(max_examples=50, deadline=None)
@given(values=st.lists(st.floats(-50, 50), min_size=1, max_size=20), margin=st.floats(0, 5))
def test_nobody_is_worse_than_itself(values: list[float], margin: float) -> None:
    ours = measured(true_pose__psnr=np.array(values))
    assert not metric_loss("true_pose/psnr", ours, ours).exceeds(margin)
