"""The graph of steps: one unit → one shard, and around it plan → units → ledger, fingerprint, data
card, report.

`build_shard` is a plain function: in a loop, on Ray, and in a run that was killed and resumed it
writes the same bytes.
"""

from __future__ import annotations

import json
import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from a2h_models.data_types import SCHEMA_VERSION
from a2h_models.errors import FailedError, InputError, MediaError
from a2h_models.features.speech import speech_features
from pipelines import media
from pipelines.config import PrepareCommand, PrepareConfig, config_hash
from pipelines.core.progress import Watch
from pipelines.core.storage import Storage
from pipelines.core.timing import Stopwatch
from pipelines.dataset.shard_format import Encoded, ShardWriter, Sidecar, encode, read_sidecars
from pipelines.dataset.summary import DatasetSummary
from pipelines.execution import pool
from pipelines.execution.sandbox import Failure, working_on
from pipelines.execution.task import Task
from pipelines.prepare.output import ledger, timings
from pipelines.prepare.output.finalize import finish
from pipelines.prepare.output.ledger import LedgerRow
from pipelines.prepare.output.previews import MAX_DROPPED, contact_sheet, preview_name
from pipelines.prepare.output.summary import FRAMES_PER_HOUR, summarise, versions
from pipelines.prepare.planning.estimate import forecast
from pipelines.prepare.planning.plan import PLAN_FILE, Plan, Unit, Video, changed_setting, plan, without_tables
from pipelines.prepare.planning.probe import content_hash, probe_all, strip_path
from pipelines.prepare.quarantine import CrashTriage, TimeLimit
from pipelines.prepare.reasons import Reason
from pipelines.prepare.sources.discover import Inputs, find_inputs, placed
from pipelines.prepare.steps.active_speaker import Speaker, speakers
from pipelines.prepare.steps.clips import Clip, find_clips, scan_video
from pipelines.prepare.steps.filters import Scores, judge
from pipelines.prepare.steps.samples import (
    crop_buffer,
    cut_wave,
    level_db,
    rounded,
    to_features,
    to_sample,
    with_voiced_share,
)
from pipelines.prepare.steps.sync_network import (
    SyncNetworkRef,
    find_sync_network,
    load_sync_network,
    locate,
    pin_weights,
)

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

    row: LedgerRow
    encoded: Encoded | None = None
    preview: Encoded | None = None  # of a dropped clip: a picture for the report


@dataclass(frozen=True, kw_only=True)
class VideoError:
    """Why a video could not be looked at, or not to its end."""

    reason: Reason
    message: str


# ----------------------------------------------------------------------------- one unit → one shard
def build_shard(
    unit: Unit,
    config: PrepareConfig,
    source: Storage,
    out: Storage,
    quarantined: Mapping[str, Failure] | None = None,
    limit: TimeLimit | None = None,
    sync_judge: SyncNetworkRef | None = None,
) -> ShardReport:
    """Do all the steps for a unit's videos and publish its shard.

    Args:
        unit: of the plan.
        config: prepare/.
        source: where the videos are.
        out: the dataset.
        quarantined: videos, by content hash, that kill or stall their worker; they get a row and no
            look.
        limit: of the time for one video, where somebody watches over this process.
        sync_judge: of sound and lips, where a network is to be asked.

    Raises:
        CheckpointError: if the judge's weights are not on this machine.
    """
    if sync_judge:
        load_sync_network(sync_judge)  # without it no video can be judged: not a matter of one of them
    limit = limit or TimeLimit()
    rows: list[LedgerRow] = []
    kept: Counter[str] = Counter()  # previews, by reason
    clocks: dict[str, Stopwatch] = defaultdict(Stopwatch)  # by content hash
    with ShardWriter(out, unit.shard) as shard, ShardWriter(out, preview_name(unit.shard)) as previews:
        for video in unit.videos:
            clips, trouble = [], None
            with working_on(video.sha256, limit_s=limit.of(video)):
                for outcome in outcomes(
                    video, unit, config, source, (quarantined or {}).get(video.sha256), clocks[video.sha256], sync_judge
                ):
                    if isinstance(outcome, VideoError):
                        trouble = outcome
                        continue
                    clips.append(outcome.row)
                    if outcome.encoded:
                        shard.add(
                            outcome.encoded, frames=outcome.row.stop - outcome.row.start, identity=outcome.row.identity
                        )
                    if outcome.preview and kept[outcome.row.reason] < MAX_DROPPED:
                        kept[outcome.row.reason] += 1
                        previews.add(
                            outcome.preview, frames=outcome.row.stop - outcome.row.start, identity=outcome.row.identity
                        )
            rows += [make_video_row(video, unit, clips, trouble), *clips]
    timings.write(out, unit.shard, {sha256: clock.seconds for sha256, clock in clocks.items()})
    return report_of(shard.finish(split=unit.split, unit=unit.id, plan=unit.plan, ledger=[row.flat() for row in rows]))


