"""Offset and confidence by our own sync expert (stage=sync_expert). It is not LSE and does not
carry its name.

Numbers of two experts do not compare: who measured stands beside every number.
"""

from __future__ import annotations

from math import ceil
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, UInt8
from torch import Tensor

from a2h_models.data_types import SIZE, UNIT
from a2h_models.features.speech import log_mel
from a2h_models.metrics.av_sync import CHIN, FOREHEAD, MOUTH_CORNERS
from a2h_models.networks.sync_expert import SyncExpert, SyncExpertEmbeddings
from a2h_models.timebase import HOPS_PER_FRAME as ROWS
from a2h_models.timebase import Span

MAX_SHIFT = 15  # frames either way, as SyncNet's protocol looks
MIN_OVERLAP = 10  # frames; fewer are alike by chance
MOUTH_SHARE = 0.6  # side of the cut-out / height of the face: lips, and the chin when the mouth is open
STRETCH = 256  # frames at most that are embedded at once, and pictures that are held as floats: what memory depends on
STEADY_FRAMES = 5  # median over so many steadies the cut-out, whose side is the film's own
SLACK = 0.5  # of the cut-out's half, that it is moved down: chins move more than noses


class ExpertSync(NamedTuple):
    """What the expert says of a clip."""

    offset: int  # frames by which the speech comes after the lips; positive: the sound is late
    likeness: float  # of lips and speech at that offset, mean over the frames; -1 … 1
    confidence: float  # by how much that stands out: likeness minus the median over the shifts


# ---------------------------------------------------------------------------------------- the mouth
def cut_mouths(
    frames: UInt8[np.ndarray, "t h w 3"], landmarks: Float[np.ndarray, "t n d"], size: int
) -> UInt8[np.ndarray, "t s s 3"]:
    """The mouth of each frame, upright and of one scale throughout; what stands past the picture's
    border is its border's colour.

    Args:
        frames: square, RGB, of any size.
        landmarks: of the face mesh, in pixels of a 256×256 crop, without gaps.
        size: pixels a side of what is cut.
    """
    from scipy.ndimage import median_filter

    points = landmarks[..., :2].astype(np.float32) / SIZE * 2 - 1  # -1 … 1, as grid_sample counts
    height = float(np.median(np.linalg.norm(points[:, FOREHEAD] - points[:, CHIN], axis=1)))
    half = MOUTH_SHARE * height / 2
    centre = median_filter(points[:, MOUTH_CORNERS].mean(axis=1), size=(STEADY_FRAMES, 1), mode="nearest")
    centre[:, 1] += SLACK * half / 2
    move = torch.zeros(len(frames), 2, 3)
    move[:, 0, 0] = move[:, 1, 1] = half
    move[:, :, 2] = torch.from_numpy(centre)
    pieces = [slice(start, start + STRETCH) for start in range(0, len(frames), STRETCH)]
    return np.concatenate([_cut(frames[piece], move[piece], size) for piece in pieces])


def _cut(
    frames: UInt8[np.ndarray, "t h w 3"], move: Float32[Tensor, "t 2 3"], size: int
) -> UInt8[np.ndarray, "t s s 3"]:
    grid = F.affine_grid(move, [len(frames), 3, size, size], align_corners=False)
    pictures = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float()
    cut = F.grid_sample(pictures, grid, padding_mode="border", align_corners=False)
    return np.asarray(cut.round().to(torch.uint8).permute(0, 2, 3, 1))


# ----------------------------------------------------------------------------------------- together
def expert_sync(
    expert: SyncExpert, frames: UInt8[np.ndarray, "t h w 3"], landmarks: Float[np.ndarray, "t n d"], wave: np.ndarray
) -> ExpertSync | None:
    """What the expert says of a clip; None if it is too short to be shifted at all. Of a long one,
    the mean over equal stretches.

    Args:
        expert: trained.
        frames: square, RGB.
        landmarks: as `cut_mouths` takes them.
        wave: 16 kHz mono, of as many frames.
    """
    if len(frames) <= MIN_OVERLAP:
        return None
    mouths, mel = cut_mouths(frames, landmarks, expert.size), log_mel(wave, frames=len(frames))
    stretches = [
        Span(int(piece[0]), int(piece[-1]) + 1)
        for piece in np.array_split(np.arange(len(frames)), ceil(len(frames) / STRETCH))
    ]
    found = [
        likenesses(embed(expert, mouths[s.start : s.stop], mel[s.start * ROWS : s.stop * ROWS]))[0] for s in stretches
    ]
    lengths = torch.tensor([float(len(stretch)) for stretch in stretches])
    return _best(torch.stack(found).T @ lengths / lengths.sum())


@torch.inference_mode()
def embed(expert: SyncExpert, mouths: UInt8[np.ndarray, "t s s 3"], mel: np.ndarray) -> SyncExpertEmbeddings:
    """Embeddings of one clip as a batch of one, on the expert's device."""
    device = next(expert.parameters()).device
    seen = torch.from_numpy(mouths).to(device).permute(0, 3, 1, 2)[None].float() * UNIT
    heard = torch.from_numpy(mel.astype(np.float32)).to(device)[None]
    found: SyncExpertEmbeddings = expert(seen, heard)
    return found


def find_offset(embeddings: SyncExpertEmbeddings) -> ExpertSync:
    """The shift at which lips and speech of a batch's first clip are most alike."""
    return _best(likenesses(embeddings)[0])


def _best(means: Float[Tensor, " s"]) -> ExpertSync:
    best = int(means.argmax())
    return ExpertSync(best - len(means) // 2, float(means[best]), float(means[best] - means.median()))


def likenesses(embeddings: SyncExpertEmbeddings, max_shift: int = MAX_SHIFT) -> Float32[Tensor, "b s"]:
    """Mean likeness where both are there, for each shift of the speech from −max_shift to max_shift
    frames; fewer where a clip is short.
    """
    lips, speech = embeddings
    frames = lips.shape[1]
    reach = min(max_shift, frames - MIN_OVERLAP)
    pairs = [
        (lips[:, max(0, -s) : frames - max(0, s)], speech[:, max(0, s) : frames - max(0, -s)])
        for s in range(-reach, reach + 1)
    ]
    return torch.stack([(a * b).sum(dim=-1).mean(dim=-1) for a, b in pairs], dim=1).float().cpu()
