"""Look at each video just enough to plan: content hash, duration, streams."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from a2h_models.errors import InputError, MediaError
from a2h_models.timebase import FPS
from pipelines import media
from pipelines.config import ClusterConfig, PrepareCommand, PrepareConfig
from pipelines.core.hashing import StreamHash, sha256_of_stream
from pipelines.core.storage import Storage
from pipelines.execution import pool
from pipelines.execution.sandbox import Failure
from pipelines.execution.task import Task
from pipelines.prepare.output.ledger import printable
from pipelines.prepare.planning.plan import Video
from pipelines.prepare.reasons import Reason
from pipelines.prepare.sources.discover import Inputs, placed
from pipelines.prepare.sources.manifest import ManifestEntry, OptOuts

ADDRESS = re.compile(r" @ 0x[0-9a-f]+")  # in ffmpeg's words
HASH_CHUNK = 2**20  # bytes read at a time
SECONDS_PER_MINUTE = 60
MAX_BATCH = 32  # files; a probe takes some 20 ms, and the driver sends a few hundred pieces of work a second
BATCHES_A_WORKER = 16  # at least, before files go in batches

Batch = Sequence[Sequence[ManifestEntry]]  # of files, each with its entries


def probe_all(inputs: Inputs, command: PrepareCommand) -> Iterator[Video]:
    """All videos, probed on the cluster; many small files go through the driver in batches."""
    probe = partial(probe_files, source=inputs.source, opt_outs=inputs.opt_outs, config=command.prepare)
    size = batch_size(len(inputs.videos), command.cluster.workers)
    yield from _probed(
        probe, [inputs.videos[start : start + size] for start in range(0, len(inputs.videos), size)], command.cluster
    )


def batch_size(files: int, workers: int) -> int:
    """How many files a worker probes at once: one, where there are few, so that no worker waits for
    another.
    """
    return max(1, min(MAX_BATCH, files // (BATCHES_A_WORKER * max(1, workers))))


def _probed(probe: Callable[[Batch], list[Video]], batches: Sequence[Batch], config: ClusterConfig) -> Iterator[Video]:
    """A batch that took its worker down is probed file by file; a file that does is a row."""
    again: list[Batch] = []
    describe = (
        "probing videos"
        if all(len(batch) == 1 for batch in batches)
        else f"probing videos, {len(batches[0])} at a time"
    )
    task = Task(function=probe, describe=describe, key=_files, isolated=True)
    for batch, found in pool.run(task, batches, config):
        if not isinstance(found, Failure):
            yield from found
        elif len(batch) == 1:
            yield from broken(batch[0], found.reason, found.message)
        else:
            again += [[entries] for entries in batch]
    if again:
        yield from _probed(probe, again, config)


def _files(batch: Batch) -> str:
    first = printable(batch[0][0].file)
    return first if len(batch) == 1 else f"{first} and {len(batch) - 1} more"


def probe_files(batch: Batch, source: Storage, opt_outs: OptOuts, config: PrepareConfig) -> list[Video]:
    return [video for entries in batch for video in probe_file(entries, source, opt_outs, config)]


def probe_file(
    entries: Sequence[ManifestEntry], source: Storage, opt_outs: OptOuts, config: PrepareConfig
) -> list[Video]:
    """One file, read once, as the plan needs it: a video for each of its entries; what is wrong is
    a reason, never an exception.

    Args:
        entries: of one file: the whole of it, or spans.
        source: what their names are relative to.
        opt_outs: who and what must not be used.
        config: prepare/.
    """
    file = entries[0].file
    videos = [unseen(entry) for entry in entries]
    path = Path(file)
    try:
        store, name = placed(file, source)
        path = Path(store.path(name))
        with store.local_copy(name) as local:
            path = local
            sha256, size = content_hash(path)
            videos = [without_consent(video._replace(sha256=sha256, size=size), opt_outs) for video in videos]
            if all(video.reason for video in videos):
                return videos
            info = media.probe(path)
    except MediaError as error:
        reason, message = Reason(error.reason), strip_path(error.message, path, file)
    except (InputError, OSError) as error:
        media.raise_if_full(error)
        reason, message = Reason.UNREADABLE, strip_path(str(error), path, file)
    else:
        return [video if video.reason else seen(video, info, config) for video in videos]
    return [video if video.reason else video._replace(reason=reason.value, error_message=message) for video in videos]


def unseen(entry: ManifestEntry) -> Video:
    """What is known of a video before anybody has looked."""
    return Video(
        file=entry.file,
        sha256="",
        size=0,
        identity=entry.identity,
        licence=entry.licence,
        frames=0 if entry.stop is None else entry.stop - entry.start,
        start=entry.start,
        stop=entry.stop,
        consent=entry.consent,
        video_id=entry.video_id,
        utterance=entry.utterance,
        extra=entry.extra,
    )


def broken(entries: Sequence[ManifestEntry], reason: str, message: str) -> Iterator[Video]:
    """The videos of a file that took its worker down while it was probed."""
    return (unseen(entry)._replace(reason=reason, error_message=message) for entry in entries)


def without_consent(video: Video, opt_outs: OptOuts) -> Video:
    """The video with the reason `no_consent` where its table or a list of opt-outs says so; nobody
    looks at it then.
    """
    objection = opt_outs.objection(video.identity, video.sha256)
    if video.consent is False and not objection:
        objection = "the table says consent: no"
    return video._replace(reason=Reason.NO_CONSENT.value, error_message=objection) if objection else video


def seen(video: Video, info: media.VideoInfo, config: PrepareConfig) -> Video:
    """The video with what the probe found, and the first objection to it."""
    span = video.within(info.frames)
    reason, message = first_objection(info, len(span), config)
    return video._replace(
        frames=len(span),
        fps=round(info.fps, 3),
        width=info.width,
        height=info.height,
        reason=reason,
        error_message=message,
    )


def strip_path(message: str, path: Path, file: str) -> str:
    """An error's message as a ledger may hold it: the same on every machine, without the file's
    place and memory addresses.
    """
    for place in (str(path.absolute()), str(path)):
        message = message.replace(place, file)
    return ADDRESS.sub("", message)


def first_objection(info: media.VideoInfo, frames: int, config: PrepareConfig) -> tuple[str, str]:
    """Why a video needs no closer look, and the numbers that say so; empty if it does.

    `frames` are the span's, at 25 fps.
    """
    plan, clips, filters = config.plan, config.clips, config.filters
    if not info.has_audio:
        return Reason.NO_AUDIO.value, "there is no audio stream"
    if info.duration_s > plan.max_minutes * SECONDS_PER_MINUTE:
        return (
            Reason.TOO_LONG.value,
            f"{info.duration_s / SECONDS_PER_MINUTE:.1f} minutes, at most {plan.max_minutes:g}",
        )
    if info.width * info.height > plan.max_pixels:
        return Reason.TOO_LARGE.value, f"{info.width}×{info.height} pixels, at most {plan.max_pixels:,}"
    if info.fps < filters.min_fps:
        return Reason.LOW_FRAME_RATE.value, f"{info.fps:.2f} frames a second, at least {filters.min_fps:g}"
    if frames < clips.min_frames:
        of = "" if frames == info.frames else f" of the video's {info.frames}"
        return Reason.TOO_SHORT.value, f"{frames} frames{of} at {FPS} a second, at least {clips.min_frames}"
    return "", ""


def content_hash(path: Path) -> StreamHash:
    """Hash a file and count its bytes."""
    with path.open("rb") as stream:
        return sha256_of_stream(stream)
