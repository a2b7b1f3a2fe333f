"""The order in which training reads its clips: pure functions of (seed, position), so that any run
can be resumed anywhere.

Training is one endless stream of draws. A draw's position decides everything about it: which clip,
which frames. So the state of a loader is one integer, batches consumed, and neither the number of
processes nor of loader workers changes what a batch holds.
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
    """The order in which an epoch reads its clips: a permutation of 0 … sum(sizes) − 1.

    Shards are shuffled, and the clips within each. This sequence is cut into `streams` pieces of
    equal length, which are read side by side, one clip of each in turn: neighbours come from
    different shards, yet only about `streams` shards are open at any time, each read through before
    the next one.

    Args:
        seed: of the run.
        epoch: each has its own order.
        sizes: clips in each shard.
        streams: virtual; they have nothing to do with processes or workers.
    """
    rng = np.random.default_rng((seed, epoch))
    starts = np.cumsum([0, *sizes])
    shards = rng.permutation(len(sizes))
    sequence = np.concatenate([starts[shard] + rng.permutation(sizes[shard]) for shard in shards])
    pieces = np.array_split(sequence, streams)  # the longer ones first, by one clip at most
    turns = np.full((len(pieces[0]), streams), -1, dtype=np.int64)
    for stream, piece in enumerate(pieces):
        turns[: len(piece), stream] = piece
    return turns[turns >= 0]


@dataclass(frozen=True)
class ClipOrder:
    """The endless sequence of clips: one epoch's order after the other's."""

    sizes: tuple[int, ...]
    seed: int
    streams: int

    def __len__(self) -> int:
        return sum(self.sizes)

    def clip(self, position: int) -> int:
        """Which clip is read at a position, counted from the beginning of training."""
        epoch, place = divmod(position, len(self))
        return int(_order(self.seed, epoch, self.sizes, self.streams)[place])

    def fingerprint(self, batch_size: int) -> str:
        """Changes when a count of batches would mean something else."""
        return sha256_of_text(repr((self, batch_size)), digits=16)


@lru_cache(maxsize=2)  # a batch may stand astride two epochs
def _order(seed: int, epoch: int, sizes: tuple[int, ...], streams: int) -> Int64[np.ndarray, " n"]:
    return epoch_order(seed, epoch, sizes, streams)


class ResumableBatchSampler(Sampler[list[int]]):
    """The positions that one process reads, batch by batch, without end: its share of each global
    batch.

    Args:
        first: batches already consumed.
        clips: read for one global batch.
        rank: of this process.
        world: processes.
        cycle: batches after which the first one comes again, to overfit them; 0: never.
    """

    def __init__(self, first: int, clips: int, *, rank: int, world: int, cycle: int = 0) -> None:
        self.first, self.clips, self.cycle = first, clips, cycle
        self.share = range(rank * clips // world, (rank + 1) * clips // world)

    def __iter__(self) -> Iterator[list[int]]:
        batch = self.first
        if self.cycle:
            self.first -= self.first % self.cycle  # only a resumed epoch begins in its middle
        while True:
            drawn = batch % self.cycle if self.cycle else batch
            yield [drawn * self.clips + place for place in self.share]
            batch += 1
