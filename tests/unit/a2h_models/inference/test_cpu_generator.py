"""Drawing by less work gives the same: each identity for random shapes, and the whole generator."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from a2h_models.features.keypoints import Keypoints
from a2h_models.inference import cpu_generator
from a2h_models.inference.cpu_generator import FusedUpsampleConv, PackedConv, fold, optimize_for_cpu
from a2h_models.metrics.image import psnr
from a2h_models.networks import Generator, NetworksConfig, build
from a2h_models.networks.blocks import ResidualBlock, SameBlock, UpBlock
from a2h_models.networks.generator import GeneratorOutput

ROUNDING = 1e-12  # of numbers near 1 in 64 bits
EQUAL = 1e-5  # of frames in [0, 1] in 32 bits; measured 1.2e-7 at full size
BF16_PSNR = 40.0  # dB
SIZES, CHANNELS = st.integers(1, 9), st.integers(1, 5)


def lived(network: nn.Module) -> None:
    """Norms as after some training: none is the identity, and some channels are turned over or off."""
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d):
            for tensor in (norm.running_mean, norm.weight.data, norm.bias.data):
                assert tensor is not None
                tensor.uniform_(-1, 1)
            norm.weight.data[0] = 0
            assert norm.running_var is not None
            norm.running_var.uniform_(0.5, 2)


def count(network: nn.Module, kind: type[nn.Module]) -> int:
    return sum(isinstance(block, kind) for block in network.modules())


def image(batch: int, channels: int, height: int, width: int) -> Tensor:
    return torch.rand(batch, channels, height, width, dtype=torch.float64)


@given(SIZES, SIZES, CHANNELS, CHANNELS, st.integers(0, 2**16))
def test_doubling_and_convolving_is_one_transposed_convolution(
    height: int, width: int, inputs: int, outputs: int, seed: int
) -> None:
    torch.manual_seed(seed)
    conv, x = nn.Conv2d(inputs, outputs, 3, padding=1).double(), image(2, inputs, height, width)
    torch.testing.assert_close(
        FusedUpsampleConv(conv)(x), F.relu(conv(F.interpolate(x, scale_factor=2))), rtol=0, atol=ROUNDING
    )


@given(
    SIZES,
    st.integers(1, 4),
    CHANNELS,
    CHANNELS,
    st.sampled_from([1, 3, 5, 7, 9, 11]),
    st.booleans(),
    st.integers(0, 2**16),
)
def test_four_pixels_at_a_time_as_one_by_one(
    height: int, fours: int, inputs: int, outputs: int, kernel: int, bias: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=bias).double()
    x = image(2, inputs, height, 4 * fours)
    torch.testing.assert_close(PackedConv(conv)(x), conv(x), rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("make", [lambda: SameBlock(3, 5, kernel=5), lambda: UpBlock(3, 5), lambda: ResidualBlock(3)])
@given(height=SIZES, width=SIZES, seed=st.integers(0, 2**16))
def test_folded_norms(make: Callable[[], nn.Module], height: int, width: int, seed: int) -> None:
    torch.manual_seed(seed)
    block, x = make().double().eval(), image(2, 3, height, width)
    lived(block)
    wanted, norms = block(x), count(block, nn.BatchNorm2d)
    fold(block)
    assert count(block, nn.BatchNorm2d) == norms - 1
    torch.testing.assert_close(block(x), wanted, rtol=0, atol=ROUNDING)


# ------------------------------------------------------------------------------ the whole generator
@pytest.fixture(scope="module", params=[False, True], ids=["as the release", "blended"])
def config(request: pytest.FixtureRequest, narrow_networks: NetworksConfig) -> NetworksConfig:
    return replace(narrow_networks, generator=replace(narrow_networks.generator, blend_source=request.param))


@pytest.fixture(scope="module")
def generator(config: NetworksConfig) -> Generator:
    torch.manual_seed(0)
    made = build("image_generator", config).generator.eval()
    lived(made)
    return made


@pytest.fixture(scope="module")
def moved() -> tuple[Tensor, Keypoints, Keypoints]:
    draw = torch.Generator().manual_seed(0)
    source, driving = (
        Keypoints(torch.rand(n, 4, 2, generator=draw) * 2 - 1, torch.eye(2).expand(n, 4, 2, 2)) for n in (1, 3)
    )
    return torch.rand(1, 3, 64, 64, generator=draw), source, driving


def drawn(generator: Generator, moved: tuple[Tensor, Keypoints, Keypoints]) -> GeneratorOutput:
    portrait, source, driving = moved
    with torch.inference_mode():
        return generator.render(generator.encode(portrait, source), driving)


def test_a_generator_for_drawing_draws_the_same(
    generator: Generator, moved: tuple[Tensor, Keypoints, Keypoints]
) -> None:
    wanted, found = drawn(generator, moved), drawn(optimize_for_cpu(generator, torch.float32), moved)
    for name, ours, theirs in zip(wanted._fields, found, wanted, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=EQUAL, msg=lambda said, name=name: f"{name}: {said}")


def test_in_bf16_what_places_things_has_32_bits(
    generator: Generator, moved: tuple[Tensor, Keypoints, Keypoints]
) -> None:
    wanted, found = drawn(generator, moved), drawn(optimize_for_cpu(generator, torch.bfloat16), moved)
    assert found.deformation.dtype == found.mask.dtype == torch.float32
    pixels = [
        np.asarray(each.prediction.float() * 255).astype(np.uint8).transpose(0, 2, 3, 1) for each in (found, wanted)
    ]
    assert psnr(*pixels).min() >= BF16_PSNR


def test_the_original_stays_as_it_is(generator: Generator, moved: tuple[Tensor, Keypoints, Keypoints]) -> None:
    before = {name: tensor.clone() for name, tensor in generator.state_dict().items()}
    wanted, state = drawn(generator, moved), torch.get_rng_state()
    for kind in (torch.float32, torch.bfloat16):
        optimize_for_cpu(generator, kind)
    assert all(torch.equal(tensor, before[name]) for name, tensor in generator.state_dict().items())
    assert all(parameter.requires_grad for parameter in generator.parameters())
    assert torch.equal(drawn(generator, moved).prediction, wanted.prediction)
    assert torch.equal(torch.get_rng_state(), state)


def test_only_norms_before_a_convolution_remain(generator: Generator) -> None:
    made = optimize_for_cpu(generator, torch.bfloat16)
    assert count(made, nn.BatchNorm2d) == count(generator, ResidualBlock) == 1
    assert {x.dtype for norm in made.modules() if isinstance(norm, nn.BatchNorm2d) for x in norm.parameters()} == {
        torch.float32
    }
    assert count(made, FusedUpsampleConv) == count(generator, UpBlock) == 5
    assert not any(parameter.requires_grad for parameter in made.parameters())


def test_the_deepest_blocks_are_left(
    generator: Generator, moved: tuple[Tensor, Keypoints, Keypoints], monkeypatch: pytest.MonkeyPatch
) -> None:
    """There a transposed convolution is the slower one; what is drawn is the same."""
    pairs = [
        block.conv.in_channels * block.conv.out_channels for block in generator.modules() if isinstance(block, UpBlock)
    ]
    monkeypatch.setattr(cpu_generator, "LARGEST", max(pairs) - 1)
    made = optimize_for_cpu(generator, torch.float32)
    assert count(made, UpBlock) == pairs.count(max(pairs)) < len(pairs)
    torch.testing.assert_close(drawn(made, moved).prediction, drawn(generator, moved).prediction, rtol=0, atol=EQUAL)
