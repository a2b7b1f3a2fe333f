"""LSE-D, LSE-C and the offset, as the public SyncNet measures them (method.md §5); it needs the
weights `syncnet_v2.model`.

At 25 fps and 16 kHz; faces 224×224 as BGR in 0..255, windows of five frames; MFCC of the raw 16-bit
samples, windows of twenty rows.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float32, Int16, UInt8
from torch import Tensor

from a2h_models.evaluators.syncnet import FACE, FRAMES, ROWS, SyncNet
from a2h_models.features.speech import mfcc
from a2h_models.timebase import HOPS_PER_FRAME, SAMPLES_PER_FRAME

MAX_SHIFT = 15  # frames either way
BATCH = 16  # windows at a time
MARGIN = 0.4  # of half the face box's side, left of, right of and, twice, below it: the public tool's crop
GREY = (110, 110, 110)  # what stands past the picture's border
STEADY_FRAMES = 13  # median over so many steadies the box


class LipSync(NamedTuple):
    """What SyncNet says of a clip."""

    # frames by which the speech comes after the lips; positive: the sound is late. The public
    # tool's has the other sign
    offset: int
    distance: float  # LSE-D: mean distance of the embeddings at that offset; less is better
    confidence: float  # LSE-C: median over the shifts minus that; more is better


# ----------------------------------------------------------------------------------------- protocol
def lip_sync(
    network: SyncNet, faces: UInt8[np.ndarray, "t 224 224 3"], wave: Int16[np.ndarray, " n"]
) -> LipSync | None:
    """Offset, LSE-D and LSE-C of a clip; None if it is too short for a single window.

    Args:
        network: with the public weights.
        faces: RGB, from `sync_faces`.
        wave: 16 kHz mono, of as many frames.
    """
    windows = min(len(faces), len(wave) // SAMPLES_PER_FRAME) - FRAMES
    if windows < 1:
        return None
    lips, audio = embed(network, faces, mfcc(wave).astype(np.float32), windows)
    return from_distances(distances(lips, audio))


@torch.inference_mode()
def embed(
    network: SyncNet, faces: UInt8[np.ndarray, "t 224 224 3"], rows: Float32[np.ndarray, "r 13"], windows: int
) -> tuple[Float[Tensor, "w 1024"], Float[Tensor, "w 1024"]]:
    """Embeddings of lips and audio for each window, a frame apart."""
    lips, audio = [], []
    for start in range(0, windows, BATCH):
        places = range(start, min(start + BATCH, windows))
        pictures = np.stack([faces[at : at + FRAMES, :, :, ::-1] for at in places]).transpose(0, 4, 1, 2, 3)
        sounds = np.stack([rows[at * HOPS_PER_FRAME : at * HOPS_PER_FRAME + ROWS].T for at in places])[:, None]
        seen, heard = network(torch.from_numpy(pictures.astype(np.float32)), torch.from_numpy(sounds))
        lips.append(seen)
        audio.append(heard)
    return torch.cat(lips), torch.cat(audio)


def distances(
    lips: Float[Tensor, "w d"], audio: Float[Tensor, "w d"], max_shift: int = MAX_SHIFT
) -> Float[Tensor, " s"]:
    """Mean distance over the clip for each shift of the audio, from −max_shift to max_shift; zeros
    stand past its ends.
    """
    padded = torch.nn.functional.pad(audio, (0, 0, max_shift, max_shift))
    shifts = range(2 * max_shift + 1)
    return torch.stack(
        [torch.nn.functional.pairwise_distance(lips, padded[shift : shift + len(lips)]).mean() for shift in shifts]
    )


def from_distances(means: Float[Tensor, " s"]) -> LipSync:
    """The least of the distances, and how much it stands out."""
    best = int(means.argmin())
    least = float(means[best])
    return LipSync(offset=best - len(means) // 2, distance=least, confidence=float(means.median()) - least)


def sync_faces(
    frames: UInt8[np.ndarray, "t h w 3"], landmarks: Float[np.ndarray, "t n d"]
) -> UInt8[np.ndarray, "t 224 224 3"]:
    """Cut the faces as the public tool does: a square box, steadied over time, with more room below
    than above.
    """
    import cv2
    from scipy.ndimage import median_filter

    low, high = landmarks[..., :2].min(axis=1), landmarks[..., :2].max(axis=1)
    track = np.column_stack([(low + high) / 2, (high - low).max(axis=1) / 2])  # centre and half side
    track = median_filter(track, size=(STEADY_FRAMES, 1), mode="nearest")
    faces = np.empty((len(frames), FACE, FACE, 3), np.uint8)
    for index, (x, y, half) in enumerate(track):
        side = 2 * half * (1 + MARGIN)
        scale = FACE / side
        move = np.array([[scale, 0, -scale * (x - side / 2)], [0, scale, -scale * (y - half)]])
        way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        faces[index] = cv2.warpAffine(frames[index], move, (FACE, FACE), flags=way, borderValue=GREY)
    return faces
