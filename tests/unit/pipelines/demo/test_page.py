"""The table of metrics on the demo's page."""

from pipelines.demo import page


def test_a_cell_shows_the_interval_where_there_is_one() -> None:
    assert page._cell({"mean": 20.512, "low": 19.0, "high": 22.25}) == "20.5 [19, 22.2]"
    assert page._cell({"mean": 20.512, "low": None, "high": None}) == "20.5"
    assert page._cell({"mean": None, "low": None, "high": None}) == page._cell(None) == "–"


def test_the_table_has_a_column_for_each_system_in_a_fixed_order() -> None:
    psnr = {"mean": 1.0, "low": None, "high": None}
    summary = {
        "clips": 3,
        "split": "test",
        "rows": {
            "predicted_pose": {"psnr": psnr},
            "ground_truth": {"psnr": psnr},
            "copy_portrait": {},
            "true_pose": {"psnr": psnr},
        },
        "not_measured": {"CSIM": "not measured, because …"},
    }
    numbers = page._numbers(summary)
    assert [system["title"] for system in numbers["systems"]] == [
        "Ground truth",
        "Copied portrait",
        "Model, true pose",
        "Model, predicted pose",
    ]
    assert [(metric["title"], metric["cells"]) for metric in numbers["metrics"]] == [
        ("PSNR ↑ (dB)", ["1", "–", "1", "1"])
    ]