def retry_video_alone(
    suspect: tuple[Unit, Video],
    config: PrepareConfig,
    source: Storage,
    limit: TimeLimit,
    sync_judge: SyncNetworkRef | None = None,
) -> None:
    """Do what `build_shard` does with one video, and publish nothing: does it take the process
    down, alone and again?
    """
    unit, video = suspect
    with working_on(video.sha256, limit_s=limit.of(video)):
        for _ in outcomes(video, unit, config, source, None, sync_judge=sync_judge):
            pass


def outcomes(
    video: Video,
    unit: Unit,
    config: PrepareConfig,
    source: Storage,
    poison: Failure | None,
    clock: Stopwatch | None = None,
    sync_judge: SyncNetworkRef | None = None,
) -> Iterator[Outcome | VideoError]:
    """What becomes of each candidate clip of a video, in the order of keys.

    Trouble with the video is a value, not an exception.
    """
    clock = clock or Stopwatch()
    if video.reason:  # forgotten since the plan was made
        yield VideoError(reason=Reason(video.reason), message=video.error_message)
        return
    if poison:
        yield VideoError(reason=Reason(poison.reason), message=poison.message)
        return
    path = Path(video.file)
    try:
        store, name = placed(video.file, source)
        path = Path(store.path(name))
        with store.local_copy(name) as local:
            path = local
            if content_hash(path) != (video.sha256, video.size):
                yield VideoError(reason=Reason.CHANGED, message="other content than when the plan was made")
                return
            yield from outcomes_of_file(path, video, unit, config, clock, sync_judge)
    except MediaError as error:
        yield VideoError(reason=Reason(error.reason), message=strip_path(error.message, path, video.file))
    except (InputError, OSError) as error:
        media.raise_if_full(error)
        yield VideoError(reason=Reason.UNREADABLE, message=strip_path(str(error), path, video.file))
    except MemoryError:
        yield VideoError(reason=Reason.OUT_OF_MEMORY, message="it needs more memory than a worker may have")
    except FailedError:
        raise
    # one odd video of a million must not end the run: it is counted, and logged with its traceback
    except Exception as error:
        logger.warning("%s", video.file, exc_info=error)
        yield VideoError(reason=Reason.INTERNAL_ERROR, message=f"{type(error).__name__}: {error}")


def outcomes_of_file(
    path: Path,
    video: Video,
    unit: Unit,
    config: PrepareConfig,
    clock: Stopwatch,
    sync_judge: SyncNetworkRef | None = None,
) -> Iterator[Outcome | VideoError]:
    """The steps, in the order of the data. Raises what the decoder raises."""
    with ExitStack() as stack:
        with clock("open"):
            opened = stack.enter_context(media.open_video(path))
            wave, span = opened.speech(), video.within(opened.frames)
            level = level_db(cut_wave(wave, span))
        if level < config.filters.min_speech_db:
            yield VideoError(reason=Reason.SILENT, message=f"mean level {level:.0f} dB")
            return
        with clock("cut"):
            clips = find_clips(scan_video(opened, config.clips, span), video.sha256, config.clips)
            known = stack.enter_context(speakers(opened, clips, wave, config.clips))
        for clip in clips:
            media.give_back(wave)  # a long sound would stay in memory piece by piece
            yield outcome_of(clip, video, unit, config, opened, wave, known.pop(clip.key, None), clock, sync_judge)


