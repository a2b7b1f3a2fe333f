"""The graph of steps: one unit → one shard, and around it plan → units → ledger, fingerprint, data card, report.

`build_shard` is a plain function: in a loop, on Ray, and in a run that was killed and resumed it writes the same bytes.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from a2h_models.errors import ClusterError, FailedError, InputError, MediaError
from a2h_models.sample import SCHEMA_VERSION
from pipelines import cluster, media
from pipelines.cluster import Failure
from pipelines.config import PrepareCommand, PrepareConfig, config_hash
from pipelines.dataset.shards import Encoded, ShardWriter, Sidecar, encode, read_sidecars
from pipelines.prepare import ledger
from pipelines.prepare.clips import Clip, find_clips, look
from pipelines.prepare.filters import Reason, Scores, judge
from pipelines.prepare.ledger import Row
from pipelines.prepare.plan import PLAN_FILE, Plan, Unit, Video, plan
from pipelines.prepare.probe import find_videos, placeless, probe_video, read_people
from pipelines.prepare.report import MAX_DROPPED, contact_sheet, preview_name, write_report
from pipelines.prepare.samples import Speaker, level_db, rounded, speakers, to_features, to_sample
from pipelines.prepare.summary import DatasetSummary, fingerprint_of, summarise, versions, write_card, write_dataset_json
from pipelines.storage import Storage

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ShardReport:
    """What became of a unit."""

    shard: str
    sha256: str
    counts: dict[str, int]  # clips: accepted, and a count for each reason


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a candidate clip: its row, and the sample's bytes if it was accepted."""

    row: Row
    encoded: Encoded | None = None
    preview: Encoded | None = None  # of a dropped clip: a picture for the report


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """Why a video could not be looked at, or not to its end."""

    reason: Reason
    message: str


# -------------------------------------------------------------------------------- one unit → one shard
def build_shard(
    unit: Unit, config: PrepareConfig, source: Storage, out: Storage, quarantined: Mapping[str, Failure] | None = None
) -> ShardReport:
    """Do all the steps for a unit's videos and publish its shard.

    Args:
        unit: of the plan.
        config: prepare/.
        source: where the videos are.
        out: the dataset.
        quarantined: videos, by content hash, that kill or stall their worker; they get a row and no look.
    """
    rows: list[Row] = []
    kept: Counter[str] = Counter()  # previews, by reason
    with ShardWriter(out, unit.shard) as shard, ShardWriter(out, preview_name(unit.shard)) as previews:
        for video in unit.videos:
            clips, trouble = [], None
            for outcome in outcomes(video, unit, config, source, (quarantined or {}).get(video.sha256)):
                if isinstance(outcome, Trouble):
                    trouble = outcome
                    continue
                clips.append(outcome.row)
                if outcome.encoded:
                    shard.add(outcome.encoded, frames=outcome.row.stop - outcome.row.start, identity=outcome.row.identity)
                if outcome.preview and kept[outcome.row.reason] < MAX_DROPPED:
                    kept[outcome.row.reason] += 1
                    previews.add(outcome.preview, frames=outcome.row.stop - outcome.row.start, identity=outcome.row.identity)
            rows += [close(video, unit, clips, trouble), *clips]
    return report_of(shard.finish(split=unit.split, unit=unit.id, plan=unit.plan, ledger=[row.flat() for row in rows]))


def rehearse(videos: Sequence[Video], unit: Unit, config: PrepareConfig, source: Storage) -> None:
    """Do what `build_shard` does with some of the videos, and publish nothing: whoever kills the worker is found out."""
    for video in videos:
        for _ in outcomes(video, unit, config, source, None):
            pass


