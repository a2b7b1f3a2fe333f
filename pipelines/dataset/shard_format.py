"""The shard format: samples as members of a tar, and the sidecar that completes a shard.

A shard is a plain WebDataset tar whose bytes are a pure function of its samples: members sorted,
headers fixed. Its sidecar (`….json`, written last) holds the offset and size of each member, so that
one member can be read without reading the tar. A tar without a sidecar does not count as a shard.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from types import TracebackType
from typing import Any, Self

import numpy as np

from a2h_models.data_types import SCHEMA_VERSION, Sample
from a2h_models.errors import DatasetError
from a2h_models.timebase import SAMPLE_RATE
from pipelines.core.storage import Storage

MEMBERS = ("flac", "json", "landmarks.npy", "mel.npy", "mp4", "pose.npy", "speech.npy")  # in the order of the tar
KEY_ALPHABET = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_-/")
BLOCK = 512  # bytes; the unit of a tar
# in the name of a keypoint shard (pipelines/dataset/keypoint_shards.py)
KEYPOINT_MARK = ".kp-"


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """A sample as the bytes of its members: extension → bytes."""

    key: str
    members: dict[str, bytes]


@dataclass(frozen=True, kw_only=True)
class Sidecar:
    """Description of a shard, written last. `index`: key → extension → [offset of the data, size]."""

    shard: str
    split: str
    unit: str  # the plan's id of the unit
    plan: str  # hash of the plan
    sha256: str
    size: int
    frames: dict[str, int]  # key → number of frames
    identities: dict[str, str]  # key → identity
    index: dict[str, dict[str, list[int]]]
    ledger: list[dict[str, Any]] = field(default_factory=list)  # the rows of this unit
    schema_version: int = SCHEMA_VERSION

    @property
    def keys(self) -> list[str]:
        return list(self.index)

    def to_bytes(self) -> bytes:
        return (json.dumps(asdict(self), indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n").encode()

    @classmethod
    def from_bytes(cls, data: bytes, *, name: str) -> Sidecar:
        """Parse a sidecar.

        Raises:
            DatasetError: if it is damaged or of another schema version.
        """
        try:
            values = json.loads(data)
            version = values["schema_version"]
        except (ValueError, KeyError, TypeError):
            raise DatasetError(
                f"{name} is not a sidecar of a shard", hint="remove it and run `a2h prepare` again"
            ) from None
        if version != SCHEMA_VERSION:
            raise DatasetError(
                f"{name} has schema version {version}, this program reads {SCHEMA_VERSION}",
                hint="prepare the dataset again with this version",
            )
        return cls(**values)


def shard_name(split: str, number: int) -> str:
    return f"a2h-{split}-{number:06d}"


def npy(array: np.ndarray) -> bytes:
    """Encode an array in NumPy's own format, in C order."""
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(array), allow_pickle=False)
    return buffer.getvalue()


