"""Frames: PSNR and SSIM against scikit-image, L1 and the limits by hand."""

import numpy as np
import pytest

from a2h_models.metrics import image

# our SSIM is float32, scikit-image's float64
SSIM_TOLERANCE = 2e-5


@pytest.fixture(scope="module")
def films() -> tuple[np.ndarray, np.ndarray]:
    """Smooth pictures with structure, and noisy ones of them."""
    rng = np.random.default_rng(7)
    rows, columns = np.mgrid[0:40, 0:48]
    truth = np.stack([127 + 100 * np.sin(rows / (3 + k) + columns / 9) for k in range(20)])[..., None] * np.array(
        [1.0, 0.8, 0.6]
    )
    truth = truth.clip(0, 255).astype(np.uint8)
    noisy = (truth + rng.normal(0, 12, truth.shape)).clip(0, 255).astype(np.uint8)
    return noisy, truth


def test_psnr_agrees_with_scikit_image(films: tuple[np.ndarray, np.ndarray]) -> None:
    metrics = pytest.importorskip("skimage.metrics")
    expected = [metrics.peak_signal_noise_ratio(b, a, data_range=255) for a, b in zip(*films, strict=True)]
    np.testing.assert_allclose(image.psnr(*films), expected, rtol=1e-5)


def test_ssim_agrees_with_scikit_image(films: tuple[np.ndarray, np.ndarray]) -> None:
    metrics = pytest.importorskip("skimage.metrics")
    gaussian = {
        "gaussian_weights": True,
        "sigma": 1.5,
        "use_sample_covariance": False,
        "data_range": 255,
        "channel_axis": -1,
    }
    expected = [metrics.structural_similarity(a, b, **gaussian) for a, b in zip(*films, strict=True)]
    found = image.ssim(*films)
    assert found.shape == (20,)  # more than one batch
    np.testing.assert_allclose(found, expected, atol=SSIM_TOLERANCE)


def test_equal_films_are_perfect(films: tuple[np.ndarray, np.ndarray]) -> None:
    _, truth = films
    np.testing.assert_array_equal(image.psnr(truth, truth), image.MAX_PSNR)
    np.testing.assert_allclose(image.ssim(truth, truth), 1.0, atol=SSIM_TOLERANCE)
    np.testing.assert_array_equal(image.l1(truth, truth), 0.0)


def test_black_and_white_are_as_far_as_can_be() -> None:
    black, white = np.zeros((1, 16, 16, 3), np.uint8), np.full((1, 16, 16, 3), 255, np.uint8)
    assert image.psnr(black, white) == 0.0
    assert image.l1(black, white) == 1.0
    assert image.ssim(black, white) < 1e-3


def test_bytes_do_not_wrap_around() -> None:
    """250 and 4 are 246 apart, not 10."""
    a, b = np.full((1, 2, 2, 3), 250, np.uint8), np.full((1, 2, 2, 3), 4, np.uint8)
    assert image.l1(a, b)[0] == pytest.approx(246 / 255)


def test_films_of_different_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot be compared"):
        image.psnr(np.zeros((2, 16, 16, 3), np.uint8), np.zeros((3, 16, 16, 3), np.uint8))
    with pytest.raises(ValueError, match="smaller than a window"):
        image.ssim(np.zeros((2, 8, 16, 3), np.uint8), np.zeros((2, 8, 16, 3), np.uint8))


def test_ms_ssim_agrees_with_torchmetrics() -> None:
    import torch
    from torchmetrics.functional.image import multiscale_structural_similarity_index_measure as theirs

    rng = np.random.default_rng(3)
    rows, columns = np.mgrid[0:180, 0:192]
    truth = np.stack([127 + 100 * np.sin(rows / (9 + k) + columns / 14) for k in range(2)])[..., None] * np.array(
        [1.0, 0.8, 0.6]
    )
    noisy = (truth + rng.normal(0, 25, truth.shape)).clip(0, 255).astype(np.uint8)
    truth = truth.clip(0, 255).astype(np.uint8)
    a, b = (torch.from_numpy(film).permute(0, 3, 1, 2).double() / 255 for film in (noisy, truth))
    expected = [float(theirs(a[i : i + 1], b[i : i + 1], data_range=1.0)) for i in range(2)]
    np.testing.assert_allclose(image.ms_ssim(noisy, truth), expected, atol=SSIM_TOLERANCE)
    np.testing.assert_allclose(image.ms_ssim(truth, truth), 1.0, atol=SSIM_TOLERANCE)


def test_ms_ssim_of_small_frames_is_refused() -> None:
    small = np.zeros((1, 160, 200, 3), np.uint8)
    with pytest.raises(ValueError, match="smaller than 176"):
        image.ms_ssim(small, small)
