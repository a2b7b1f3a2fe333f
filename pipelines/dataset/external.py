"""Shards that others made with `webdataset`: plain tars without our sidecars, read from front to
back as a stream.

Nothing says what such a tar holds before it is read, so there is no order to count on: clips come
as they stand in the shards, shuffled within a buffer, and a resumed run draws anew instead of going
on exactly. A sample needs the members that the stage reads, under our
extensions (pipelines/dataset/shard_format.py): `mp4` for image_generator; `mp4`, `pose.npy` and
`speech.npy` for the others.
"""

from __future__ import annotations

import json
import logging
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import count, islice
from typing import IO, Any

import numpy as np
from jaxtyping import Float32
from torch.utils.data import IterableDataset, get_worker_info

from a2h_models.data_types import SCHEMA_VERSION
from a2h_models.errors import A2HError, ConfigError, DatasetError, InputError, MediaError
from pipelines.core.hashing import sha256_of_text
from pipelines.core.storage import Storage
from pipelines.dataset.datasets import ClipDataset
from pipelines.dataset.index import IndexedClip
from pipelines.dataset.shard_format import BLOCK, Encoded, decode_npy

SHUFFLED = 64  # samples in memory, of which the next is any: some 30 MB of clips of ten seconds
PER_FRAME = ("pose.npy", "speech.npy", "landmarks.npy")  # arrays with a row for each frame

logger = logging.getLogger(__name__)


def is_external(path: str) -> bool:
    """Whether a dataset's path names tars instead of a folder: `shards/{000000..000099}.tar`,
    `s3://…/*.tar`.
    """
    return path.endswith(".tar")


class ExternalShards:
    """The tars that a path names; in the place of an `Index` where no clip is read by its number.

    Raises:
        InputError: if there are none.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.shards = tuple(_expanded(path))
        if not self.shards:
            raise InputError(
                f"{path} names no shards", hint="quote braces and stars: 'dataset.path=shards/{000000..000009}.tar'"
            )
        self.fingerprint = sha256_of_text(repr([(str(shard), shard.size) for shard in self.shards]))
        logger.warning(
            "%s: shards without sidecars are read as a stream; a resumed run draws anew, not what it would have drawn",
            path,
        )

    def __len__(self) -> int:
        return len(self.shards)

    @property
    def sizes(self) -> tuple[int, ...]:
        """In bytes: what is known before they are read."""
        return tuple(shard.size for shard in self.shards)

    @property
    def summary(self) -> str:
        return f"{len(self)} shards made by others, read as a stream"

    @property
    def identities(self) -> set[str]:
        """Nobody knows whom they show; promotion refuses what was trained on them."""
        return set()

    def open_companions(self, detector: str) -> None:
        raise ConfigError(
            f"{self.path} has no companion shards of detector {detector}", hint="set stage.companions=false"
        )


@dataclass(frozen=True)
class ExternalShard:
    storage: Storage
    name: str

    def __str__(self) -> str:
        return f"{self.storage.url}/{self.name}"

    @property
    def size(self) -> int:
        return int(self.storage.fs.size(self.storage.path(self.name)))

    def samples(self) -> Iterator[HeldSample]:
        """Everything it holds, a sample at a time: members beside each other whose names are the
        same up to the first dot.

        Raises:
            DatasetError: for a tar that is truncated or damaged, naming it.
        """
        with self.storage.open(self.name) as handle:
            self._check_end(handle)
            key, members = "", dict[str, bytes]()
            for name, data in self._members(handle):
                folder, slash, base = name.rpartition("/")
                stem, _, extension = base.partition(".")
                if members and f"{folder}{slash}{stem}" != key:
                    yield HeldSample(key, members, self)
                    members = {}
                key = f"{folder}{slash}{stem}"
                members[extension] = data
            if members:
                yield HeldSample(key, members, self)

    def _members(self, handle: IO[bytes]) -> Iterator[tuple[str, bytes]]:
        try:
            with tarfile.open(fileobj=handle, mode="r|") as tar:
                for info in tar:
                    data = tar.extractfile(info) if info.isfile() else None
                    if data is not None:
                        yield info.name, data.read()
        except tarfile.TarError as error:
            raise DatasetError(f"{self} is damaged: {error}", hint="copy the shard again") from error

    def _check_end(self, handle: IO[bytes]) -> None:
        """A tar ends with a block of zeros; a reader that does not look takes a truncated one for a
        shorter one.
        """
        size = handle.seek(0, 2)
        handle.seek(max(0, size - BLOCK))
        if size % BLOCK or handle.read(BLOCK) != bytes(BLOCK):
            raise DatasetError(
                f"{self} is truncated: its {size} bytes do not end as a tar does", hint="copy the shard again"
            )
        handle.seek(0)


class HeldSample:
    """A sample in memory, read as an `Index` is.

    Raises:
        DatasetError: where a member is missing or does not fit, naming shard and sample.
    """

    def __init__(self, key: str, members: dict[str, bytes], shard: ExternalShard) -> None:
        self.key, self.shard, self._held = key, shard, Encoded(key=key, members=members)

    def clip(self) -> IndexedClip:
        """What is known of it: its frames are counted.

        Raises:
            DatasetError: for a sample of another schema version, too.
        """
        from pipelines import media

        self._check_version()
        try:
            frames = media.count_frames(self._only(("mp4",)).members["mp4"])
        except MediaError as error:
            raise self._wrong(str(error)) from error
        return IndexedClip(key=self.key, shard=0, frames=frames, identity="")

    def members(self, clip: IndexedClip, extensions: Iterable[str]) -> Encoded:
        """Some of its members."""
        held = self._only(extensions)
        for extension in set(PER_FRAME).intersection(held.members):
            rows = len(self.array(held, extension))
            if rows != clip.frames:
                raise self._wrong(f"{extension} has {rows} rows, and mp4 has {clip.frames} frames")
        return held

    def array(self, encoded: Encoded, extension: str) -> np.ndarray:
        return decode_npy(encoded.members[extension], key=f"{self.key} of {self.shard}")

    def keypoints(self, clip: IndexedClip) -> Float32[np.ndarray, "t k 6"]:
        raise self._wrong(f"{clip.key} has no companion")

    def _only(self, extensions: Iterable[str]) -> Encoded:
        wanted, held = tuple(extensions), self._held.members
        missing = sorted(set(wanted) - set(held))
        if missing:
            raise self._wrong(f"it lacks {', '.join(missing)}; it has {', '.join(sorted(held))}")
        return Encoded(key=self.key, members={extension: held[extension] for extension in wanted})

    def _check_version(self) -> None:
        """Ours say of themselves what version they are of; others' may say what they like."""
        try:
            said = json.loads(self._held.members.get("json", b"{}"))
        except ValueError:
            raise self._wrong("its json is damaged") from None
        version = said.get("schema_version", SCHEMA_VERSION) if isinstance(said, dict) else SCHEMA_VERSION
        if version != SCHEMA_VERSION:
            raise self._wrong(f"it has schema version {version}, this program reads {SCHEMA_VERSION}")

    def _wrong(self, what: str) -> DatasetError:
        return DatasetError(f"{self.shard}: sample {self.key}: {what}")


