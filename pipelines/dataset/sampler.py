"""The order in which training reads clips: a pure function of seed and position.

Training reads one endless sequence of items. The position of an item determines its clip and its
frames. So the state of a loader is one integer, the number of consumed batches, and neither the
number of processes nor of loader workers changes the content of a batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Int64
from torch.utils.data import Sampler

from pipelines.core.hashing import sha256_of_text


def epoch_order(seed: int, epoch: int, sizes: Sequence[int], streams: int) -> Int64[np.ndarray, " n"]:
    """Compute the order in which an epoch reads its clips: a permutation of 0 … sum(sizes) − 1.

    Shards are shuffled, and the clips within each shard. This sequence is cut into `streams` pieces
    of equal length, which are read side by side, one clip of each in turn. So neighbours come from
    different shards, but only about `streams` shards are in use at any time.

    Args:
        seed: seed of the run.
        epoch: number of the epoch, from 0.
        sizes: clips in each shard.
        streams: number of pieces; independent of processes and workers.
    """
    rng = np.random.default_rng((seed, epoch))
    starts = np.cumsum([0, *sizes])
    shards = rng.permutation(len(sizes))
    sequence = np.concatenate([starts[shard] + rng.permutation(sizes[shard]) for shard in shards])
    pieces = np.array_split(sequence, streams)  # the longer ones first, by one clip at most
    interleaved = np.full((len(pieces[0]), streams), -1, dtype=np.int64)
    for stream, piece in enumerate(pieces):
        interleaved[: len(piece), stream] = piece
    return interleaved[interleaved >= 0]


@dataclass(frozen=True)
class ClipOrder:
    """The endless sequence of clips, one epoch after the other."""

    sizes: tuple[int, ...]
    seed: int
    streams: int

    def __len__(self) -> int:
        return sum(self.sizes)

    def clip(self, position: int) -> int:
        """Return the number of the clip at a position, counted from the start of training."""
        epoch, place = divmod(position, len(self))
        return int(_order(self.seed, epoch, self.sizes, self.streams)[place])

    def fingerprint(self, batch_size: int) -> str:
        """Hash all that gives a number of consumed batches its meaning; stored in checkpoints."""
        return sha256_of_text(repr((self, batch_size)), digits=16)


@lru_cache(maxsize=2)  # a batch may span two epochs
def _order(seed: int, epoch: int, sizes: tuple[int, ...], streams: int) -> Int64[np.ndarray, " n"]:
    return epoch_order(seed, epoch, sizes, streams)


class ResumableBatchSampler(Sampler[list[int]]):
    """The positions that one process reads, batch by batch: its part of each global batch, endlessly.

    Args:
        first: number of batches already consumed.
        clips: number of clips of a global batch.
        rank: number of this process.
        world: number of processes.
        cycle: batches after which the first one is repeated, to overfit them; 0: never.
    """

    def __init__(self, first: int, clips: int, *, rank: int, world: int, cycle: int = 0) -> None:
        self.first, self.clips, self.cycle = first, clips, cycle
        self.places = range(rank * clips // world, (rank + 1) * clips // world)

    def __iter__(self) -> Iterator[list[int]]:
        batch = self.first
        if self.cycle:
            self.first -= self.first % self.cycle  # only a resumed epoch begins in its middle
        while True:
            number = batch % self.cycle if self.cycle else batch
            yield [number * self.clips + place for place in self.places]
            batch += 1
