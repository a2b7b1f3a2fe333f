"""`exact` sets up PyTorch for reproducible numbers, and restores it afterwards."""

import pytest
import torch

from a2h_models.determinism import exact


def test_one_thread_without_gradients_inside() -> None:
    with exact():
        assert torch.get_num_threads() == 1
        assert torch.is_inference_mode_enabled()
        assert torch.backends.cudnn.deterministic
        assert not torch.backends.cudnn.allow_tf32


def test_everything_is_restored_after_an_error() -> None:
    def state() -> tuple[int, bool, bool, bool, bool]:
        cudnn = torch.backends.cudnn
        inference = torch.is_inference_mode_enabled()
        return torch.get_num_threads(), inference, cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32

    threads = torch.get_num_threads()
    torch.set_num_threads(2)  # with one this test could not fail
    try:
        before = state()
        with pytest.raises(RuntimeError, match="stop"), exact():
            raise RuntimeError("stop")
        assert state() == before
    finally:
        torch.set_num_threads(threads)
