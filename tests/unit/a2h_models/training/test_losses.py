"""Losses whose value is known: equal inputs, shifted ones, permuted batches."""

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from a2h_models.errors import CheckpointError, ConfigError, InputError
from a2h_models.features.keypoints import Keypoints
from a2h_models.networks.blocks import gaussian_kernel
from a2h_models.networks.perceptual import Vgg19, load_vgg19, vgg19_from
from a2h_models.training import losses
from a2h_models.training.equivariance import Transform, random_transform

SPREADS = (losses.spread_between_identities, losses.global_variance)
SCALES = (1.0, 0.5, 0.25, 0.125)


def test_total_is_the_weighted_sum() -> None:
    terms = {"a": torch.tensor(2.0), "b": torch.tensor(3.0), "off": torch.tensor(float("nan"))}
    assert losses.total(terms, {"a": 10.0, "b": 0.5, "off": 0.0, "spare": 1.0}).item() == 21.5


@pytest.mark.parametrize("weight", [-1.0, float("nan")])
def test_total_refuses_to_reward_a_loss(weight: float) -> None:
    with pytest.raises(ConfigError, match=f"0 or more: b={weight:g}"):
        losses.total({"a": torch.tensor(2.0), "b": torch.tensor(3.0)}, {"a": 1.0, "b": weight})


def test_total_refuses_a_term_without_a_weight() -> None:
    with pytest.raises(ConfigError, match="without a weight: b"):
        losses.total({"a": torch.tensor(1.0), "b": torch.tensor(1.0)}, {"a": 1.0})
    with pytest.raises(ConfigError, match="weight 0: a"):
        losses.total({"a": torch.tensor(1.0)}, {"a": 0.0})