def outcome_of(
    clip: Clip,
    video: Video,
    unit: Unit,
    config: PrepareConfig,
    opened: media.VideoReader,
    wave: Any,
    speaker: Speaker | None,
    clock: Stopwatch,
    sync_judge: SyncNetworkRef | None = None,
) -> Outcome:
    """Measure a candidate, judge it, and encode it if it is accepted."""
    row = partial(
        ledger.clip_row,
        video,
        unit=unit,
        key=clip.key,
        span=clip.span,
        crop=f"{clip.square.x},{clip.square.y},{clip.square.side}",
    )
    if len(clip.span) < config.clips.min_frames:
        message = f"{len(clip.span)} frames, at least {config.clips.min_frames}"
        scores = rounded(Scores(face_px=clip.face_px, faces=clip.faces))
        return Outcome(
            row=row(scores=scores, reason=judge(scores, config.filters) or Reason.TOO_SHORT, error_message=message)
        )
    with clock("features"):
        features = to_features(
            opened, clip, wave, speaker, config.features, sync_judge, room=crop_buffer(len(clip.span))
        )
    reason = judge(features.scores, config.filters) if features.scores.face_share else Reason.FACE_LOST
    if reason:
        picture = contact_sheet(features.frames, features.pose, features.landmarks, kind=".jpg")
        return Outcome(
            row=row(scores=features.scores, reason=reason), preview=Encoded(key=clip.key, members={"jpg": picture})
        )
    with clock("speech"):
        speech = speech_features(features.wave, frames=len(features.frames), f0=config.features.f0)
    scores = with_voiced_share(features.scores, speech)
    with clock("encode"):
        encoded = encode(to_sample(clip, features, speech, provenance(clip, video, unit, config, scores)))
    return Outcome(row=row(scores=scores, reason=None), encoded=encoded)


def provenance(clip: Clip, video: Video, unit: Unit, config: PrepareConfig, scores: Scores) -> dict[str, Any]:
    """The `json` member of a sample: who, from where, how good, and made by what."""
    return {
        "identity": ledger.printable(video.identity),
        "video": video.video_id,
        "utterance": video.utterance,
        "source": {
            "file": ledger.printable(video.file),
            "sha256": video.sha256,
            "fps": video.fps,
            "size": [video.width, video.height],
        },
        "span": [clip.span.start, clip.span.stop],
        "crop": asdict(clip.square),
        "scores": asdict(scores),
        "licence": video.licence,
        "consent": video.consent,
        "extra": json.loads(video.extra or "{}"),
        "parents": {"plan": unit.plan, "unit": unit.id, "config": config_hash(without_tables(config))},
        "schema_version": SCHEMA_VERSION,
        "versions": versions(),
    }


def make_video_row(video: Video, unit: Unit, clips: Sequence[LedgerRow], trouble: VideoError | None) -> LedgerRow:
    """The row of a video, from its clips and what went wrong."""
    reason = ledger.outcome(clips)
    if reason and trouble:
        reason = trouble.reason
    return ledger.video_row(video, unit=unit, reason=reason, error_message=trouble.message if trouble else "")


def report_of(sidecar: Sidecar) -> ShardReport:
    counts = Counter(row["reason"] or row["status"] for row in sidecar.ledger if row["kind"] == ledger.CLIP)
    return ShardReport(shard=sidecar.shard, sha256=sidecar.sha256, counts=dict(counts))


