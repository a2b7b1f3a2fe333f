"""Which clips are measured: those of a split, or exactly those of a frozen set.

The members of a frozen set must still have their hashes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple

from a2h_models.data_types import SIZE
from a2h_models.errors import ConfigError, DatasetError, InputError
from pipelines.config import EvaluateCommand, EvaluateConfig, FreezeCommand
from pipelines.core.hashing import sha256_of_bytes, sha256_of_json
from pipelines.core.storage import Storage
from pipelines.dataset import shard_format
from pipelines.registry import evaluation_set_id

SPLITS = ("test", "val", "train")  # in the order in which any_split looks
MEMBERS = ("flac", "mp4", "pose.npy", "speech.npy")  # of a sample that an evaluation reads
FORMAT, VERSION = "a2h-evaluation-set", 1
PORTRAIT = "first frame"  # of the clip, before max_frames cuts it


@dataclass(frozen=True, kw_only=True)
class EvaluationClip:
    """A clip of a dataset, and how much of it is measured."""

    dataset: str
    sidecar: shard_format.Sidecar
    key: str
    frames: int
    hashes: Mapping[str, str] = field(default_factory=dict)  # member → the SHA-256 it must have; empty: any will do

    @property
    def identity(self) -> str:
        return self.sidecar.identities[self.key]


class ClipSelection(NamedTuple):
    """The clips of an evaluation, and what its numbers may be compared with."""

    dataset: str
    fingerprint: str  # of the dataset as the set knows it
    split: str
    max_frames: int
    clips: list[EvaluationClip]

    def set_id(self, keys: Sequence[str]) -> str:
        """The id of the evaluation set that consists of these clips."""
        return evaluation_set_id(
            fingerprint=self.fingerprint, split=self.split, clips=list(keys), max_frames=self.max_frames
        )


@dataclass(frozen=True, kw_only=True)
class FrozenSet:
    """An evaluation set as `a2h freeze` writes it to a file."""

    set_id: str
    dataset: str
    fingerprint: str
    split: str
    max_frames: int
    clips: list[dict[str, Any]]  # key, identity, frames, members: extension → SHA-256
    portrait: str = PORTRAIT
    size: int = SIZE  # pixels a side of the crop
    format: str = FORMAT
    version: int = VERSION
    sha256: str = ""  # of all fields but the dataset's location: an edited set is another set

    def sealed(self) -> FrozenSet:
        """Return a copy with its hash."""
        values = {name: value for name, value in asdict(self).items() if name not in {"sha256", "dataset"}}
        return replace(self, sha256=sha256_of_json(values))


@dataclass(frozen=True, kw_only=True)
class FreezeResult:
    """A frozen set, and the file it was written to."""

    path: str
    frozen: FrozenSet

    def __str__(self) -> str:
        frames = sum(clip["frames"] for clip in self.frozen.clips)
        people = len({clip["identity"] for clip in self.frozen.clips})
        return (
            f"set {self.frozen.set_id}: {len(self.frozen.clips)} clips, {frames} frames, {people} people\n{self.path}"
        )


# --------------------------------------------------------------------------------------- of a split
def validate_split(config: EvaluateConfig) -> None:
    if config.split not in SPLITS:
        raise ConfigError(f"evaluate.split={config.split} does not exist", hint=f"one of {', '.join(SPLITS)}")


def choose_clips(dataset: Storage, config: EvaluateConfig) -> tuple[str, list[EvaluationClip]]:
    """Choose the clips to measure, by key; return also the split they are from.

    Raises:
        InputError: if there are none.
    """
    sidecars = shard_format.read_sidecars(dataset)
    if not sidecars:
        raise InputError(f"{dataset.url} holds no dataset", hint="`a2h prepare` makes one")
    splits = [config.split, *(split for split in SPLITS if split != config.split and config.any_split)]
    for split in splits:
        in_split = [sidecar for sidecar in sidecars if sidecar.split == split]
        wanted = (
            first_of_videos(in_split)
            if config.first_clip_of_video
            else {key for sidecar in in_split for key in sidecar.keys}
        )
        clips = [
            EvaluationClip(
                dataset=dataset.url,
                sidecar=_sidecar_of_clip(sidecar, key),
                key=key,
                frames=min(sidecar.frames[key], config.max_frames),
            )
            for sidecar in in_split
            for key in sidecar.keys
            if key in wanted and sidecar.frames[key] >= config.min_frames
        ]
        if clips:
            return split, sorted(clips, key=lambda clip: clip.key)[: config.max_clips or None]
    with_clips = ", ".join(sorted({sidecar.split for sidecar in sidecars if sidecar.keys})) or "none"
    raise InputError(
        f"{dataset.url} has no clip of {config.min_frames} frames or more in its {config.split} split (splits with clips: {with_clips})",
        hint="prepare more speakers, or say evaluate.split=val or evaluate.any_split=true",
    )


def first_of_videos(sidecars: Sequence[shard_format.Sidecar]) -> set[str]:
    """The keys of the clips that begin first in their videos.

    A clip whose video is not recorded counts as the first of its own.
    """
    starts = {key: ("", 0, key) for sidecar in sidecars for key in sidecar.keys}
    for row in (row for sidecar in sidecars for row in sidecar.ledger):
        if row.get("key") in starts and row.get("sha256"):
            starts[row["key"]] = (row["sha256"], row["start"], row["key"])
    first: dict[str, tuple[str, int, str]] = {}
    for video, start, key in sorted(starts.values()):
        first.setdefault(video or key, (video, start, key))
    return {key for _, _, key in first.values()}


def _sidecar_of_clip(sidecar: shard_format.Sidecar, key: str) -> shard_format.Sidecar:
    """The part of a sidecar that is about one clip.

    With whole ones, a shard of a thousand clips would be sent through Ray a thousand times.
    """
    return replace(
        sidecar,
        index={key: sidecar.index[key]},
        frames={key: sidecar.frames[key]},
        identities={key: sidecar.identities[key]},
        ledger=[],
    )


def recorded_fingerprint(dataset: Storage) -> str:
    """The fingerprint in `dataset.json`; "unknown" where there is none, which promotion refuses."""
    if not dataset.exists("dataset.json"):
        return "unknown"
    return str(json.loads(dataset.read("dataset.json")).get("fingerprint", "unknown"))


# ------------------------------------------------------------------------------------------- frozen
def freeze(command: FreezeCommand) -> FreezeResult:
    """Write down which clips an evaluation looks at, and the hashes of their members.

    Raises:
        ConfigError: for an unknown split.
        InputError: if there is no such dataset, or the split has no clips.
    """
    config, dataset = command.evaluate, Storage(command.dataset)
    validate_split(config)
    split, clips = choose_clips(dataset, config)
    selection = ClipSelection(command.dataset, recorded_fingerprint(dataset), split, config.max_frames, clips)
    frozen = FrozenSet(
        set_id=selection.set_id([clip.key for clip in clips]),
        dataset=command.dataset if "://" in command.dataset else str(dataset.root),
        fingerprint=selection.fingerprint,
        split=split,
        max_frames=config.max_frames,
        clips=[
            {
                "key": clip.key,
                "identity": clip.identity,
                "frames": clip.frames,
                "members": dict(_hashes(read_members(clip))),
            }
            for clip in clips
        ],
    ).sealed()
    folder, _, name = command.out.rpartition("/")
    text = json.dumps(asdict(frozen), indent=1, sort_keys=True, ensure_ascii=False)
    Storage(folder or ".").publish(name, f"{text}\n".encode())
    return FreezeResult(path=command.out, frozen=frozen)


def read_members(clip: EvaluationClip) -> dict[str, bytes]:
    """Read the members of a clip that are measured.

    Raises:
        DatasetError: if it is not what was frozen, or the shard is cut off.
    """
    members = shard_format.read_members(Storage(clip.dataset), clip.sidecar, clip.key, MEMBERS).members
    for name, sha256 in _hashes(members) if clip.hashes else ():
        if sha256 != clip.hashes.get(name):
            raise DatasetError(
                f"{clip.key}.{name} of {clip.dataset} is not what the evaluation set was frozen with: its sha-256 differs",
                hint="numbers of changed clips cannot be compared; freeze a new set, or restore the dataset",
            )
    return members


def _hashes(members: Mapping[str, bytes]) -> Iterator[tuple[str, str]]:
    return ((name, sha256_of_bytes(data)) for name, data in sorted(members.items()))


def read_frozen_set(path: str) -> FrozenSet:
    """Read what `a2h freeze` wrote.

    Raises:
        InputError: if it is not there, is something else, or was changed.
    """
    folder, _, name = path.rpartition("/")
    storage = Storage(folder or ".")
    if not storage.exists(name):
        raise InputError(
            f"{path} does not exist", hint="`a2h freeze DATASET --split test --out FILE` makes an evaluation set"
        )
    try:
        values = json.loads(storage.read(name))
        frozen = FrozenSet(**values)
        known = (frozen.format, frozen.version) == (FORMAT, VERSION)
        clips = [(str(clip["key"]), int(clip["frames"]), dict(clip["members"])) for clip in frozen.clips]
    except (ValueError, TypeError, KeyError):
        known, clips = False, []
    if not known or not clips:
        raise InputError(f"{path} is not an evaluation set of this version", hint="`a2h freeze` writes one")
    if frozen != frozen.sealed():
        raise InputError(
            f"{path} was changed after it was frozen, or an older program froze it",
            hint="numbers of other clips cannot be compared; freeze a new set (dataset=FOLDER says where the dataset is now)",
        )
    return frozen


def select_clips(command: EvaluateCommand) -> ClipSelection:
    """Select the clips of the frozen set that a command names, else of the dataset's split.

    Raises:
        ConfigError: if neither is named.
        InputError: if clips are not there.
        DatasetError: if clips of a frozen set are not there any more.
    """
    if command.set:
        return _select_frozen(read_frozen_set(command.set), command)
    if not command.dataset:
        raise ConfigError(
            "evaluate needs a value for dataset or set", hint="say dataset=FOLDER, or set=FILE that `a2h freeze` wrote"
        )
    dataset = Storage(command.dataset)
    split, clips = choose_clips(dataset, command.evaluate)
    return ClipSelection(command.dataset, recorded_fingerprint(dataset), split, command.evaluate.max_frames, clips)


def _select_frozen(frozen: FrozenSet, command: EvaluateCommand) -> ClipSelection:
    dataset = Storage(command.dataset or frozen.dataset)
    sidecars = {key: sidecar for sidecar in shard_format.read_sidecars(dataset) for key in sidecar.keys}
    clips = []
    for clip in frozen.clips:
        sidecar = sidecars.get(clip["key"])
        if (
            sidecar is None
            or sidecar.frames[clip["key"]] < clip["frames"]
            or sidecar.identities[clip["key"]] != clip["identity"]
        ):
            raise DatasetError(
                f"{dataset.url} does not hold the clip {clip['key']} as {command.set} says",
                hint="dataset=FOLDER says where the dataset is now; if it was changed, freeze a new set",
            )
        clips.append(
            EvaluationClip(
                dataset=dataset.url,
                sidecar=_sidecar_of_clip(sidecar, clip["key"]),
                key=clip["key"],
                frames=clip["frames"],
                hashes=clip["members"],
            )
        )
    return ClipSelection(
        dataset.url, frozen.fingerprint, frozen.split, frozen.max_frames, sorted(clips, key=lambda clip: clip.key)
    )
