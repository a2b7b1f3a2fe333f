"""The networks of other people that measure: sizes, names, and that only their own files fit."""

from pathlib import Path

import pytest
import torch
from torch import nn

from a2h_models.errors import CheckpointError
from a2h_models.evaluators.alexnet import AlexNet
from a2h_models.evaluators.arcface import ArcFace, load_arcface
from a2h_models.evaluators.i3d import I3D, load_i3d, pad_as_tensorflow
from a2h_models.evaluators.inception import Inception, load_inception
from a2h_models.evaluators.metric_networks import LOADERS, THIRD_PARTY, MetricNetworks, load_metric_networks
from a2h_models.networks.weights import on_meta, read_foreign

# The trunk of torchvision's Inception v3 (27,161,264 with both heads) has as many; AlexNet's
# features 2.47 M, IR-SE50 43.8 M, I3D 12.7 M
SIZES = {AlexNet: 2_469_696, Inception: 21_785_568, ArcFace: 43_797_696, I3D: 12_697_264}
# Entries that the published files have, and their shapes
PUBLISHED = {
    Inception: {
        "Conv2d_1a_3x3.conv.weight": (32, 3, 3, 3),
        "Mixed_5b.branch5x5_2.bn.running_mean": (64,),
        "Mixed_6a.branch3x3dbl_3.conv.weight": (96, 96, 3, 3),
        "Mixed_6e.branch7x7dbl_5.conv.weight": (192, 192, 1, 7),
        "Mixed_7c.branch3x3dbl_3b.conv.weight": (384, 384, 3, 1),
    },
    ArcFace: {
        "input_layer.2.weight": (64,),
        "body.3.shortcut_layer.0.weight": (128, 64, 1, 1),
        "body.23.res_layer.5.fc1.weight": (32, 512, 1, 1),
        "output_layer.3.weight": (512, 25088),
        "output_layer.4.running_var": (512,),
    },
    I3D: {
        "Conv3d_1a_7x7.conv3d.weight": (64, 3, 7, 7, 7),
        "Mixed_4f.b1b.conv3d.weight": (320, 160, 3, 3, 3),
        "Mixed_5c.b3b.bn.running_mean": (128,),
        "logits.conv3d.bias": (400,),
    },
}


@pytest.mark.parametrize("kind", SIZES, ids=lambda kind: kind.__name__)
def test_sizes_are_the_published_ones(kind: type[nn.Module]) -> None:
    network = on_meta(kind)
    assert sum(parameter.numel() for parameter in network.parameters()) == SIZES[kind]


@pytest.mark.parametrize("kind", PUBLISHED, ids=lambda kind: kind.__name__)
def test_entries_are_named_as_published(kind: type[nn.Module]) -> None:
    shapes = {name: tuple(tensor.shape) for name, tensor in on_meta(kind).state_dict().items()}
    assert {name: shapes[name] for name in PUBLISHED[kind]} == PUBLISHED[kind]


def test_i3d_pads_as_tensorflow_does() -> None:
    """Sizes come out rounded up, and an odd zero stands behind."""
    clip = torch.ones(1, 1, 16, 7, 224)
    padded = pad_as_tensorflow(clip, (3, 3, 3), (2, 2, 2))
    assert padded.shape[2:] == (17, 9, 225)
    assert padded[0, 0, -1].sum() == 0
    assert padded[0, 0, 0, 0].sum() == 0
    assert padded[0, 0, 0, 1, -1] == 0


@pytest.mark.parametrize(
    ("kind", "load", "extra"),
    [(Inception, load_inception, "fc.weight"), (I3D, load_i3d, ""), (ArcFace, load_arcface, "")],
)
def test_only_its_own_file_fits(kind: type[nn.Module], load, extra: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    state = kind().state_dict()
    torch.save(state | ({extra: torch.zeros(2)} if extra else {}), path)
    loaded = load(path)
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    assert all(torch.equal(loaded.state_dict()[name], tensor) for name, tensor in state.items())
    torch.save(state | {"stranger": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match="stranger is unknown"):
        load(path)


def test_files_that_are_no_weights_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(b"not a file of torch")
    with pytest.raises(CheckpointError, match="cannot be read as weights: it holds something else"):
        read_foreign(path, hint="get it")
    torch.save([torch.zeros(1)], path)
    with pytest.raises(CheckpointError, match="something else than named tensors"):
        read_foreign(path, hint="get it")


def test_judges_are_loaded_where_their_weights_are() -> None:
    assert load_metric_networks({}, "cpu") == MetricNetworks()
    assert set(THIRD_PARTY) | {"sync_expert"} == LOADERS.keys()
