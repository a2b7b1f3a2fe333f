"""LPIPS of a video, frame by frame; the network stands in a2h_models/evaluators/lpips.py."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float32

from a2h_models.evaluators.lpips import Lpips
from a2h_models.metrics.image import BATCH, Frames, as_tensor, check_same_shape


@torch.inference_mode()
def lpips(network: Lpips, prediction: Frames, truth: Frames) -> Float32[np.ndarray, " t"]:
    """One number a frame, ≥ 0; lower is better.

    Raises:
        ValueError: if the films differ in shape.
    """
    check_same_shape(prediction, truth)
    device = next(network.parameters()).device
    batches = [slice(start, start + BATCH) for start in range(0, len(prediction), BATCH)]
    values = [network(as_tensor(prediction[batch]).to(device), as_tensor(truth[batch]).to(device)) for batch in batches]
    return np.asarray(torch.cat(values).cpu().numpy())
