"""Random transforms: the identity changes nothing, Jacobians agree with autograd and finite
differences.
"""

import torch

from a2h_models.training.equivariance import Transform, random_transform


def identity(batch: int) -> Transform:
    return random_transform(torch.zeros(batch, 3, 8, 8), affine_sigma=0.0, tps_sigma=0.0, tps_points=5)


def bent(batch: int, seed: int = 0) -> Transform:
    generator = torch.Generator().manual_seed(seed)
    like = torch.zeros(batch, 3, 8, 8, dtype=torch.float64)
    return random_transform(like, affine_sigma=0.05, tps_sigma=0.05, tps_points=5, generator=generator)


def test_the_identity_changes_nothing() -> None:
    image, points = torch.rand(2, 3, 16, 24), torch.rand(2, 7, 2) * 2 - 1
    assert torch.allclose(identity(2).apply(image), image, atol=1e-5)
    assert torch.equal(identity(2).warp(points), points)
    assert torch.equal(identity(2).jacobian(points), torch.eye(2).expand(2, 7, 2, 2))


def test_jacobian_agrees_with_finite_differences() -> None:
    transform, points, step = bent(3), torch.rand(3, 6, 2, dtype=torch.float64) * 1.6 - 0.8, 1e-6
    columns = []
    for axis in range(2):
        shift = torch.zeros(2, dtype=torch.float64)
        shift[axis] = step
        columns.append((transform.warp(points + shift) - transform.warp(points - shift)) / (2 * step))
    assert torch.allclose(transform.jacobian(points), torch.stack(columns, dim=-1), atol=1e-5)


def test_jacobian_agrees_with_autograd() -> None:
    transform = bent(1)
    point = torch.tensor([[[0.3, -0.4]]], dtype=torch.float64)
    wanted = torch.autograd.functional.jacobian(transform.warp, point).reshape(2, 2)
    assert torch.allclose(transform.jacobian(point)[0, 0], wanted)


def test_at_a_control_point_the_jacobian_is_finite() -> None:
    transform = bent(1)
    corner = torch.tensor([[[-1.0, -1.0], [0.0, 0.0]]], dtype=torch.float64, requires_grad=True)
    jacobian = transform.jacobian(corner)
    jacobian.sum().backward()
    assert jacobian.isfinite().all()
    assert corner.grad is not None
    assert corner.grad.isfinite().all()


def test_a_shift_moves_the_image() -> None:
    shift = Transform(
        affine=torch.tensor([[[1.0, 0, 0.5], [0, 1, 0]]]), centres=torch.zeros(1, 2), weights=torch.zeros(1, 1)
    )
    image = torch.rand(1, 1, 8, 8)
    # 0.5 of a width of 2 is 2 of 8 pixels
    assert torch.allclose(shift.apply(image)[..., :6], image[..., 2:], atol=1e-5)


def test_the_same_seed_draws_the_same() -> None:
    assert torch.equal(bent(2, seed=5).affine, bent(2, seed=5).affine)
    assert not torch.equal(bent(2, seed=5).affine, bent(2, seed=6).affine)


def test_autocast_does_not_coarsen_coordinates() -> None:
    transform, points = bent(2), torch.rand(2, 6, 2, dtype=torch.float32) - 0.5
    single = Transform(
        affine=transform.affine.float(), centres=transform.centres.float(), weights=transform.weights.float()
    )
    with torch.autocast("cpu", torch.bfloat16):
        warped, jacobian = single.warp(points), single.jacobian(points)
    assert torch.equal(warped, single.warp(points))
    assert torch.equal(jacobian, single.jacobian(points))
