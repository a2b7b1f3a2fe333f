"""The graph of steps: one unit → one shard, and around it plan → units → ledger, fingerprint, data
card, report.

`build_shard` is a plain function: in a loop, on Ray, and in a run that was killed and resumed it
writes the same bytes.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from a2h_models.errors import FailedError, InputError, MediaError
from pipelines import media
from pipelines.config import ClusterConfig, PrepareCommand
from pipelines.core.progress import Watch
from pipelines.core.storage import Storage
from pipelines.core.timing import Stopwatch
from pipelines.dataset.shard_format import ShardWriter, Sidecar, read_sidecars
from pipelines.dataset.summary import DatasetSummary
from pipelines.execution import pool
from pipelines.execution.sandbox import Failure, working_on
from pipelines.execution.task import Task
from pipelines.prepare.output import ledger, timings
from pipelines.prepare.output.finalize import finish
from pipelines.prepare.output.ledger import LedgerRow
from pipelines.prepare.output.previews import MAX_DROPPED, preview_name
from pipelines.prepare.output.summary import FRAMES_PER_HOUR, summarise
from pipelines.prepare.planning.estimate import forecast
from pipelines.prepare.planning.plan import PLAN_FILE, Plan, Unit, Video, changed_setting, plan
from pipelines.prepare.planning.probe import content_hash, probe_all, strip_path
from pipelines.prepare.quarantine import CrashTriage, TimeLimit
from pipelines.prepare.reasons import Reason
from pipelines.prepare.sources.discover import Inputs, find_inputs, placed
from pipelines.prepare.steps.order import CLIP_STEPS, STEPS, VIDEO_STEPS
from pipelines.prepare.steps.state import ClipState, PrepareContext, VideoState
from pipelines.prepare.steps.sync_network import (
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
class VideoError:
    """Why a video could not be looked at, or not to its end."""

    reason: Reason
    message: str


# ----------------------------------------------------------------------------- one unit → one shard
def build_shard(unit: Unit, context: PrepareContext) -> ShardReport:
    """Run all steps for a unit's videos, and publish its shard.

    Raises:
        CheckpointError: if the sync network's weights are not on this machine.
    """
    if context.sync_network:
        load_sync_network(context.sync_network)  # without it no video can be judged: not a matter of one of them
    rows: list[LedgerRow] = []
    kept: Counter[str] = Counter()  # previews, by reason
    clocks: dict[str, Stopwatch] = defaultdict(Stopwatch)  # by content hash
    with ShardWriter(context.out, unit.shard) as shard, ShardWriter(context.out, preview_name(unit.shard)) as previews:
        for video in unit.videos:
            clips, trouble = [], None
            with working_on(video.sha256, limit_s=context.limit.of(video)):
                for outcome in run_steps(video, unit, context, clocks[video.sha256]):
                    if isinstance(outcome, VideoError):
                        trouble = outcome
                        continue
                    row = make_clip_row(outcome)
                    clips.append(row)
                    if outcome.encoded:
                        shard.add(outcome.encoded, frames=row.stop - row.start, identity=row.identity)
                    if outcome.preview and kept[row.reason] < MAX_DROPPED:
                        kept[row.reason] += 1
                        previews.add(outcome.preview, frames=row.stop - row.start, identity=row.identity)
            rows += [make_video_row(video, unit, clips, trouble), *clips]
    timings.write(context.out, unit.shard, {sha256: clock.seconds for sha256, clock in clocks.items()})
    return report_of(shard.finish(split=unit.split, unit=unit.id, plan=unit.plan, ledger=[row.flat() for row in rows]))


def retry_video_alone(suspect: tuple[Unit, Video], context: PrepareContext) -> None:
    """Run the steps for one video and publish nothing, to see whether it ends the process again."""
    unit, video = suspect
    with working_on(video.sha256, limit_s=context.limit.of(video)):
        for _ in run_steps(video, unit, replace(context, quarantined={})):
            pass


def run_steps(
    video: Video, unit: Unit, context: PrepareContext, clock: Stopwatch | None = None
) -> Iterator[ClipState | VideoError]:
    """Yield each candidate clip of a video after its steps, in the order of keys.

    What goes wrong with the video is a value, not an exception.
    """
    clock = clock or Stopwatch()
    if video.reason:  # removed since the plan was made
        yield VideoError(reason=Reason(video.reason), message=video.error_message)
        return
    if failure := context.quarantined.get(video.sha256):
        yield VideoError(reason=Reason(failure.reason), message=failure.message)
        return
    path = Path(video.file)
    try:
        store, name = placed(video.file, context.source)
        path = Path(store.path(name))
        with store.local_copy(name) as local:
            path = local
            if content_hash(path) != (video.sha256, video.size):
                yield VideoError(reason=Reason.CHANGED, message="other content than when the plan was made")
                return
            with ExitStack() as stack:
                state = VideoState(video=video, unit=unit, path=path, stack=stack, clock=clock)
                yield from run_steps_on_file(state, context)
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


def run_steps_on_file(state: VideoState, context: PrepareContext) -> Iterator[ClipState | VideoError]:
    """Run the steps in the order of the list. Raises what the decoder raises."""
    for video_step in VIDEO_STEPS:
        with state.clock(video_step.name):
            video_step.run(state, context)
        if state.reason:
            yield VideoError(reason=state.reason, message=state.message)
            return
    for clip in state.clips:
        media.give_back(state.wave)  # a long sound would stay in memory piece by piece
        clip_state = ClipState(clip=clip, source=state, speaker=state.speakers.pop(clip.key, None))
        for clip_step in CLIP_STEPS:
            if clip_state.reason is None:
                with state.clock(clip_step.name):
                    clip_step.run(clip_state, context)
        yield clip_state


def describe_steps() -> list[dict[str, str]]:
    """Describe each step in a row: the documentation's table is made of them."""
    return [
        {
            "step": step.name,
            "what": step.label,
            "settings": ", ".join(f"prepare.{key}" for key in step.settings),
            "scores": ", ".join(f"{score.name} ({score.unit or score.title})" for score in step.scores()),
            "limits": ", ".join(
                f"prepare.filters.{score.at_least or score.at_most} → {score.reason}"
                for score in step.scores()
                if score.reason
            ),
        }
        for step in STEPS
    ]


