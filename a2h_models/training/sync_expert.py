"""sync_expert: tell the speech that belongs to a mouth from the same speech a little earlier or
later.

For each frame's lips, the speech of the same frame must be found among that of all frames within ±
15, and the other way round. Negatives come from the same clip, so neither face nor voice helps:
only time does.
"""

from __future__ import annotations

from typing import Any
from zlib import crc32

import torch
import torch.nn.functional as F
from einops import repeat
from jaxtyping import Float
from torch import Tensor

from a2h_models.data_types import SyncBatch
from a2h_models.metrics.sync_expert import MAX_SHIFT, likenesses
from a2h_models.networks import SyncExpert
from a2h_models.networks.sync_expert import SyncExpertEmbeddings
from a2h_models.timebase import HOPS_PER_FRAME
from a2h_models.training import losses
from a2h_models.training.augmentation import color_jitter, random_color_jitter
from a2h_models.training.base import TrainingModule, image_grid

PICTURED_MOUTHS = 8  # of a window
CLOSE = 1  # frames: an offset so near the planted one counts as found


class SyncExpertModule(TrainingModule):
    """Judged by planted offsets that it finds."""

    name = "sync_expert"
    monitor = "val/offset_found"
    mode = "max"

    def __init__(self, network: SyncExpert, *, jitter: float = 0.0, mirror: float = 0.0, **settings: Any) -> None:
        super().__init__(**settings)
        self.network, self.jitter, self.mirror = network, jitter, mirror

    @property
    def trained(self) -> SyncExpert:
        return self.network

    def training_step(self, batch: SyncBatch, batch_idx: int) -> Tensor:
        embeddings = self.network(self.varied(batch.mouths, batch_idx), batch.mel.float())
        terms = {"contrastive": losses.contrastive_in_time(self.network.likeness(embeddings), MAX_SHIFT)}
        loss = losses.total(terms, self.weights)
        self.log_terms(terms, loss, batch_idx)
        return loss

    def varied(self, mouths: Float[Tensor, "b t 3 s s"], batch_idx: int) -> Float[Tensor, "b t 3 s s"]:
        """Windows in other colours, and some of them mirrored: all frames of one alike."""
        generator = self.step_generator(batch_idx)
        count = len(mouths)
        if self.jitter:
            mouths = color_jitter(
                mouths, self.global_share(lambda n: random_color_jitter(n, self.jitter, generator), count)
            )
        if self.mirror:
            turned = self.global_share(lambda n: torch.rand(n, generator=generator) < self.mirror, count).to(
                mouths.device
            )
            mouths = torch.where(turned[:, None, None, None, None], mouths.flip(-1), mouths)
        return mouths

    def metrics(self, batch: SyncBatch) -> dict[str, float]:
        """Of offsets planted between −15 and 15 frames: how many are found to a frame, and how far
        off they are on average.
        """
        planted = torch.tensor([_planted(key) for key in batch.keys])
        means = likenesses(self._shifted(batch, planted))
        error = (means.argmax(dim=1) - MAX_SHIFT - planted).abs()
        return {
            "offset_found": float((error <= CLOSE).float().mean()),
            "offset_found_chance": (2 * CLOSE + 1) / (2 * MAX_SHIFT + 1),
            "offset_error": float(error.float().mean()),
        }

    def _shifted(self, batch: SyncBatch, late: Tensor) -> SyncExpertEmbeddings:
        """The middle of each window, with speech that is so many frames late."""
        frames = batch.mouths.shape[1]
        starts = (MAX_SHIFT - late).tolist()
        length = frames - 2 * MAX_SHIFT
        cut = [
            mel[start * HOPS_PER_FRAME : (start + length) * HOPS_PER_FRAME]
            for mel, start in zip(batch.mel, starts, strict=True)
        ]
        found: SyncExpertEmbeddings = self.network(
            batch.mouths[:, MAX_SHIFT : MAX_SHIFT + length], torch.stack(cut).float()
        )
        return found

    def picture(self, batch: SyncBatch) -> Float[Tensor, "3 h w"]:
        """Mouths of the first window, and how alike each frame's lips (down) and each frame's
        speech (across) are: a bright diagonal.
        """
        mouths = batch.mouths[0]
        every = torch.linspace(0, len(mouths) - 1, PICTURED_MOUTHS).long()
        lips, speech = self.network(batch.mouths[:1], batch.mel[:1].float())
        matrix = (lips[0] @ speech[0].T + 1) / 2
        wide = PICTURED_MOUTHS * mouths.shape[-1]
        drawn = F.interpolate(matrix[None, None], size=(wide, wide), mode="nearest")
        return image_grid([mouths[every], repeat(drawn, "1 1 h w -> 1 c h w", c=3)])


def _planted(key: str) -> int:
    """The offset that is planted in a clip: its own, whatever stands beside it."""
    return crc32(key.encode()) % (2 * MAX_SHIFT + 1) - MAX_SHIFT
