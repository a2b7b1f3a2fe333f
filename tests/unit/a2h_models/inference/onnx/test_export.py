"""What the ONNX graph of a motion field takes."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from a2h_models.inference.animator import Animator
from a2h_models.networks import STAGES, NetworksConfig, build
from a2h_models.networks.motion_field import MotionField

pytest.importorskip("onnxscript", reason="the extra export is not installed")
pytest.importorskip("onnxruntime", reason="the extra export is not installed")

from a2h_models.inference.onnx.export import graphs, write
from a2h_models.inference.onnx.package import TOLERANCE
from a2h_models.inference.onnx.runtime import OnnxMotionField


@pytest.mark.slow
@pytest.mark.parametrize("anchored", [False, True])
def test_only_an_anchored_one_is_told_how_far_the_head_has_turned(
    anchored: bool, narrow_networks: NetworksConfig, tmp_path: Path
) -> None:
    config = replace(narrow_networks, motion_field=replace(narrow_networks.motion_field, anchored=anchored))
    torch.manual_seed(0)
    animator = Animator(*(build(stage, config) for stage in STAGES), config)
    assert isinstance(animator.motion_field, MotionField)
    if animator.motion_field.anchor is not None:  # of zeros nothing would be seen
        for weights in (animator.motion_field.anchor.weight, animator.motion_field.anchor.turn):
            torch.nn.init.normal_(weights)
    graph = next(graph for graph in graphs(animator) if graph.name == "motion_field")
    assert ("turned" in graph.inputs) == anchored
    write(graph, tmp_path / "motion_field.onnx")
    window = {"turned": torch.ones(*graph.inputs["speech"].shape[:2], 6), **graph.inputs}
    ported = OnnxMotionField(tmp_path)
    with torch.inference_mode():
        wanted, said = animator.motion_field(**window).keypoints, ported(**window).keypoints
        assert (wanted.value - said.value).abs().max() <= TOLERANCE
        assert (wanted.jacobian - said.jacobian).abs().max() <= TOLERANCE
        other = ported(**(window | {"turned": -window["turned"]})).keypoints
    assert torch.equal(other.value, said.value) != anchored
