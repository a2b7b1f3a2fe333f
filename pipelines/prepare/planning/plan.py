"""The plan: videos → identities → splits → units. A pure function of content and config.

The same inputs and the same config give the same plan on any machine, whatever the order or the
place in which the videos were found; what is done later, where and how often, cannot change which
clip lands in which shard.
"""

from __future__ import annotations

import io
import itertools
import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple

from a2h_models.data_types import SCHEMA_VERSION
from a2h_models.errors import DatasetError
from a2h_models.timebase import FPS, Span
from pipelines.config import PlanConfig, PrepareConfig, config_hash
from pipelines.core.hashing import sha256_of_pieces
from pipelines.dataset.shard_format import shard_name
from pipelines.prepare.planning.splits import assign_splits, merge_identities
from pipelines.prepare.reasons import Reason

SPLITS = ("train", "val", "test")
PLAN_FILE = "plan.jsonl"
NOWHERE = -1  # the place of a video that is in no unit
FRAMES_PER_MINUTE = 60 * FPS
HASH_DIGITS = 16  # of the plan's and units' ids: 64 bits
# so begins the message of a span that was dropped for another one's lack of consent; it drops no
# third one
SHARED = "the same video as"
# what such files hold is not known, so they are nobody's duplicates
BROKEN = frozenset({Reason.UNREADABLE.value, Reason.TRUNCATED.value})
_encode = json.JSONEncoder(separators=(",", ":"), sort_keys=True).encode


class Video(NamedTuple):
    """A raw file as the probe found it, or a span of one.

    A plain tuple: there may be millions of them.
    """

    file: str  # relative to the input, with forward slashes; or a url
    sha256: str  # of the whole file; empty where it could not be read
    size: int  # bytes of the whole file
    identity: str
    licence: str = ""  # as the manifest or the table of identities says
    frames: int = 0  # at 25 fps, of the span
    fps: float = 0.0  # of the file
    width: int = 0  # as shown
    height: int = 0
    reason: str = ""  # a Reason; empty: worth looking at
    error_message: str = ""
    start: int = 0  # first frame of the span
    stop: int | None = None  # frame behind the last one, where a manifest says so; None: the video's end
    consent: bool | None = None  # None: not stated
    video_id: str = ""  # the dataset's own names, where a layout knows them
    utterance: str = ""
    extra: str = ""  # further columns of the manifest, as JSON

    def within(self, frames: int) -> Span:
        """The span, in an opened video that turned out to have so many frames."""
        stop = frames if self.stop is None else min(self.stop, frames)
        return Span(min(self.start, stop), stop)


