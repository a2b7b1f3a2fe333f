"""The table and the pictures of an evaluation."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipelines.config import EvaluateConfig
from pipelines.evaluation.clips import ClipResult
from pipelines.evaluation.evaluate import _drop_middle_strips
from pipelines.evaluation.report import contact_sheet, draw_results


def result(key: str, ssim: float) -> ClipResult:
    return ClipResult(
        key=key, identity="x", frames=1, rows={"true_pose": {"ssim": ssim}}, strip=np.full((2, 2, 3), 9, np.uint8)
    )


@given(scores=st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_pictures_of_the_worst_and_best_are_kept_and_no_others(scores: list[float]) -> None:
    config = EvaluateConfig(pictured_clips=2)
    results: list[ClipResult] = []
    for number, score in enumerate(scores):
        results = _drop_middle_strips([*results, result(f"{number:02d}", score)], config)
    ranked = sorted((score, f"{number:02d}") for number, score in enumerate(scores))
    expected = {key for _, key in ranked[:2]} | {key for _, key in ranked[2:][-2:]}
    assert {found.key for found in results if found.strip.size} == expected
    assert len(results) == len(scores)
    assert contact_sheet(results, config).shape == (2 * len(expected), 2, 3)


def test_the_table_shows_what_was_not_measured() -> None:
    interval = {"mean": 20.0, "low": 19.5, "high": 20.5, "clips": 2}
    summary = {
        "model": "m",
        "dataset": "/data/mine",
        "split": "test",
        "clips": 2,
        "rows": {
            "ground_truth": {"psnr": interval, "lmd": interval},
            "true_pose": {"psnr": interval | {"low": None, "high": None, "clips": 1}},
        },
        "not_measured": {"CSIM": "not measured, because"},
    }
    text = draw_results(summary)
    assert "20 [19.5, 20.5]" in text
    assert "–" in text.split("LMD")[1].splitlines()[0]
    assert text.endswith("CSIM: not measured, because")
    assert np.all([len(line) <= 160 for line in text.splitlines()])