# -------------------------------------------------------------------------------- all of it
def prepare(
    command: PrepareCommand, watch: Watch | None = None, fetch: Callable[[str], Path] = locate
) -> DatasetSummary:
    """Raw videos → a dataset. A run that was interrupted goes on where it stopped. `watch` is told
    how far the shards are.

    Raises:
        InputError: if there are no videos, or the folder holds a dataset of another plan.
        ClusterError: if a unit fails as a whole although each of its videos works alone.
        FailedError: if the output cannot be written.
        CheckpointError, RegistryError: if the network that judges sound and lips is not there, or
            is none.
    """
    inputs, sync_judge = find_inputs(command), find_sync_network(command.prepare, fetch)
    command = replace(command, prepare=pin_weights(command.prepare, sync_judge))
    out = Storage(command.out)
    with pool.session(command.cluster, cache=Path(command.paths.cache)):
        planned = make_plan(inputs, command)
        if command.dry_run:
            rows = [
                ledger.video_row(v, unit=None, reason=Reason(v.reason) if v.reason else None).flat()
                for v in planned.videos
            ]
            build = partial(build_sample, config=command.prepare, source=inputs.source, sync_judge=sync_judge)
            said = forecast(planned, build, command.cluster)
            return replace(summarise(command.out, planned, ledger.table(rows), fingerprint=""), forecast=said)
        planned = publish_plan(out, planned)
        build_units(planned, inputs.source, out, command, watch, sync_judge)
    return finish(out, planned, price_per_worker_hour=command.cluster.price_per_worker_hour)


def make_plan(inputs: Inputs, command: PrepareCommand) -> Plan:
    """Probe the videos on the cluster, and plan."""
    return plan(probe_all(inputs, command), command.prepare)


def build_sample(
    unit: Unit, out: Storage, config: PrepareConfig, source: Storage, sync_judge: SyncNetworkRef | None = None
) -> None:
    """`build_shard` with its arguments in the order that the estimate knows."""
    build_shard(unit, config, source, out, sync_judge=sync_judge)


def publish_plan(out: Storage, planned: Plan) -> Plan:
    """Publish the plan, or see that it is the one that is already there, and take that: it knows
    what was forgotten since.

    Raises:
        InputError: if the folder holds something else.
    """
    if out.exists(PLAN_FILE):
        found = Plan.from_bytes(out.read(PLAN_FILE), name=f"{out.url}/{PLAN_FILE}")
        if found.hash == planned.hash:
            return found
        raise InputError(
            f"{out.url} holds a dataset of plan {found.hash}, and these videos and settings make plan {planned.hash}"
            f"{changed_setting(found.config, planned.config)}",
            hint="choose another folder with out=…: only the same videos with the same settings go on where they stopped; "
            "`a2h forget` takes people out of a dataset that exists",
        )
    if rests := out.names("a2h-*.json"):
        raise InputError(f"{out.url} holds {rests[0]} but no {PLAN_FILE}", hint="choose an empty folder with out=…")
    out.publish(PLAN_FILE, planned.to_bytes())
    return planned


def build_units(
    planned: Plan,
    source: Storage,
    out: Storage,
    command: PrepareCommand,
    watch: Watch | None = None,
    sync_judge: SyncNetworkRef | None = None,
) -> None:
    """Build every unit that has no shard yet. A video that takes its worker down is left out, and
    the rest of its unit built.

    When this ends, also by Ctrl-C, nothing half-written is left: one run at a time writes to a
    dataset.

    Raises:
        ClusterError: if a unit cannot be built and no video of it is to blame; all others are built
            by then.
    """
    done = {
        sidecar.unit for sidecar in read_sidecars(out) if sidecar.plan == planned.hash and out.exists(sidecar.shard)
    }
    limit = TimeLimit(command.cluster.video_timeout_s, command.cluster.video_timeout_factor)
    told: dict[str, Any] = {"config": command.prepare, "source": source, "limit": limit, "sync_judge": sync_judge}
    trial = CrashTriage(command.cluster, partial(retry_video_alone, **told))
    units = [unit for unit in planned.units if unit.id not in done]
    try:
        while units:
            build = partial(build_shard, **told, out=out, quarantined=trial.guilty)
            task = Task(
                function=build,
                describe="building shards",
                key=_shard,
                tally=lambda report: report.counts,
                hours=lambda unit: unit.frames / FRAMES_PER_HOUR,
                isolated=True,
                retries=0,
            )
            built = pool.run(task, units, command.cluster, watch=watch)
            broken = [(unit, outcome) for unit, outcome in built if isinstance(outcome, Failure)]
            trial.judge(broken)
            units = [unit for unit, _ in broken]
    finally:
        out.remove_parts()


def _shard(unit: Unit) -> str:
    return unit.shard
