"""LPIPS with made-up weights of AlexNet, and the published calibration."""

import numpy as np
import pytest
import torch

from a2h_models.errors import CheckpointError
from a2h_models.evaluators.alexnet import CHANNELS, AlexNet
from a2h_models.evaluators.lpips import Lpips, load_heads, load_lpips
from a2h_models.metrics.lpips import lpips


@pytest.fixture(scope="module")
def network() -> Lpips:
    torch.manual_seed(0)
    return Lpips(AlexNet(), load_heads()).eval()


@pytest.fixture(scope="module")
def films() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    film = rng.integers(0, 256, (3, 64, 64, 3)).astype(np.uint8)
    return film, np.clip(film + rng.normal(0, 20, film.shape), 0, 255).astype(np.uint8)


def test_equal_pictures_are_at_distance_nothing(network: Lpips, films: tuple[np.ndarray, np.ndarray]) -> None:
    np.testing.assert_array_equal(lpips(network, films[0], films[0]), np.zeros(3, np.float32))


def test_it_is_symmetric_and_grows_with_the_difference(network: Lpips, films: tuple[np.ndarray, np.ndarray]) -> None:
    film, noisy = films
    there, back = lpips(network, film, noisy), lpips(network, noisy, film)
    np.testing.assert_allclose(there, back, rtol=1e-5)
    assert (there > 0).all()
    assert (lpips(network, film, 255 - film) > there).all()


def test_as_torchmetrics_has_it(
    network: Lpips, films: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their arithmetic and calibration around the same features; the last layer is a pool, which
    neither looks at.
    """
    from torchmetrics.functional.image import lpips as theirs

    features = torch.nn.Sequential(*network.network.features, torch.nn.MaxPool2d(3, 2))
    monkeypatch.setattr(theirs, "_get_tv_model_features", lambda *_, **__: features)
    other = theirs._LPIPS(pretrained=True, net="alex", pnet_tune=True).eval()
    a, b = (torch.from_numpy(film).permute(0, 3, 1, 2) / 255 for film in films)
    with torch.inference_mode():
        expected = other(a, b, normalize=True).flatten().numpy()
    np.testing.assert_allclose(lpips(network, *films), expected, rtol=1e-4)


def test_the_calibration_weighs_each_channel_and_none_negatively() -> None:
    heads = load_heads()
    assert [len(head) for head in heads] == list(CHANNELS)
    assert all((head >= 0).all() for head in heads)


def test_weights_are_read_strictly_and_without_running_them(tmp_path) -> None:
    state = {f"features.{name}": tensor for name, tensor in AlexNet().features.state_dict().items()}
    torch.save(state | {"classifier.1.weight": torch.zeros(1)}, tmp_path / "whole.pth")
    loaded = load_lpips(tmp_path / "whole.pth")
    assert torch.equal(loaded.network.features[0].weight, state["features.0.weight"])
    torch.save(dict(list(state.items())[1:]), tmp_path / "lacking.pth")
    with pytest.raises(CheckpointError, match=r"features\.0\.weight is missing"):
        load_lpips(tmp_path / "lacking.pth")
    torch.save({"features.0.weight": slice(0, 1)}, tmp_path / "code.pth")
    with pytest.raises(CheckpointError, match="weights"):
        load_lpips(tmp_path / "code.pth")