class ExternalDataset(IterableDataset[Any]):
    """Draws without end, from the shards of one process: of each loader process a part.

    Args:
        shards: all there are.
        draws: what is drawn from a clip.
        seed: of order and draws; for a resumed run another one.
        place: number of this process, and how many there are.
    """

    def __init__(
        self, shards: ExternalShards, draws: ClipDataset[Any], *, seed: tuple[int, ...], place: tuple[int, int]
    ) -> None:
        self.shards, self.draws, self.seed, self.place = shards, draws, seed, place

    def __iter__(self) -> Iterator[Any]:
        worker = get_worker_info()
        rank, world = self.place
        mine, readers = (
            (rank, world) if worker is None else (rank * worker.num_workers + worker.id, world * worker.num_workers)
        )
        rng = np.random.default_rng((*self.seed, mine))
        try:
            for sample in _shuffled(self._endless(mine, readers), rng):
                yield self.draws.draw(sample, sample.clip(), rng)
        except A2HError as error:
            if worker is None:
                raise
            yield error  # as loading.Told

    def _endless(self, mine: int, readers: int) -> Iterator[HeldSample]:
        """Every shard is read by one reader; where there are fewer shards than readers, each sample
        is used by one of them.
        """
        shards = self.shards.shards
        for epoch in count():
            order = np.random.default_rng((*self.seed, epoch)).permutation(len(shards))
            share = len(shards) >= readers
            chosen = order[mine::readers] if share else order
            found = 0
            for sample in (sample for shard in chosen for sample in shards[shard].samples()):
                found += 1
                if share or found % readers == mine:
                    yield sample
            if not found:
                raise InputError(f"{self.shards.path}: {len(chosen)} of its shards hold no samples")


def _shuffled(samples: Iterator[HeldSample], rng: np.random.Generator) -> Iterator[HeldSample]:
    """Any of those in memory, whose place the next one takes."""
    held = list(islice(samples, SHUFFLED))
    for sample in samples:
        place = int(rng.integers(len(held)))
        yield held[place]
        held[place] = sample


def _expanded(path: str) -> Iterator[ExternalShard]:
    """Braces and stars → the shards, in order.

    Raises:
        InputError: for a shard that braces name and that does not exist.
    """
    from braceexpand import braceexpand

    for url in braceexpand(path):
        folder, _, name = url.rpartition("/")
        storage = Storage(folder or ".")
        if not any(letter in name for letter in "*?["):
            if not storage.exists(name):
                raise InputError(f"{url} does not exist", hint="look at the numbers in dataset.path")
            yield ExternalShard(storage, name)
        else:
            yield from (ExternalShard(storage, found) for found in storage.names(name))
