"""Generate one video for the page: with progress, and measured when it is done."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from a2h_models.metrics.av_sync import Match
from a2h_models.timebase import SAMPLE_RATE
from pipelines.app.av_sync import FaceCrops, measure_sync
from pipelines.app.catalog import ModelCatalog
from pipelines.config import GenerateCommand
from pipelines.core.threads import items_from_thread
from pipelines.inference import FrameChunks
from pipelines.inference.generation import FRAMES, load_inputs, output_path, validate_format, write_output

REPORT_EVERY_S = 0.3  # seconds between two progress messages


@dataclass(frozen=True)
class JobProgress:
    """How many frames are done."""

    done: int  # frames
    total: int
    seconds: float  # since the job started
    frame: UInt8[np.ndarray, "h w 3"] | None = None  # the newest


@dataclass(frozen=True)
class JobResult:
    """A finished video."""

    file: Path  # a folder of frames is returned as a zip archive
    model: str
    frames: int
    seconds: float  # of work, without loading the model
    real_time_factor: float  # seconds of work / seconds of speech
    sync: Match | None  # agreement of mouth and speech; None: not measured


Send = Callable[[JobProgress | JobResult], None]


def run_job(catalog: ModelCatalog, command: GenerateCommand) -> Iterator[JobProgress | JobResult]:
    """Generate one video; yield its progress, then its result.

    Raises:
        InputError: if portrait, recording or poses cannot be used.
        MediaError: if the recording holds no sound, or cannot be decoded.
        RegistryError: if the model cannot be fetched any more.
    """
    return items_from_thread(lambda send: _generate(catalog, command, send))


def _generate(catalog: ModelCatalog, command: GenerateCommand, send: Send) -> None:
    validate_format(command.generate.format)
    model = catalog.get(command.model)
    started = time.monotonic()
    inputs = load_inputs(command)
    tracker = _ProgressTracker(inputs.frames, started, FaceCrops(inputs.portrait), send)
    write_output(command, inputs, model, tracker.track)
    seconds = time.monotonic() - started
    target = output_path(command)
    send(
        JobResult(
            file=_zip_folder(target) if command.generate.format == FRAMES else target,
            model=model.name,
            frames=inputs.frames,
            seconds=seconds,
            real_time_factor=seconds * SAMPLE_RATE / len(inputs.wave),
            sync=measure_sync(tracker.face_crops.crops, inputs.wave),
        )
    )


@dataclass
class _ProgressTracker:
    """Passes frames on, keeps the first ones for measuring, and reports progress."""

    total: int
    started: float
    face_crops: FaceCrops
    send: Send
    done: int = field(default=0, init=False)

    def track(self, batches: FrameChunks) -> FrameChunks:
        """Yield the batches; report the start, the end, and every REPORT_EVERY_S between."""
        reported = -REPORT_EVERY_S
        self.send(JobProgress(0, self.total, time.monotonic() - self.started))
        for batch in batches:
            self.face_crops.add(batch)
            self.done += len(batch)
            seconds = time.monotonic() - self.started
            if seconds - reported >= REPORT_EVERY_S or self.done >= self.total:
                self.send(JobProgress(self.done, self.total, seconds, batch[-1]))
                reported = seconds
            yield batch


def _zip_folder(folder: Path) -> Path:
    return Path(shutil.make_archive(str(folder), "zip", folder))