def test_pyramid_is_the_releases_blur_and_interpolation() -> None:
    """Striding gives the numbers of `F.interpolate(scale_factor=1/n)`, which makes this training
    diverge.
    """
    image = torch.rand(2, 3, 64, 64)
    for scale, made in zip(SCALES[1:], losses.image_pyramid(image, SCALES)[1:], strict=True):
        kernel = gaussian_kernel(round(1 / scale))
        blurred = F.conv2d(image, kernel.expand(3, -1, -1, -1), padding=kernel.shape[-1] // 2, groups=3)
        assert torch.allclose(made, F.interpolate(blurred, scale_factor=scale), atol=1e-6)


def test_pyramid_refuses_an_odd_scale() -> None:
    with pytest.raises(ConfigError, match=r"0\.3"):
        losses.image_pyramid(torch.rand(1, 3, 8, 8), (0.3,))


def test_pyramid_l1_of_a_constant_difference() -> None:
    image = torch.rand(2, 3, 32, 32) / 2
    assert losses.pyramid_l1(image, image, SCALES).item() == 0
    assert losses.pyramid_l1(image + 0.25, image, (1.0,)).item() == pytest.approx(0.25)


def test_lsgan() -> None:
    one, zero = torch.ones(2, 1, 3, 3), torch.zeros(2, 1, 3, 3)
    assert losses.lsgan_discriminator(one, zero).item() == 0
    assert losses.lsgan_discriminator(zero, one).item() == 2
    assert losses.lsgan_generator(one).item() == 0
    assert losses.lsgan_generator(zero).item() == 1


def test_feature_matching_moves_only_what_was_made() -> None:
    true, made = [torch.rand(1, 2, requires_grad=True)], [torch.rand(1, 2, requires_grad=True)]
    losses.feature_matching(true, made).backward()
    assert true[0].grad is None
    assert made[0].grad is not None


def test_ssim_over_time() -> None:
    time = torch.linspace(0, 12, 64)
    pose = torch.stack([torch.sin(time * (1 + row / 5)) for row in range(6)], dim=-1)[None] * 0.5
    still = pose.mean(1, keepdim=True).expand_as(pose)
    batch = torch.cat([pose, pose.flip(1)])
    assert losses.ssim_over_time(pose, pose).item() == pytest.approx(0, abs=1e-6)
    assert losses.ssim_over_time(still, pose) > losses.ssim_over_time(pose + 0.05, pose) > 0
    assert losses.ssim_over_time(batch, batch.flip(0)).item() == pytest.approx(
        losses.ssim_over_time(batch.flip(0), batch).item()
    )


class TestGlobalVariance:
    def test_known_spreads(self) -> None:
        """It is nothing but the ratio of the spreads: not where the head is, nor when it moves."""
        pose = torch.randn(3, 64, 6) * 0.2
        still = pose.mean(dim=1, keepdim=True)
        assert losses.global_variance(pose, pose).item() == 0
        assert losses.global_variance(pose.flip(1) + 0.5, pose).item() == pytest.approx(0, abs=1e-5)
        for ratio in (0.5, 2.0):
            narrower = still + ratio * (pose - still)
            assert losses.global_variance(narrower, pose).item() == pytest.approx(math.log(2), rel=0.01)
            assert losses.global_variance(pose, narrower).item() == pytest.approx(math.log(2), rel=0.01)

    def test_slow_motion_that_ssim_hardly_sees(self) -> None:
        """Half of a slow turn, with all that is quick in it, of a head that looks aside: SSIM's
        short windows lose a few hundredths.
        """
        time = torch.linspace(0, 2 * math.pi, 64)[None, :, None].expand(1, 64, 6)
        slow, quick = 0.4 + 0.1 * time.sin(), 0.01 * (16 * time).sin()
        smooth = (0.4 + slow) / 2 + quick
        assert losses.ssim_over_time(smooth, slow + quick).item() < 0.1
        assert losses.global_variance(smooth, slow + quick).item() == pytest.approx(math.log(2), rel=0.1)

    def test_a_still_head_has_a_finite_gradient_and_no_cost_beside_a_still_truth(self) -> None:
        still = torch.zeros(1, 64, 6, requires_grad=True)
        losses.global_variance(still, torch.randn(1, 64, 6) * 0.1).backward()
        assert still.grad is not None
        assert still.grad.isfinite().all()
        noise = torch.randn(1, 64, 6) * 1e-4
        assert losses.global_variance(torch.zeros(1, 64, 6), noise).item() < 1e-3

    def test_descent_widens_to_the_truth(self) -> None:
        true = torch.randn(1, 64, 6) * 0.1
        made = (true * 0.3).requires_grad_()
        optimiser = torch.optim.Adam([made], lr=2e-3)
        for _ in range(200):
            optimiser.zero_grad()
            losses.global_variance(made, true).backward()
            optimiser.step()
        torch.testing.assert_close(made.detach().std(dim=1), true.std(dim=1), rtol=0.05, atol=0)


class TestSpreadAmong:
    def test_whose_spread_is_whose_does_not_matter(self) -> None:
        pose = torch.randn(4, 64, 6) * torch.tensor([0.02, 0.05, 0.1, 0.3])[:, None, None]
        assert losses.spread_between_identities(pose.flip(0) + 0.5, pose).item() == pytest.approx(0, abs=1e-9)
        wider = pose + (pose - pose.mean(dim=1, keepdim=True))
        missing = pose.var(dim=1, correction=0).mean()  # as much of each standard deviation as there is
        torch.testing.assert_close(losses.spread_between_identities(wider.flip(0), pose), missing)

    def test_it_aims_at_the_mean_where_the_global_variance_aims_at_the_median(self) -> None:
        """Two still heads to one that moves: equal widths for all cost least at a third of its
        width here, at none there.
        """
        time = torch.linspace(0, 2 * math.pi, 64)[None, :, None].sin().expand(3, 64, 6)
        true = time * torch.tensor([0.0, 0.0, 0.3])[:, None, None]
        widths = torch.linspace(0, 0.3, 31)
        best = {
            term: widths[torch.stack([term(time * width, true) for width in widths]).argmin()].item()
            for term in SPREADS
        }
        assert best == pytest.approx({losses.spread_between_identities: 0.1, losses.global_variance: 0.0})

    def test_a_still_head_has_a_finite_gradient(self) -> None:
        still = torch.zeros(2, 64, 6, requires_grad=True)
        losses.spread_between_identities(still, torch.randn(2, 64, 6) * 0.1).backward()
        assert still.grad is not None
        assert still.grad.isfinite().all()


def test_equivariance_of_perfect_keypoints_is_zero() -> None:
    transform = random_transform(torch.zeros(2, 3, 8, 8), affine_sigma=0.05, tps_sigma=0.005, tps_points=5)
    found = torch.rand(2, 10, 2) - 0.5
    perfect = Keypoints(value=transform.warp(found), jacobian=transform.jacobian(found))
    transformed = Keypoints(value=found, jacobian=torch.eye(2).expand(2, 10, 2, 2))
    assert losses.equivariance_value(perfect, transformed, transform).item() == pytest.approx(0, abs=1e-6)
    assert losses.equivariance_jacobian(perfect, transformed, transform).item() == pytest.approx(0, abs=1e-5)
    shifted = perfect._replace(value=perfect.value + 0.1)
    assert losses.equivariance_value(shifted, transformed, transform).item() == pytest.approx(0.1, abs=1e-5)


def test_equivariance_under_a_known_shift() -> None:
    """Keypoints that follow a shift by 0.5 lose nothing; keypoints that stay lose 0.5 in x and 0 in
    y.
    """
    shift = Transform(
        affine=torch.tensor([[[1.0, 0, 0.5], [0, 1, 0]]]), centres=torch.zeros(1, 2), weights=torch.zeros(1, 1)
    )
    eye = torch.eye(2).expand(1, 10, 2, 2)
    image = Keypoints(value=torch.rand(1, 10, 2) - 0.5, jacobian=eye)
    followed = image._replace(value=image.value - torch.tensor([0.5, 0.0]))
    assert losses.equivariance_value(image, followed, shift).item() == pytest.approx(0, abs=1e-6)
    assert losses.equivariance_value(image, image, shift).item() == pytest.approx(0.25)
    assert losses.equivariance_jacobian(image, followed, shift).item() == pytest.approx(0, abs=1e-6)
    turned = followed._replace(jacobian=2 * eye)
    # |2 − 1| on the diagonal, 0 beside it
    assert losses.equivariance_jacobian(image, turned, shift).item() == pytest.approx(0.5)


def test_the_identity_costs_nothing() -> None:
    none = random_transform(torch.zeros(2, 3, 8, 8), affine_sigma=0.0, tps_sigma=0.0, tps_points=5)
    found = Keypoints(value=torch.rand(2, 10, 2), jacobian=torch.eye(2).expand(2, 10, 2, 2))
    assert losses.equivariance_value(found, found, none).item() == 0
    assert losses.equivariance_jacobian(found, found, none).item() == 0


def test_the_order_of_a_batch_does_not_matter() -> None:
    made, true, order = torch.rand(4, 3, 32, 32), torch.rand(4, 3, 32, 32), torch.tensor([2, 0, 3, 1])
    pose, patches = torch.rand(2, 4, 64, 6) - 0.5, torch.rand(2, 4, 1, 3, 3)
    pairs = [
        (losses.pyramid_l1(made, true, SCALES), losses.pyramid_l1(made[order], true[order], SCALES)),
        (losses.ssim_over_time(*pose), losses.ssim_over_time(*pose[:, order])),
        *((term(*pose), term(*pose[:, order])) for term in SPREADS),
        (losses.lsgan_discriminator(*patches), losses.lsgan_discriminator(*patches[:, order])),
        (losses.feature_matching([true], [made]), losses.feature_matching([true[order]], [made[order]])),
    ]
    for one, other in pairs:
        torch.testing.assert_close(one, other)
    assert losses.pyramid_l1(made, true[order], SCALES) != losses.pyramid_l1(made, true, SCALES)


class TestPerceptual:
    def test_a_shifted_image_costs_more_the_further_it_is(self) -> None:
        torch.manual_seed(0)
        vgg, ramp = Vgg19(), torch.linspace(0, 6, 40).sin().add(1).div(2).expand(1, 3, 32, 40)
        image, near, far = (ramp[..., start : start + 32] for start in (0, 1, 4))
        costs = [losses.perceptual(vgg, moved, image, (1.0, 0.5)).item() for moved in (image, near, far)]
        assert costs[0] == 0 < costs[1] < costs[2]

    def test_made_up_weights_of_the_right_layout_are_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "vgg19-dcbb9e9d.pth"
        torch.save(Vgg19().state_dict(), path)
        with pytest.raises(CheckpointError, match=r"is not vgg19-dcbb9e9d\.pth: its sha-256 begins with"):
            load_vgg19(path)

    def test_layers_are_torchvisions(self) -> None:
        vgg = Vgg19()
        assert vgg.taps == [1, 6, 11, 20, 29]  # relu1_1 … relu5_1 of torchvision's features
        convs = [index for index, layer in enumerate(vgg.features) if isinstance(layer, torch.nn.Conv2d)]
        assert convs == [0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28]
        maps = vgg(torch.rand(1, 3, 32, 32))
        assert [tuple(x.shape[1:]) for x in maps] == [
            (64, 32, 32),
            (128, 16, 16),
            (256, 8, 8),
            (512, 4, 4),
            (512, 2, 2),
        ]

    def test_only_the_made_image_gets_a_gradient(self) -> None:
        vgg = Vgg19().train()
        assert not vgg.training
        made, true = torch.rand(1, 3, 32, 32, requires_grad=True), torch.rand(1, 3, 32, 32, requires_grad=True)
        assert losses.perceptual(vgg, true, true, (1.0,)).item() == 0
        losses.perceptual(vgg, made, true, (1.0, 0.5)).backward()
        assert made.grad is not None
        assert true.grad is None
        assert all(parameter.grad is None for parameter in vgg.parameters())

    def test_missing_weights_say_what_to_do(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="VGG-19") as caught:
            load_vgg19(tmp_path / "vgg19-dcbb9e9d.pth")
        assert "stage.vgg19" in caught.value.hint

    def test_another_file_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "vgg19-dcbb9e9d.pth"
        path.write_bytes(b"not the weights")
        with pytest.raises(CheckpointError, match="sha-256"):
            load_vgg19(path)

    def test_a_state_dict_of_torchvisions_shape(self) -> None:
        state = dict(Vgg19().state_dict()) | {"classifier.0.weight": torch.zeros(1), "features.34.bias": torch.zeros(1)}
        vgg = vgg19_from(state, source="test")
        assert torch.equal(vgg.features[0].weight, state["features.0.weight"])
        assert not any(parameter.requires_grad for parameter in vgg.parameters())
        del state["features.28.weight"]
        with pytest.raises(CheckpointError, match=r"features\.28\.weight is missing"):
            vgg19_from(state, source="test")
