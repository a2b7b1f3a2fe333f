"""Means over clips and sets, groups of clips, and speeds."""

from dataclasses import replace

import numpy as np
import pytest

from pipelines.config import EvaluateConfig
from pipelines.evaluation.clips import ClipResult
from pipelines.evaluation.summary import break_down, reasons_not_measured, set_metrics, speed_metrics

BRIEF = EvaluateConfig(max_frames=16, bootstrap_samples=20, protocols=("true_pose",))


def result(key: str, identity: str, *, turned: float, sure: float, ssim: float) -> ClipResult:
    rows = {"ground_truth": {"ssim": 1.0, "mouth_speech_confidence": sure}, "true_pose": {"ssim": ssim, "jitter": 1.0}}
    seconds = {
        "features": 1.0,
        "predicted_pose/pose": 2.0,
        "predicted_pose/render": 5.0,
        "true_pose/render": 7.0,
        "metrics": 3.0,
    }
    strip = np.full((4, 4, 3), 90, np.uint8)
    return ClipResult(
        key=key, identity=identity, frames=50, rows=rows, strip=strip, head_turn_deg=turned, seconds=seconds
    )


RESULTS = [
    result("a", "ann", turned=5, sure=2.0, ssim=0.9),
    result("b", "ann", turned=15, sure=1.0, ssim=0.7),
    result("c", "bob", turned=25, sure=0.1, ssim=0.2),
]


def test_numbers_are_broken_down() -> None:
    found = break_down(RESULTS, BRIEF)
    means = {
        name: {group: part["rows"]["true_pose"]["ssim"]["mean"] for group, part in groups.items()}
        for name, groups in found.items()
    }
    assert means["identity"] == {"ann": pytest.approx(0.8), "bob": 0.2}
    assert means["head turns"] == {"< 10°": 0.9, "10–20°": 0.7, "≥ 20°": 0.2}
    assert means["sync confidence of the truth"] == {"≥ 1.2": 0.9, "0.6–1.2": 0.7, "< 0.6": 0.2}
    assert found["identity"]["ann"]["clips"] == 2
    assert "jitter" not in found["identity"]["ann"]["rows"]["true_pose"]


def test_the_real_time_factor_counts_features_pose_and_frames() -> None:
    """3 clips of 2 s each; 1 + 2 + 5 s of generating each."""
    found = speed_metrics(RESULTS)
    assert found["real_time_factor"] == pytest.approx(8 / 2)
    assert found["fps"] == pytest.approx(25 / 4)
    assert found["seconds_per_second/metrics"] == pytest.approx(1.5)
    assert "real_time_factor" not in speed_metrics([replace(one, seconds={"read": 1.0}) for one in RESULTS])


def test_a_set_that_is_too_small_has_a_reason_and_no_number() -> None:
    one = {row: {"fvd": np.ones((1, 4), np.float32)} for row in ("ground_truth", "true_pose")}
    rows = set_metrics([one], ["ground_truth", "true_pose"])
    assert rows == {"ground_truth": {}, "true_pose": {}}
    assert "too small" in reasons_not_measured(rows, {"i3d"})["FVD"]


def test_networks_that_found_no_face_say_so() -> None:
    reasons = reasons_not_measured({"true_pose": {}}, {"arcface", "sync_expert"})
    assert "no clip shows a face" in reasons["CSIM; CSIM, 5th percentile; CSIM, collapsed"]
    assert "no clip shows a face" in reasons["Expert offset; Expert likeness; Expert confidence"]