def make_clip_row(state: ClipState) -> LedgerRow:
    """Make the ledger's row of a clip."""
    square = state.clip.square
    return ledger.clip_row(
        state.source.video,
        unit=state.source.unit,
        key=state.clip.key,
        span=state.clip.span,
        crop=f"{square.x},{square.y},{square.side}",
        scores=state.scores,
        reason=state.reason,
        error_message=state.message,
    )


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
    inputs, sync_network = find_inputs(command), find_sync_network(command.prepare, fetch)
    command = replace(command, prepare=pin_weights(command.prepare, sync_network))
    out = Storage(command.out)
    with pool.session(command.cluster, cache=Path(command.paths.cache)):
        planned = make_plan(inputs, command)
        if command.dry_run:
            rows = [
                ledger.video_row(v, unit=None, reason=Reason(v.reason) if v.reason else None).flat()
                for v in planned.videos
            ]
            sample = PrepareContext(config=command.prepare, source=inputs.source, out=out, sync_network=sync_network)
            build = partial(build_sample, context=sample)
            said = forecast(planned, build, command.cluster)
            return replace(summarise(command.out, planned, ledger.table(rows), fingerprint=""), forecast=said)
        planned = publish_plan(out, planned)
        context = PrepareContext(
            config=command.prepare,
            source=inputs.source,
            out=out,
            limit=TimeLimit(command.cluster.video_timeout_s, command.cluster.video_timeout_factor),
            sync_network=sync_network,
        )
        build_units(planned, context, command.cluster, watch)
    return finish(out, planned, price_per_worker_hour=command.cluster.price_per_worker_hour)


def make_plan(inputs: Inputs, command: PrepareCommand) -> Plan:
    """Probe the videos on the cluster, and plan."""
    return plan(probe_all(inputs, command), command.prepare)


def build_sample(unit: Unit, out: Storage, context: PrepareContext) -> None:
    """`build_shard` into another folder, as the estimate calls it."""
    build_shard(unit, replace(context, out=out))


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


def build_units(planned: Plan, context: PrepareContext, cluster: ClusterConfig, watch: Watch | None = None) -> None:
    """Build every unit that has no shard yet. A video that takes its worker down is left out, and
    the rest of its unit built.

    When this ends, also by Ctrl-C, nothing half-written is left: one run at a time writes to a
    dataset.

    Raises:
        ClusterError: if a unit cannot be built and no video of it is to blame; all others are built
            by then.
    """
    done = {
        sidecar.unit
        for sidecar in read_sidecars(context.out)
        if sidecar.plan == planned.hash and context.out.exists(sidecar.shard)
    }
    trial = CrashTriage(cluster, partial(retry_video_alone, context=context))
    units = [unit for unit in planned.units if unit.id not in done]
    try:
        while units:
            build = partial(build_shard, context=replace(context, quarantined=trial.guilty))
            task = Task(
                function=build,
                describe="building shards",
                key=_shard,
                tally=lambda report: report.counts,
                hours=lambda unit: unit.frames / FRAMES_PER_HOUR,
                isolated=True,
                retries=0,
            )
            built = pool.run(task, units, cluster, watch=watch)
            broken = [(unit, outcome) for unit, outcome in built if isinstance(outcome, Failure)]
            trial.judge(broken)
            units = [unit for unit, _ in broken]
    finally:
        context.out.remove_parts()


def _shard(unit: Unit) -> str:
    return unit.shard
