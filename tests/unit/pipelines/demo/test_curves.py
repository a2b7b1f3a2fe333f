"""The plots of the demo's page."""

from pipelines.demo import curves


def test_a_baseline_shares_the_plot_of_its_metric() -> None:
    names = ["train/loss", "train/pixel", "val/psnr", "val/psnr_copy", "val/ssim"]
    assert curves._group_curves(names) == {
        "training": ["train/loss", "train/pixel"],
        "val/psnr": ["val/psnr", "val/psnr_copy"],
        "val/ssim": ["val/ssim"],
    }
