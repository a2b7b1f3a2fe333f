"""Keypoint shards: the keypoints of a frozen detector beside a shard, with equal keys in equal order.

`a2h keypoints` writes them.

`a2h-train-000000.kp-<detector>.tar` is a plain WebDataset tar with one member a sample, `kp.npy`;
its own sidecar is written last.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float32

from a2h_models.errors import DatasetError
from pipelines.core.storage import Storage
from pipelines.dataset.shard_format import KEYPOINT_MARK, Encoded, Sidecar, decode_npy, npy, read_members

MEMBER = "kp.npy"
VALUE, NUMBERS = 2, 6  # numbers of a keypoint: x and y in [-1, 1]; with its Jacobian, row by row


def keypoint_shard_name(shard: str, detector: str) -> str:
    """Return the name of a keypoint shard; names of shards are without `.tar`."""
    return f"{shard}{KEYPOINT_MARK}{detector}"


def detectors_of(dataset: Storage, shard: str) -> list[str]:
    """List the hashes of the detectors whose keypoints exist for a shard."""
    start = f"{shard}{KEYPOINT_MARK}"
    return [name.removeprefix(start).removesuffix(".json") for name in dataset.names(f"{start}*.json")]


def read_keypoint_shard(dataset: Storage, sidecar: Sidecar, detector: str) -> Sidecar | None:
    """Read the sidecar of a keypoint shard; None if it does not exist.

    Raises:
        DatasetError: if it has other samples than the shard.
    """
    name = f"{keypoint_shard_name(sidecar.shard.removesuffix('.tar'), detector)}.json"
    if not dataset.exists(name):
        return None
    keypoint_shard = Sidecar.from_bytes(dataset.read(name), name=f"{dataset.url}/{name}")
    if keypoint_shard.keys != sidecar.keys or keypoint_shard.frames != sidecar.frames:
        raise DatasetError(
            f"{dataset.url}/{name} has other samples than {sidecar.shard}",
            hint="remove it and run `a2h keypoints` again",
        )
    return keypoint_shard


def read_keypoints(dataset: Storage, keypoint_shard: Sidecar, key: str) -> Float32[np.ndarray, "t k 6"]:
    """Read the keypoints of a sample: x, y and the Jacobian row by row, for each frame.

    Raises:
        DatasetError: if they are damaged, or not as many as the sample has frames.
    """
    values = decode_npy(read_members(dataset, keypoint_shard, key, [MEMBER]).members[MEMBER], key=key)
    frames, numbers = keypoint_shard.frames[key], NUMBERS
    wrong_shape = len(values.shape) != len("tkn") or (values.shape[0], values.shape[-1]) != (frames, numbers)
    if wrong_shape or values.dtype != np.float32:
        raise DatasetError(f"{dataset.url}/{keypoint_shard.shard}: keypoints of {key} have the shape {values.shape}")
    return values


def encode_keypoints(
    key: str, value: Float32[np.ndarray, "t k 2"], jacobian: Float32[np.ndarray, "t k 2 2"]
) -> Encoded:
    """Encode the keypoints of a sample; the inverse of `read_keypoints`."""
    flat: Any = jacobian.reshape(*jacobian.shape[:2], NUMBERS - VALUE)
    return Encoded(key=key, members={MEMBER: npy(np.concatenate([value, flat], axis=2, dtype=np.float32))})
