"""Companion shards: keypoints beside a shard's samples, for the same keys in the same order; `a2h
keypoints` writes them.

`a2h-train-000000.kp-<detector>.tar` is a plain WebDataset tar with one member a sample, `kp.npy`;
its own sidecar is written last.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float32

from a2h_models.errors import DatasetError
from pipelines.core.storage import Storage
from pipelines.dataset.shard_format import COMPANION_MARK, Encoded, Sidecar, decode_npy, npy, read_members

MEMBER = "kp.npy"
VALUE, NUMBERS = 2, 6  # of a keypoint: x and y in [-1, 1]; and with its Jacobian, row by row


def keypoint_shard_name(shard: str, detector: str) -> str:
    """Name without ending, of a shard's name without ending and the detector's hash."""
    return f"{shard}{COMPANION_MARK}{detector}"


def detectors(dataset: Storage, shard: str) -> list[str]:
    """Hashes of the detectors whose keypoints a shard has."""
    start = f"{shard}{COMPANION_MARK}"
    return [name.removeprefix(start).removesuffix(".json") for name in dataset.names(f"{start}*.json")]


def read_keypoint_shard(dataset: Storage, sidecar: Sidecar, detector: str) -> Sidecar | None:
    """The companion of a shard; None where there is none yet.

    Raises:
        DatasetError: if it is of other samples than the shard.
    """
    name = f"{keypoint_shard_name(sidecar.shard.removesuffix('.tar'), detector)}.json"
    if not dataset.exists(name):
        return None
    companion = Sidecar.from_bytes(dataset.read(name), name=f"{dataset.url}/{name}")
    if companion.keys != sidecar.keys or companion.frames != sidecar.frames:
        raise DatasetError(
            f"{dataset.url}/{name} has other samples than {sidecar.shard}",
            hint="remove it and run `a2h keypoints` again",
        )
    return companion


def read_keypoints(dataset: Storage, companion: Sidecar, key: str) -> Float32[np.ndarray, "t k 6"]:
    """The keypoints of one sample: x, y and the Jacobian row by row, for each frame.

    Raises:
        DatasetError: if they are damaged, or not as many as the sample has frames.
    """
    values = decode_npy(read_members(dataset, companion, key, [MEMBER]).members[MEMBER], key=key)
    frames, numbers = companion.frames[key], NUMBERS
    wrong_shape = len(values.shape) != len("tkn") or (values.shape[0], values.shape[-1]) != (frames, numbers)
    if wrong_shape or values.dtype != np.float32:
        raise DatasetError(f"{dataset.url}/{companion.shard}: keypoints of {key} have the shape {values.shape}")
    return values


def encode_keypoints(
    key: str, value: Float32[np.ndarray, "t k 2"], jacobian: Float32[np.ndarray, "t k 2 2"]
) -> Encoded:
    """The inverse of `read_keypoints`."""
    flat: Any = jacobian.reshape(*jacobian.shape[:2], NUMBERS - VALUE)
    return Encoded(key=key, members={MEMBER: npy(np.concatenate([value, flat], axis=2, dtype=np.float32))})
