"""One video as the page wants it: told about while it is drawn, measured when it is done."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from a2h_models.metrics.av_sync import Match
from a2h_models.timebase import SAMPLE_RATE
from pipelines.app import av_sync
from pipelines.app.background import follow
from pipelines.app.catalog import ModelCatalog
from pipelines.config import GenerateCommand
from pipelines.inference import FrameChunks, frames_of
from pipelines.inference.generation import FRAMES, check_format, load, origin_of, target_of, write

TELL_EVERY_S = 0.3  # of progress and preview


@dataclass(frozen=True)
class JobProgress:
    """How far it is."""

    done: int  # frames
    total: int
    seconds: float  # since the first word
    frame: UInt8[np.ndarray, "h w 3"] | None = None  # the newest


@dataclass(frozen=True)
class JobResult:
    """A video that is done."""

    file: Path  # a folder of frames comes as a zip
    model: str
    frames: int
    seconds: float  # that it took, without loading the model
    real_time_factor: float  # those / the speech's
    match: Match | None  # of mouth and speech


def talk(shelf: ModelCatalog, order: GenerateCommand) -> Iterator[JobProgress | JobResult]:
    """Make one video.

    Raises:
        InputError: if portrait, speech or poses cannot be used.
        MediaError: if there is no sound in the speech's file, or it cannot be decoded.
        RegistryError: if the model cannot be fetched any more.
    """
    return follow(lambda say: _make(shelf, order, say))


def _make(shelf: ModelCatalog, order: GenerateCommand, say: Callable[[JobProgress | JobResult], None]) -> None:
    check_format(order.generate.format)
    animator, model = shelf.take(order.model)
    begun = time.monotonic()
    portrait, wave = load(order)
    sight, target = av_sync.Sight(portrait), target_of(order)

    def told(batches: FrameChunks) -> FrameChunks:
        return _told(batches, frames_of(wave), begun, sight, say)

    write(target, portrait, wave, animator, origin_of(order, model), order, told)
    took = time.monotonic() - begun
    file = _zipped(target) if order.generate.format == FRAMES else target
    factor = took * SAMPLE_RATE / len(wave)
    say(JobResult(file, model, frames_of(wave), took, factor, av_sync.match(sight.crops, wave)))


def _told(
    batches: FrameChunks, total: int, begun: float, sight: av_sync.Sight, say: Callable[[JobProgress | JobResult], None]
) -> FrameChunks:
    """The same batches; of the first, the last and some between is spoken."""
    done, last = 0, -TELL_EVERY_S
    say(JobProgress(0, total, time.monotonic() - begun))
    for batch in batches:
        sight.see(batch)
        done += len(batch)
        now = time.monotonic() - begun
        if now - last >= TELL_EVERY_S or done >= total:
            say(JobProgress(done, total, now, batch[-1]))
            last = now
        yield batch


def _zipped(folder: Path) -> Path:
    return Path(shutil.make_archive(str(folder), "zip", folder))
