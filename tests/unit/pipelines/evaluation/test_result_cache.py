"""Results of clips that are stored while an evaluation runs."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from a2h_models.metrics.frechet import Moments, frechet_distance
from pipelines.core.storage import Storage
from pipelines.evaluation.clips import NO_STRIP, ClipResult
from pipelines.evaluation.result_cache import ResultCache
from pipelines.evaluation.summary import set_metrics


def _result(key: str, features: dict[str, dict[str, np.ndarray]]) -> ClipResult:
    return ClipResult(
        key=key, identity="eve", frames=16, rows={row: {} for row in features}, strip=NO_STRIP, features=features
    )


def test_a_sets_distance_is_that_of_all_its_clips_together(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    truth, made = rng.normal(0, 1, (40, 8)).astype(np.float32), rng.normal(0.5, 2, (40, 8)).astype(np.float32)
    cache = ResultCache(Storage(tmp_path), ["parents"])
    for number in range(4):
        part = slice(10 * number, 10 * number + 10)
        cache.put(_result(f"clip{number}", {"ground_truth": {"fid": truth[part]}, "true_pose": {"fid": made[part]}}))
    found = set_metrics(
        (cache.get_features(f"clip{number}") for number in range(4)), ["ground_truth", "copy_portrait", "true_pose"]
    )
    a, b = Moments(8), Moments(8)
    a.add(truth)
    b.add(made)
    assert found["true_pose"]["fid"]["mean"] == pytest.approx(frechet_distance(b, a), rel=1e-6)
    assert found["true_pose"]["fid"]["samples"] == 40
    assert found["ground_truth"]["fid"]["mean"] == pytest.approx(0, abs=1e-6)
    assert found["copy_portrait"] == {}
    assert cache.get("clip0") == _kept(cache, "clip0")
    cache.clear()
    assert cache.get_features("clip0") == {}


def _kept(cache: ResultCache, key: str) -> ClipResult | None:
    """What comes back is without features: they are large, and read one clip at a time."""
    found = cache.get(key)
    assert found is not None
    assert found.features == {}
    return replace(found, strip=found.strip)