def outcomes(video: Video, unit: Unit, config: PrepareConfig, source: Storage, poison: Failure | None) -> Iterator[Outcome | Trouble]:
    """What becomes of each candidate clip of a video, in the order of keys. Trouble with the video is a value, not an exception."""
    if poison:
        yield Trouble(reason=Reason(poison.reason), message=poison.message)
        return
    path = Path(video.file)
    try:
        with source.local_copy(video.file) as local:
            path = local
            yield from outcomes_of_file(path, video, unit, config)
    except MediaError as error:
        yield Trouble(reason=Reason(error.reason), message=placeless(error.message, path, video.file))
    except InputError as error:
        yield Trouble(reason=Reason.UNREADABLE, message=placeless(error.message, path, video.file))
    except FailedError:
        raise
    except Exception as error:  # one odd video of a million must not end the run: it is counted, and logged with its traceback
        logger.warning("%s", video.file, exc_info=error)
        yield Trouble(reason=Reason.INTERNAL_ERROR, message=f"{type(error).__name__}: {error}")


def outcomes_of_file(path: Path, video: Video, unit: Unit, config: PrepareConfig) -> Iterator[Outcome | Trouble]:
    """The steps, in the order of the data. Raises what the decoder raises."""
    with media.open_video(path) as opened:
        wave = media.read_speech(path)
        if level_db(wave) < config.filters.min_speech_db:
            yield Trouble(reason=Reason.SILENT, message=f"mean level {level_db(wave):.0f} dB")
            return
        clips = find_clips(look(opened, config.clips), video.sha256, config.clips)
        known = speakers(opened, clips, wave, config.clips)
        for clip in clips:
            yield outcome_of(clip, video, unit, config, opened, wave, known.get(clip.key))


def outcome_of(
    clip: Clip, video: Video, unit: Unit, config: PrepareConfig, opened: media.Video, wave: Any, speaker: Speaker | None
) -> Outcome:
    """Measure a candidate, judge it, and encode it if it is accepted."""
    row = partial(
        ledger.clip_row, video, unit=unit, key=clip.key, span=clip.span, crop=f"{clip.square.x},{clip.square.y},{clip.square.side}"
    )
    if len(clip.span) < config.clips.min_frames:
        message = f"{len(clip.span)} frames, at least {config.clips.min_frames}"
        scores = rounded(Scores(face_px=clip.face_px, faces=clip.faces))
        return Outcome(row=row(scores=scores, reason=judge(scores, config.filters) or Reason.TOO_SHORT, error_message=message))
    features = to_features(opened, clip, wave, speaker, config.features)
    reason = judge(features.scores, config.filters) if features.scores.face_share else Reason.FACE_LOST
    if reason:
        picture = contact_sheet(features.frames, features.pose, features.landmarks, kind=".jpg")
        return Outcome(row=row(scores=features.scores, reason=reason), preview=Encoded(key=clip.key, members={"jpg": picture}))
    sample = to_sample(clip, features, provenance(clip, video, unit, config, features.scores))
    return Outcome(row=row(scores=features.scores, reason=None), encoded=encode(sample))


def provenance(clip: Clip, video: Video, unit: Unit, config: PrepareConfig, scores: Scores) -> dict[str, Any]:
    """The `json` member of a sample: who, from where, how good, and made by what."""
    return {
        "identity": ledger.printable(video.identity),
        "source": {"file": ledger.printable(video.file), "sha256": video.sha256, "fps": video.fps, "size": [video.width, video.height]},
        "span": [clip.span.start, clip.span.stop],
        "crop": asdict(clip.square),
        "scores": asdict(scores),
        "licence": video.licence,
        "parents": {"plan": unit.plan, "unit": unit.id, "config": config_hash(config)},
        "schema_version": SCHEMA_VERSION,
        "versions": versions(),
    }


def close(video: Video, unit: Unit, clips: Sequence[Row], trouble: Trouble | None) -> Row:
    """The row of a video, from its clips and what went wrong."""
    reason = ledger.outcome(clips)
    if reason and trouble:
        reason = trouble.reason
    return ledger.video_row(video, unit=unit, reason=reason, error_message=trouble.message if trouble else "")


def report_of(sidecar: Sidecar) -> ShardReport:
    counts = Counter(row["reason"] or row["status"] for row in sidecar.ledger if row["kind"] == ledger.CLIP)
    return ShardReport(shard=sidecar.shard, sha256=sidecar.sha256, counts=dict(counts))


