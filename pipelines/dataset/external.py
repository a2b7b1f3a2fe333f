"""External shards: WebDataset tars without our sidecars, read from front to back as a stream.

The content of such a tar is unknown before it is read, so there is no fixed order: clips come in
the order of the shards, shuffled within a buffer, and a resumed run reads them in another order
instead of continuing exactly. A sample needs the members that the stage reads, under our
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

SHUFFLE_BUFFER = 64  # samples in memory, from which the next is chosen: about 30 MB of clips of ten seconds
PER_FRAME = ("pose.npy", "speech.npy", "landmarks.npy")  # arrays with a row for each frame

logger = logging.getLogger(__name__)


def is_external(path: str) -> bool:
    """Whether a path names tars, such as `shards/{000000..000099}.tar`, instead of a folder."""
    return path.endswith(".tar")


class ExternalShards:
    """The tars that a path names; takes the place of an `Index`, without access by clip number.

    Raises:
        InputError: if the path names no tars.
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
            "%s: shards without sidecars are read as a stream; a resumed run reads other samples than it would have read",
            path,
        )

    def __len__(self) -> int:
        return len(self.shards)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Size of each shard in bytes."""
        return tuple(shard.size for shard in self.shards)

    @property
    def summary(self) -> str:
        return f"{len(self)} external shards, read as a stream"

    @property
    def identities(self) -> set[str]:
        """No identities, because they are unknown; promotion refuses models trained on such shards."""
        return set()

    def open_keypoint_shards(self, detector: str) -> None:
        raise ConfigError(
            f"{self.path} has no keypoint shards of detector {detector}", hint="set stage.companions=false"
        )


@dataclass(frozen=True)
class ExternalShard:
    """One tar on a store."""

    storage: Storage
    name: str

    def __str__(self) -> str:
        return f"{self.storage.url}/{self.name}"

    @property
    def size(self) -> int:
        return int(self.storage.fs.size(self.storage.path(self.name)))

    def samples(self) -> Iterator[InMemorySample]:
        """Read all samples: neighbouring members whose names agree up to the first dot.

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
                    yield InMemorySample(key, members, self)
                    members = {}
                key = f"{folder}{slash}{stem}"
                members[extension] = data
            if members:
                yield InMemorySample(key, members, self)

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
        """Check that the tar ends with a block of zeros.

        Without this check a truncated tar would read like a shorter one.
        """
        size = handle.seek(0, 2)
        handle.seek(max(0, size - BLOCK))
        if size % BLOCK or handle.read(BLOCK) != bytes(BLOCK):
            raise DatasetError(
                f"{self} is truncated: its {size} bytes do not end as a tar does", hint="copy the shard again"
            )
        handle.seek(0)


class InMemorySample:
    """A sample in memory, with the methods by which clips of an `Index` are read.

    Raises:
        DatasetError: if a member is missing or does not fit, naming shard and sample.
    """

    def __init__(self, key: str, members: dict[str, bytes], shard: ExternalShard) -> None:
        self.key, self.shard, self._encoded = key, shard, Encoded(key=key, members=members)

    def clip(self) -> IndexedClip:
        """Describe the sample as a clip, counting its frames.

        Raises:
            DatasetError: if the video is damaged, or the sample of another schema version.
        """
        from pipelines import media

        self._check_version()
        try:
            frames = media.count_frames(self._select(("mp4",)).members["mp4"])
        except MediaError as error:
            raise self._error(str(error)) from error
        return IndexedClip(key=self.key, shard=0, frames=frames, identity="")

    def members(self, clip: IndexedClip, extensions: Iterable[str]) -> Encoded:
        """Return some members, checked to have one row per frame."""
        selected = self._select(extensions)
        for extension in set(PER_FRAME).intersection(selected.members):
            rows = len(self.array(selected, extension))
            if rows != clip.frames:
                raise self._error(f"{extension} has {rows} rows, and mp4 has {clip.frames} frames")
        return selected

    def array(self, encoded: Encoded, extension: str) -> np.ndarray:
        return decode_npy(encoded.members[extension], key=f"{self.key} of {self.shard}")

    def keypoints(self, clip: IndexedClip) -> Float32[np.ndarray, "t k 6"]:
        raise self._error(f"{clip.key} has no keypoint shard")

    def _select(self, extensions: Iterable[str]) -> Encoded:
        wanted, present = tuple(extensions), self._encoded.members
        missing = sorted(set(wanted) - set(present))
        if missing:
            raise self._error(f"it lacks {', '.join(missing)}; it has {', '.join(sorted(present))}")
        return Encoded(key=self.key, members={extension: present[extension] for extension in wanted})

    def _check_version(self) -> None:
        """Refuse another schema version, where the sample states one, as samples of `a2h prepare` do."""
        try:
            meta = json.loads(self._encoded.members.get("json", b"{}"))
        except ValueError:
            raise self._error("its json is damaged") from None
        version = meta.get("schema_version", SCHEMA_VERSION) if isinstance(meta, dict) else SCHEMA_VERSION
        if version != SCHEMA_VERSION:
            raise self._error(f"it has schema version {version}, this program reads {SCHEMA_VERSION}")

    def _error(self, problem: str) -> DatasetError:
        return DatasetError(f"{self.shard}: sample {self.key}: {problem}")


class ExternalDataset(IterableDataset[Any]):
    """An endless stream of items from the shards that this process, or loader process, reads.

    Args:
        shards: all shards.
        dataset: makes items of clips.
        seed: of order and items; a resumed run has another one.
        rank: number of this training process.
        world: number of training processes.
    """

    def __init__(
        self, shards: ExternalShards, dataset: ClipDataset[Any], *, seed: tuple[int, ...], rank: int, world: int
    ) -> None:
        self.shards, self.dataset, self.seed, self.rank, self.world = shards, dataset, seed, rank, world

    def __iter__(self) -> Iterator[Any]:
        worker = get_worker_info()
        workers, worker_id = (1, 0) if worker is None else (worker.num_workers, worker.id)
        reader, readers = self.rank * workers + worker_id, self.world * workers
        rng = np.random.default_rng((*self.seed, reader))
        try:
            for sample in _shuffle(self._read_forever(reader, readers), rng):
                yield self.dataset.load_item(sample, sample.clip(), rng)
        except A2HError as error:
            if worker is None:
                raise
            yield error  # ErrorRaisingDataLoader raises it

    def _read_forever(self, reader: int, readers: int) -> Iterator[InMemorySample]:
        """Read each shard by one reader, or use each sample in one of them if there are fewer shards."""
        shards = self.shards.shards
        for epoch in count():
            order = np.random.default_rng((*self.seed, epoch)).permutation(len(shards))
            one_reader_per_shard = len(shards) >= readers
            chosen = order[reader::readers] if one_reader_per_shard else order
            samples_read = 0
            for sample in (sample for shard in chosen for sample in shards[shard].samples()):
                samples_read += 1
                if one_reader_per_shard or samples_read % readers == reader:
                    yield sample
            if not samples_read:
                raise InputError(f"{self.shards.path}: {len(chosen)} of its shards hold no samples")


def _shuffle(samples: Iterator[InMemorySample], rng: np.random.Generator) -> Iterator[InMemorySample]:
    """Yield a random sample of the buffer, and put the next one in its place."""
    buffer = list(islice(samples, SHUFFLE_BUFFER))
    for sample in samples:
        place = int(rng.integers(len(buffer)))
        yield buffer[place]
        buffer[place] = sample


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