@dataclass(frozen=True, kw_only=True)
class Unit:
    """The work of one shard. Its videos are in the order of their content hash."""

    id: str  # hash of what it holds and of the config
    split: str
    number: int  # of the shard in its split, from 0
    plan: str  # hash of the plan
    videos: tuple[Video, ...]

    @property
    def shard(self) -> str:
        return shard_name(self.split, self.number)

    @property
    def frames(self) -> int:
        return sum(video.frames for video in self.videos)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Who is in which split, which video in which unit, and which videos are not worth a look."""

    hash: str
    config: dict[str, Any]
    splits: dict[str, str]  # identity → split
    units: tuple[Unit, ...]
    dropped: tuple[Video, ...]  # with their reasons
    parents: tuple[str, ...] = ()  # fingerprints of the datasets that this one came from by `a2h split` or `a2h forget`
    schema_version: int = field(default=SCHEMA_VERSION)

    @property
    def videos(self) -> tuple[Video, ...]:
        """Every input, in a unit or not."""
        return (*self.dropped, *(video for unit in self.units for video in unit.videos))

    @property
    def inputs(self) -> int:
        return sum(len(unit.videos) for unit in self.units) + len(self.dropped)

    def to_bytes(self) -> bytes:
        """JSON Lines: the head, then a line for each video, with the place of its unit or -1 before
        its values.
        """
        units = [[unit.id, unit.split, unit.number] for unit in self.units]
        facts = {name: getattr(self, name) for name in ("schema_version", "hash", "config", "splits", "parents")}
        buffer = io.BytesIO()
        buffer.write(
            f"{_encode({**facts, 'units': units, 'videos': self.inputs, 'columns': Video._fields})}\n".encode()
        )
        for place, videos in ((NOWHERE, self.dropped), *enumerate(unit.videos for unit in self.units)):
            for video in videos:
                buffer.write(f"{_encode((place, *video))}\n".encode())
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes, *, name: str) -> Plan:
        """Parse a plan.

        Raises:
            DatasetError: if it is damaged or of another schema version.
        """
        lines = io.BytesIO(data)
        try:
            head = json.loads(lines.readline())
            version = head["schema_version"]
            if version == SCHEMA_VERSION:
                return _parsed(head, lines)
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise DatasetError(f"{name} is not a plan ({error})", hint="prepare into an empty folder") from None
        raise DatasetError(
            f"{name} has schema version {version}, this program reads {SCHEMA_VERSION}",
            hint="prepare into an empty folder",
        )


def _parsed(head: Mapping[str, Any], lines: Iterable[bytes]) -> Plan:
    if tuple(head["columns"]) != Video._fields:
        raise ValueError("its columns are those of another version")
    places: list[list[Video]] = [[] for _ in (*head["units"], NOWHERE)]  # the last one: the dropped ones
    for line in lines:
        place, *values = json.loads(line)
        places[place].append(Video._make(values))
    if (found := sum(map(len, places))) != head["videos"]:
        raise ValueError(f"it holds {found} of {head['videos']} videos")
    named = zip(head["units"], places, strict=False)
    return Plan(
        hash=head["hash"],
        config=head["config"],
        splits=head["splits"],
        units=tuple(
            Unit(id=i, split=split, number=n, plan=head["hash"], videos=tuple(videos))
            for (i, split, n), videos in named
        ),
        dropped=tuple(places[NOWHERE]),
        parents=tuple(head["parents"]),
    )


def plan(
    videos: Iterable[Video],
    config: PrepareConfig,
    *,
    splits: Mapping[str, str] | None = None,
    parents: Sequence[str] = (),
) -> Plan:
    """Decide everything. The order of `videos` does not matter.

    Args:
        videos: as the probe found them.
        config: prepare/.
        splits: identity → split, where somebody has decided that by hand; None: by hash.
        parents: fingerprints of the datasets whose samples are taken over.
    """
    settings = without_tables(config)
    unique = drop_duplicates(videos)
    wanted = [video for video in unique if not video.reason]
    dropped = tuple(video for video in unique if video.reason)
    if splits is None:
        splits = assign_splits({video.identity for video in wanted}, config.plan, merge_identities(sharing(unique)))
    units = pack(wanted, splits, settings)
    facts = [config_hash(settings), SCHEMA_VERSION, dict(splits), [unit.id for unit in units]]
    # the words of a decoder are no content
    digest = _hash(facts, (video._replace(error_message="") for video in dropped))
    return Plan(
        hash=digest,
        config=asdict(settings),
        splits=dict(sorted(splits.items())),
        units=tuple(replace(unit, plan=digest) for unit in units),
        dropped=dropped,
        parents=tuple(parents),
    )


def without_tables(config: PrepareConfig) -> PrepareConfig:
    """The settings without the places of tables: what these say is in the videos, and the same
    table elsewhere makes the same plan.
    """
    return replace(config, plan=replace(config.plan, identity_csv="", opt_out=""))


def changed_setting(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """The first setting that two plans differ in, as the end of a sentence; empty where it is the
    videos that differ.
    """
    for group, values in now.items():
        for name, value in values.items():
            if (old := before.get(group, {}).get(name)) != value:
                return f": prepare.{group}.{name} was {old!r}, and is {value!r}"
    return ""


# ------------------------------------------------------------------------------------------- videos
def drop_duplicates(videos: Iterable[Video]) -> list[Video]:
    """All videos by content hash, span and name, each frame of each content at most once.

    Of the same bytes, a span that overlaps one without consent gets the reason `no_consent`,
    whatever its file is called; then one that overlaps an earlier one (by first frame, then by
    name) is a `duplicate`.
    """
    result: list[Video] = []
    for _, same in itertools.groupby(sorted(videos, key=_order), key=_content):
        group = list(same)
        result += group if len(group) == 1 else sorted(_settled(group), key=_order)
    return result


def _content(video: Video) -> tuple[str, str]:
    """What makes videos the same: their bytes; for files that cannot be read, their name."""
    return (video.sha256, video.file if not video.sha256 or video.reason in BROKEN else "")


def _order(video: Video) -> tuple[Any, ...]:
    """Total: only equal rows compare equal, so that the order in which videos were found cannot
    show. Copies stand behind what was kept.
    """
    rest = (
        video.reason == Reason.DUPLICATE,
        video.reason,
        video.error_message,
        video.video_id,
        video.utterance,
        str(video.consent),
    )
    return (*_content(video), video.start, video.file, _stop(video), video.identity, video.licence, video.extra, *rest)


def _stop(video: Video) -> int:
    """The frame behind the last one; all there may be, where the video was not looked at."""
    if video.frames:
        return video.start + video.frames
    return sys.maxsize if video.stop is None else video.stop


def _settled(group: Sequence[Video]) -> Iterator[Video]:
    """The rows of one content, with the reasons that they have through each other."""
    refused = [
        video for video in group if video.reason == Reason.NO_CONSENT and not video.error_message.startswith(SHARED)
    ]
    last: Video | None = None  # of those that were kept: it reaches farthest
    for video in group:
        refusing = next((other for other in refused if video.start < _stop(other) and other.start < _stop(video)), None)
        if video.reason in {*BROKEN, Reason.NO_CONSENT}:
            yield video
        elif refusing is not None:
            message = f"{SHARED} {refusing.file}, for which there is no consent"
            yield video._replace(reason=Reason.NO_CONSENT.value, error_message=message)
        elif last is not None and video.start < _stop(last):
            yield video._replace(reason=Reason.DUPLICATE.value, error_message=f"the same frames as in {last.file}")
        else:
            yield video
            last = video


def sharing(videos: Iterable[Video]) -> Iterator[set[str]]:
    """The identities that stand for the same bytes, where there are several: two people of one
    video, or one person under two names.
    """
    for (sha256, file), same in itertools.groupby(videos, key=_content):
        if sha256 and not file and len(identities := {video.identity for video in same}) > 1:
            yield identities


# -------------------------------------------------------------------------------------------- units
def unit_frames(total: int, config: PlanConfig) -> int:
    """How many frames a unit holds at least: `unit_minutes`, or less where that would give fewer
    than `min_units` in all.
    """
    return max(1, min(round(config.unit_minutes * FRAMES_PER_MINUTE), total // max(1, config.min_units)))


def pack(videos: Sequence[Video], splits: Mapping[str, str], config: PrepareConfig) -> list[Unit]:
    """Units of about equal length, split by split, each in the order of the videos."""
    target = unit_frames(sum(video.frames for video in videos), config.plan)
    groups: dict[str, list[list[Video]]] = {split: [] for split in SPLITS}
    room = dict.fromkeys(SPLITS, 0)
    for video in videos:
        split = splits[video.identity]
        if room[split] <= 0:
            groups[split].append([])
            room[split] = target
        groups[split][-1].append(video)
        room[split] -= video.frames
    fixed = config_hash(config)
    return [
        Unit(id=_hash([fixed, split, number], group), split=split, number=number, plan="", videos=tuple(group))
        for split in SPLITS
        for number, group in enumerate(groups[split])
    ]


def _hash(facts: Any, videos: Iterable[Video]) -> str:
    return sha256_of_pieces((_encode(each).encode() for each in (facts, *videos)), digits=HASH_DIGITS)


def by_split(plan: Plan) -> dict[str, list[Unit]]:
    """The units of each split that has any."""
    groups: dict[str, list[Unit]] = defaultdict(list)
    for unit in plan.units:
        groups[unit.split].append(unit)
    return dict(groups)
