"""dataset/: which shards a training reads, and how batches are drawn from them."""

from __future__ import annotations

from dataclasses import dataclass

from a2h_models.settings import setting


@dataclass
class DatasetConfig:
    """Which shards a training reads, and how batches are drawn from them."""

    path: str = setting(important=True)
    """Folder of a dataset on any store, or WebDataset shards of others: shards/{000000..000099}.tar."""

    measured: str = setting("")
    """Another dataset whose val and test splits are measured; empty: this one's, for others' shards none."""

    batch_size: int = setting(8, at_least=1, important=True)
    """Global batch size, over all processes."""

    workers: int = setting(0, at_least=0)
    """Loader processes of each training process."""

    streams: int = setting(8, at_least=1)
    """Virtual streams that shuffle clips; the order does not depend on processes or workers."""

    pairs_per_clip: int = setting(4, at_least=1)
    """Frame pairs drawn from a clip each time it is read; a batch holds them side by side."""

    measured_pairs: int = setting(0, at_least=0)
    """Frame pairs of each clip in validation and test; 0: pairs_per_clip."""

    unseen_share: float = setting(0.0, at_least=0, below=1, unit="share")
    """Last frames of each clip that no training pair is drawn from; `test=true` draws from them."""

    seed: int = setting(0, at_least=0)
    """Seed of the order of clips and of the frames drawn."""

    cache_gb: float = setting(50.0, at_least=0, unit="GB")
    """Size of the cache of shards copied from a remote store into paths.cache."""
