"""Random access to the clips of a dataset, by offsets from the sidecars, without walking a tar.

A shard on a remote store is copied once into a bounded local cache and read from there.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from jaxtyping import Float32

from a2h_models.errors import DatasetError, InputError
from pipelines.core.files import replace_file
from pipelines.core.storage import Storage
from pipelines.dataset.fingerprints import read_fingerprint
from pipelines.dataset.keypoint_shards import detectors_of, read_keypoint_shard, read_keypoints
from pipelines.dataset.shard_format import Encoded, Sidecar, decode_npy, read_members, read_sidecars

BYTES_PER_GB = 10**9


@dataclass(frozen=True, kw_only=True)
class IndexedClip:
    """One sample and its place; `shard` counts the shards of its split from 0."""

    key: str
    shard: int
    frames: int
    identity: str


class ShardCache:
    """Copies of remote shards in a local folder, named by content hash.

    The least recently used ones are removed when there are more than `limit_bytes`. Processes may
    share the folder: a copy appears whole or not at all.
    """

    def __init__(self, folder: Path, *, limit_bytes: int) -> None:
        self.folder = folder
        self.limit_bytes = limit_bytes

    def fetch(self, dataset: Storage, sidecar: Sidecar) -> Storage:
        """Copy a shard unless it is here; return a local store that holds it under its own name."""
        home = self.folder / sidecar.sha256
        target = home / sidecar.shard
        if not target.exists():
            home.mkdir(parents=True, exist_ok=True)
            self._make_room(sidecar.size, keep=home)
            self._copy(dataset, sidecar, target)
        os.utime(home)  # _make_room removes the oldest
        return Storage(home)

    def _copy(self, dataset: Storage, sidecar: Sidecar, target: Path) -> None:
        with replace_file(target) as part:
            with dataset.open(sidecar.shard) as remote, part.open("wb") as copy:
                shutil.copyfileobj(remote, copy)
            if part.stat().st_size != sidecar.size:
                raise _truncated(dataset, sidecar, part.stat().st_size)

    def _make_room(self, needed: int, *, keep: Path) -> None:
        homes = sorted((home for home in self.folder.iterdir() if home != keep), key=lambda home: home.stat().st_mtime)
        sizes = {home: sum(file.stat().st_size for file in home.iterdir()) for home in homes}
        excess = sum(sizes.values()) + needed - self.limit_bytes
        for home in homes:
            if excess <= 0:
                return
            shutil.rmtree(home, ignore_errors=True)
            excess -= sizes[home]


class Index:
    """The clips of one split of a dataset, in the order of shards and keys, with their members.

    Raises:
        InputError: if there is no dataset, or no such split.
        DatasetError: for a sidecar of another schema version, or a shard that is missing or shorter
            than its sidecar says.
    """

    def __init__(self, dataset: Storage, split: str, *, cache: ShardCache | None = None) -> None:
        all_sidecars = read_sidecars(dataset)
        if not all_sidecars:
            raise InputError(f"{dataset.url} holds no dataset", hint="make one with `a2h prepare videos=… out=…`")
        self.dataset = dataset
        self.split = split
        self.fingerprint = read_fingerprint(dataset, all_sidecars)
        self._sidecars = [sidecar for sidecar in all_sidecars if sidecar.split == split and sidecar.index]
        self._keypoint_shards: list[Sidecar] = []  # in the order of the shards
        self._cache = cache
        self.clips = [
            IndexedClip(key=key, shard=number, frames=sidecar.frames[key], identity=sidecar.identities[key])
            for number, sidecar in enumerate(self._sidecars)
            for key in sidecar.keys
        ]
        for sidecar in self._sidecars:
            _check_size(dataset, sidecar)

    @classmethod
    def empty(cls) -> Self:
        """Make an index without clips."""
        index = cls.__new__(cls)
        vars(index).update(clips=[], _sidecars=[])
        return index

    def __len__(self) -> int:
        return len(self.clips)

    @property
    def summary(self) -> str:
        return f"{len(self)} clips of {len(self.identities)} people"

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of clips in each shard."""
        return tuple(len(sidecar.index) for sidecar in self._sidecars)

    @property
    def identities(self) -> set[str]:
        return {clip.identity for clip in self.clips}

    def shard_of(self, clip: IndexedClip) -> str:
        return f"{self.dataset.url}/{self._sidecars[clip.shard].shard}"

    def members(self, clip: IndexedClip, extensions: Iterable[str]) -> Encoded:
        """Read some members of a clip, as bytes.

        Raises:
            DatasetError: if the shard is truncated or lacks one of them.
        """
        sidecar = self._sidecars[clip.shard]
        wanted = tuple(extensions)
        missing = sorted(set(wanted) - set(sidecar.index[clip.key]))
        if missing:
            raise DatasetError(f"{self.dataset.url}/{sidecar.shard}: sample {clip.key} lacks {', '.join(missing)}")
        return read_members(self._store_of(sidecar), sidecar, clip.key, wanted)

    def open_keypoint_shards(self, detector: str) -> None:
        """Open the keypoint shards of a detector.

        Args:
            detector: hash of the detector.

        Raises:
            DatasetError: if a shard has none, naming the shard and the detectors whose keypoints
                exist for it.
        """
        for sidecar in self._sidecars:
            keypoint_shard = read_keypoint_shard(self.dataset, sidecar, detector)
            if keypoint_shard is None:
                others = ", ".join(detectors_of(self.dataset, sidecar.shard.removesuffix(".tar"))) or "no detector"
                raise DatasetError(
                    f"{self.dataset.url}/{sidecar.shard} has no keypoint shard of detector {detector}; it has those of {others}",
                    hint="run `a2h keypoints` with the teacher as detector, or set stage.companions=false",
                )
            _check_size(self.dataset, keypoint_shard)
            self._keypoint_shards.append(keypoint_shard)

    def keypoints(self, clip: IndexedClip) -> Float32[np.ndarray, "t k 6"]:
        """Read the keypoints of a clip's frames, after `open_keypoint_shards`."""
        return read_keypoints(
            self._store_of(self._keypoint_shards[clip.shard]), self._keypoint_shards[clip.shard], clip.key
        )

    def _store_of(self, sidecar: Sidecar) -> Storage:
        """Return the store to read a shard from: the cache for a remote shard."""
        return self.dataset if self.dataset.local or self._cache is None else self._cache.fetch(self.dataset, sidecar)

    def array(self, encoded: Encoded, extension: str) -> np.ndarray:
        """Decode an array member."""
        return decode_npy(encoded.members[extension], key=encoded.key)


def _check_size(dataset: Storage, sidecar: Sidecar) -> None:
    try:
        size = int(dataset.fs.size(dataset.path(sidecar.shard)))
    except FileNotFoundError:
        raise DatasetError(
            f"{dataset.url}/{sidecar.shard} is missing, but its sidecar is there",
            hint="copy the shard again, or remove the sidecar and run `a2h prepare` again",
        ) from None
    if size != sidecar.size:
        raise _truncated(dataset, sidecar, size)


def _truncated(dataset: Storage, sidecar: Sidecar, size: int) -> DatasetError:
    return DatasetError(
        f"{dataset.url}/{sidecar.shard} is truncated: {size} bytes instead of {sidecar.size}",
        hint="copy the shard again, or remove its sidecar and run `a2h prepare` again",
    )
