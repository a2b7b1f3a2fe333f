"""SyncNet's shapes: the public weights must fit, and every parameter must take part."""

import torch

from a2h_models.evaluators.syncnet import EMBEDDING, FACE, FRAMES, MFCC, ROWS, SyncNet


def test_shapes_and_gradients() -> None:
    network = SyncNet()
    lips, audio = network(torch.rand(2, 3, FRAMES, FACE, FACE), torch.rand(2, 1, MFCC, ROWS))
    assert lips.shape == audio.shape == (2, EMBEDDING)
    (lips - audio).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in network.parameters())


def test_convolutions_have_the_published_sizes() -> None:
    shapes = [tuple(p.shape) for name, p in SyncNet().named_parameters() if name.endswith("weight") and p.dim() > 1]
    assert shapes[0] == (96, 3, 5, 7, 7)
    assert (512, 256, 1, 6, 6) in shapes
    assert (512, 256, 5, 4) in shapes
    assert shapes[-1] == (EMBEDDING, 512)