def encode(sample: Sample) -> Encoded:
    """Encode a sample as the bytes of its members (visually lossless video, lossless sound)."""
    import soundfile

    from pipelines import media

    flac = io.BytesIO()
    soundfile.write(flac, sample.wave, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return Encoded(
        key=sample.key,
        members={
            "flac": flac.getvalue(),
            "json": (json.dumps(sample.meta, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n").encode(),
            "landmarks.npy": npy(sample.landmarks),
            "mel.npy": npy(sample.mel),
            "mp4": media.encode_crop(sample.frames),
            "pose.npy": npy(sample.pose),
            "speech.npy": npy(sample.speech),
        },
    )


def decode(encoded: Encoded) -> Sample:
    """Decode a sample: the inverse of `encode`, up to the loss of the video.

    Raises:
        DatasetError: if a member is missing or damaged.
    """
    from pipelines import media

    missing = sorted(set(MEMBERS) - set(encoded.members))
    if missing:
        raise DatasetError(f"sample {encoded.key} lacks {', '.join(missing)}")
    members = encoded.members
    return Sample(
        key=encoded.key,
        frames=media.decode_crop(members["mp4"]),
        wave=decode_flac(members["flac"], key=encoded.key),
        speech=decode_npy(members["speech.npy"], key=encoded.key),
        mel=decode_npy(members["mel.npy"], key=encoded.key),
        pose=decode_npy(members["pose.npy"], key=encoded.key),
        landmarks=decode_npy(members["landmarks.npy"], key=encoded.key),
        meta=json.loads(members["json"]),
    )


def decode_npy(data: bytes, *, key: str) -> np.ndarray:
    try:
        return np.asarray(np.load(io.BytesIO(data), allow_pickle=False))
    except (ValueError, EOFError) as error:
        raise DatasetError(f"sample {key}: damaged array ({error})") from error


def decode_flac(data: bytes, *, key: str) -> np.ndarray:
    import soundfile

    try:
        wave, rate = soundfile.read(io.BytesIO(data), dtype="int16")
    except soundfile.LibsndfileError as error:
        raise DatasetError(f"sample {key}: damaged sound ({error})") from error
    if rate != SAMPLE_RATE:
        raise DatasetError(f"sample {key}: sound at {rate} Hz instead of {SAMPLE_RATE}")
    return np.asarray(wave)


class ShardWriter:
    """Context manager that writes one shard, sample by sample, with one sample in memory.

    The tar is published when the block ends without an error; `finish` then publishes the sidecar.
    """

    def __init__(self, out: Storage, name: str) -> None:
        self.out, self.name = out, name
        self.index: dict[str, dict[str, list[int]]] = {}
        self.frames: dict[str, int] = {}
        self.identities: dict[str, str] = {}
        self._digest, self._position, self._last = hashlib.sha256(), 0, ""
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._handle = self._stack.enter_context(self.out.writer(f"{self.name}.tar"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._put(bytes(2 * BLOCK))
        self._stack.__exit__(kind, error, trace)

    def add(self, sample: Encoded, *, frames: int, identity: str) -> None:
        """Append a sample.

        Raises:
            DatasetError: if its key has letters that WebDataset would misread, or does not come
                after the last one.
        """
        if not set(sample.key) <= KEY_ALPHABET or sample.key <= self._last:
            raise DatasetError(
                f"{sample.key!r} is not a usable key, or does not come after {self._last!r} in {self.name}"
            )
        self._last = sample.key
        self.frames[sample.key], self.identities[sample.key] = frames, identity
        places = self.index[sample.key] = {}
        for extension in sorted(sample.members):
            data = sample.members[extension]
            self._put(_header(f"{sample.key}.{extension}", len(data)))
            places[extension] = [self._position, len(data)]
            self._put(data + bytes(-len(data) % BLOCK))

    def _put(self, data: bytes) -> None:
        self._handle.write(data)
        self._digest.update(data)
        self._position += len(data)

    def finish(self, *, split: str, unit: str, plan: str, ledger: list[dict[str, Any]]) -> Sidecar:
        """Publish the sidecar; call it after the block."""
        sidecar = Sidecar(
            shard=f"{self.name}.tar",
            split=split,
            unit=unit,
            plan=plan,
            sha256=self._digest.hexdigest(),
            size=self._position,
            frames=self.frames,
            identities=self.identities,
            index=self.index,
            ledger=ledger,
        )
        self.out.publish(f"{self.name}.json", sidecar.to_bytes())
        return sidecar


def write_shard(
    out: Storage,
    name: str,
    samples: Iterable[Encoded],
    *,
    split: str,
    unit: str,
    plan: str,
    ledger: list[dict[str, Any]] | None = None,
    frames: dict[str, int],
    identities: dict[str, str],
) -> Sidecar:
    """Publish a shard of samples in memory, given in any order.

    Raises:
        DatasetError: if a key has letters that WebDataset would misread, or occurs twice.
    """
    with ShardWriter(out, name) as writer:
        for sample in sorted(samples, key=lambda encoded: encoded.key):
            writer.add(sample, frames=frames[sample.key], identity=identities[sample.key])
    return writer.finish(split=split, unit=unit, plan=plan, ledger=ledger or [])


def _header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o444  # mtime, uid and gid stay 0, names of owner and group empty
    return info.tobuf(tarfile.USTAR_FORMAT)


def read_sidecars(dataset: Storage) -> list[Sidecar]:
    """Read all sidecars of a dataset, by shard name."""
    return list(iterate_sidecars(dataset))


def iterate_sidecars(dataset: Storage) -> Iterator[Sidecar]:
    """Read the sidecars of a dataset one at a time, so that memory does not grow with the dataset."""
    for name in sidecar_names(dataset):
        yield Sidecar.from_bytes(dataset.read(name), name=name)


def sidecar_names(dataset: Storage) -> list[str]:
    """List the sidecars of shards of samples; those of keypoint shards are left out."""
    return [name for name in dataset.names("a2h-*.json") if KEYPOINT_MARK not in name]


def read_members(dataset: Storage, sidecar: Sidecar, key: str, extensions: Iterable[str] = MEMBERS) -> Encoded:
    """Read some members of one sample, by offset.

    Raises:
        DatasetError: if the shard ends before them.
    """
    with dataset.open(sidecar.shard) as handle:
        members = {}
        for extension in extensions:
            offset, size = sidecar.index[key][extension]
            handle.seek(offset)
            members[extension] = handle.read(size)
            if len(members[extension]) != size:
                raise DatasetError(f"{dataset.url}/{sidecar.shard} is truncated: {key}.{extension} is not whole")
    return Encoded(key=key, members=members)


def read_shard(dataset: Storage, sidecar: Sidecar, extensions: Iterable[str] = MEMBERS) -> Iterator[Encoded]:
    """Read all samples of a shard, in order."""
    wanted = tuple(extensions)
    for key in sidecar.keys:
        yield read_members(dataset, sidecar, key, wanted)
