"""Fréchet distances against closed forms, scipy's matrix root and torchmetrics."""

import numpy as np
import pytest
import torch

from a2h_models.evaluators.i3d import I3D
from a2h_models.evaluators.inception import Inception
from a2h_models.metrics.frechet import Moments, frame_features, frechet_distance, gaussian_distance, video_features


def _gaussian(seed: int, dimensions: int = 6) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    factor = rng.normal(size=(dimensions, dimensions))
    return rng.normal(size=dimensions), factor @ factor.T


def _moments(samples: np.ndarray, pieces: int = 1) -> Moments:
    moments = Moments(samples.shape[1])
    for piece in np.array_split(samples, pieces):
        moments.add(piece)
    return moments


class TestOfGaussians:
    def test_along_axes_it_is_the_distance_of_means_and_of_deviations(self) -> None:
        """|Δμ|² + Σ (σ − τ)², for diagonal covariances."""
        mean, sigma, tau = np.array([1.0, -2.0, 0.5]), np.array([1.0, 2.0, 3.0]), np.array([3.0, 0.0, 1.0])
        distance = gaussian_distance(np.zeros(3), np.diag(sigma**2), mean, np.diag(tau**2))
        assert distance == pytest.approx((mean**2).sum() + ((sigma - tau) ** 2).sum())

    def test_of_one_dimension(self) -> None:
        assert gaussian_distance(
            np.array([3.0]), np.array([[4.0]]), np.array([0.0]), np.array([[1.0]])
        ) == pytest.approx(9 + 1)

    def test_equal_ones_are_at_distance_nothing(self) -> None:
        mean, covariance = _gaussian(0)
        assert gaussian_distance(mean, covariance, mean, covariance) == pytest.approx(0, abs=1e-9)

    @pytest.mark.parametrize("seed", range(5))
    def test_as_scipys_root_has_it_both_ways_round(self, seed: int) -> None:
        from scipy.linalg import sqrtm

        (mean, covariance), (other, others) = _gaussian(seed), _gaussian(seed + 100)
        root = sqrtm(covariance @ others).real
        expected = np.square(mean - other).sum() + np.trace(covariance + others - 2 * root)
        assert gaussian_distance(mean, covariance, other, others) == pytest.approx(expected, rel=1e-9)
        assert gaussian_distance(other, others, mean, covariance) == pytest.approx(expected, rel=1e-9)

    def test_as_torchmetrics_has_it(self) -> None:
        from torchmetrics.image.fid import _compute_fid

        (mean, covariance), (other, others) = _gaussian(1, 40), _gaussian(2, 40)
        expected = _compute_fid(*(torch.from_numpy(part) for part in (mean, covariance, other, others)))
        assert gaussian_distance(mean, covariance, other, others) == pytest.approx(float(expected), rel=1e-6)

    def test_fewer_samples_than_dimensions_give_a_finite_distance(self) -> None:
        """A flat covariance has a root, too."""
        a, b = (np.random.default_rng(seed).normal(size=(5, 40)) for seed in (0, 1))
        assert 0 < frechet_distance(_moments(a), _moments(b)) < 1000
        assert frechet_distance(_moments(a), _moments(a)) == pytest.approx(0, abs=1e-6)


class TestMoments:
    def test_pieces_are_as_good_as_the_whole(self) -> None:
        samples = np.random.default_rng(0).normal(3, 2, size=(101, 7))
        found = _moments(samples, pieces=9)
        assert found.count == 101
        np.testing.assert_allclose(found.mean, samples.mean(axis=0))
        np.testing.assert_allclose(found.covariance, np.cov(samples, rowvar=False))

    def test_one_sample_has_no_covariance(self) -> None:
        many, one = _moments(np.eye(3)), _moments(np.ones((1, 3)))
        with pytest.raises(ValueError, match="1 samples"):
            frechet_distance(many, one)

    def test_samples_of_known_gaussians_come_near_their_distance(self) -> None:
        (mean, covariance), (other, others) = _gaussian(3, 3), _gaussian(4, 3)
        rng = np.random.default_rng(0)
        a, b = rng.multivariate_normal(mean, covariance, 50_000), rng.multivariate_normal(other, others, 50_000)
        exact = gaussian_distance(mean, covariance, other, others)
        assert frechet_distance(_moments(a), _moments(b)) == pytest.approx(exact, rel=0.02)


class TestFeatures:
    """Of networks with made-up weights."""

    def test_a_frames_features_are_its_own(self) -> None:
        torch.manual_seed(0)
        network = Inception().eval()
        frames = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3)).astype(np.uint8)
        found = frame_features(network, frames)
        assert found.shape == (3, 2048)
        np.testing.assert_allclose(found[2:], frame_features(network, frames[2:]), atol=1e-5)
        assert frame_features(network, frames[:0]).shape == (0, 2048)

    def test_a_film_has_one_sample_for_each_sixteen_frames(self) -> None:
        torch.manual_seed(0)
        network = I3D().eval()
        frames = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3)).astype(np.uint8)
        assert video_features(network, frames).shape == (1, 400)
        assert video_features(network, frames[:15]).shape == (0, 400)