# -------------------------------------------------------------------------------- all of it
def prepare(command: PrepareCommand) -> DatasetSummary:
    """Raw videos → a dataset. A run that was interrupted goes on where it stopped.

    Raises:
        InputError: if there are no videos, or the folder holds a dataset of another plan.
        ClusterError: if a unit fails as a whole although each of its videos works alone.
        FailedError: if the output cannot be written.
    """
    source, files = find_videos(command.videos)
    out = Storage(command.out)
    with cluster.session(command.cluster, cache=Path(command.paths.cache)):
        planned = make_plan(source, files[: command.limit or None], command)
        if command.dry_run:
            rows = [ledger.video_row(v, unit=None, reason=Reason(v.reason) if v.reason else None).flat() for v in _all_videos(planned)]
            return summarise(command.out, planned, rows, fingerprint="")
        claim(out, planned)
        build_units(planned, source, out, command)
    return finish(out, planned)


def make_plan(source: Storage, files: Sequence[str], command: PrepareCommand) -> Plan:
    """Probe the videos on the cluster, and plan."""
    probe = partial(probe_video, source=source, people=read_people(command.prepare.plan.identity_csv), config=command.prepare)
    probed = cluster.run(probe, files, command.cluster, describe="probing videos", key=str)
    videos = [Video.broken(file, found.reason, found.message) if isinstance(found, Failure) else found for file, found in probed]
    return plan(videos, command.prepare)


def claim(out: Storage, planned: Plan) -> None:
    """Publish the plan, or see that it is the one that is already there.

    Raises:
        InputError: if the folder holds something else.
    """
    if out.exists(PLAN_FILE):
        found = Plan.from_bytes(out.read(PLAN_FILE), name=f"{out.url}/{PLAN_FILE}").hash
        if found == planned.hash:
            return
        raise InputError(
            f"{out.url} holds a dataset of plan {found}, and these videos and settings make plan {planned.hash}",
            hint="choose another folder with out=…; only the same videos with the same settings go on where they stopped",
        )
    if rests := out.names("a2h-*.json"):
        raise InputError(f"{out.url} holds {rests[0]} but no {PLAN_FILE}", hint="choose an empty folder with out=…")
    out.publish(PLAN_FILE, planned.to_bytes())


def build_units(planned: Plan, source: Storage, out: Storage, command: PrepareCommand) -> None:
    """Build every unit that has no shard yet; then the units whose workers died, without the videos that killed them."""
    done = {sidecar.unit for sidecar in read_sidecars(out) if sidecar.plan == planned.hash and out.exists(sidecar.shard)}
    open_units = [unit for unit in planned.units if unit.id not in done]
    build = partial(build_shard, config=command.prepare, source=source, out=out)
    built = cluster.run(build, open_units, command.cluster, describe="building shards", key=_shard, tally=lambda report: report.counts)
    broken = [(unit, outcome) for unit, outcome in built if isinstance(outcome, Failure)]
    for unit, failure in broken:
        trial = partial(rehearse, unit=unit, config=command.prepare, source=source)
        culprits = cluster.isolate(trial, unit.videos, command.cluster, failure, describe=f"searching {unit.shard} for the culprit")
        rebuild = partial(build, quarantined={video.sha256: found for video, found in culprits.items()})
        for _, outcome in cluster.run(rebuild, [unit], command.cluster, describe=f"building {unit.shard} again", key=_shard):
            if isinstance(outcome, Failure):
                raise ClusterError(f"{unit.shard} cannot be built: {outcome.message}", hint="give each worker more memory or time")


def finish(out: Storage, planned: Plan) -> DatasetSummary:
    """Ledger, fingerprint, data card and report, from the sidecars.

    Raises:
        DatasetError: if the ledger does not balance.
    """
    sidecars = read_sidecars(out)
    rows = ledger.collect(planned, [row for sidecar in sidecars for row in sidecar.ledger])
    ledger.write(out, rows)
    summary = summarise(out.url, planned, rows, fingerprint_of(sidecars))
    write_card(out, summary, Counter(video.licence for video in _all_videos(planned)))
    write_dataset_json(out, planned, sidecars, summary)
    write_report(out)
    return summary


def _shard(unit: Unit) -> str:
    return unit.shard


def _all_videos(planned: Plan) -> list[Video]:
    return [*planned.dropped, *(video for unit in planned.units for video in unit.videos)]
