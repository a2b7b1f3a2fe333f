"""What the page's buttons do: values of its controls → a video while it is drawn, or a sentence
that says what was wrong.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from a2h_models.errors import A2HError, InputError
from pipelines.app import av_sync
from pipelines.app.catalog import ModelCatalog
from pipelines.app.job import JobProgress, JobResult, talk
from pipelines.app.session_files import SessionFiles
from pipelines.config import AppCommand, GenerateCommand

PREVIEW_PX = 512  # at most, a side
PREVIEW_QUALITY = 80  # of JPEG
BY_MODEL, BY_FILE, STILL = "model", "file", "still"  # where the head's motion comes from
PERCENT = 100


@dataclass(frozen=True)
class GenerationRequest:
    """What a visitor asks for: the values of the page's controls, in their order."""

    portrait: str | None
    speech: str | None
    model: str
    preprocess: str
    face: int
    keypoints: str
    pose: str
    pose_file: str | None
    pose_scale: float
    idle_motion: float
    seed: int
    format: str
    mark: bool

    @property
    def uploads(self) -> list[Path]:
        return [Path(file) for file in (self.portrait, self.speech, self.pose_file) if file]


@dataclass(frozen=True)
class Answer:
    """What stands on the page from now on; None: nothing there."""

    told: str  # HTML
    file: Path | None = None


class RequestHandler:
    """Takes wishes and answers them, one after the other for each visitor."""

    def __init__(self, command: AppCommand, shelf: ModelCatalog, visits: SessionFiles) -> None:
        self.shelf = shelf
        self.visits = visits
        self._settings = replace(command.generate, max_speech_s=command.max_speech_s)
        self._command = command

    def answer(self, wish: GenerationRequest, visitor: str) -> Iterator[Answer]:
        """How it goes, then the video.

        Raises:
            A2HError: with names and words of the page, if something cannot be used.
        """
        self.visits.hold(visitor, *wish.uploads)
        try:
            for step in talk(self.shelf, self._order(wish, self.visits.room(visitor))):
                yield Answer(drawing(step)) if isinstance(step, JobProgress) else Answer(report(step), step.file)
        except OSError as error:
            raise InputError(f"a file is not here any more ({error.strerror})", hint="upload it again") from error

    def _order(self, wish: GenerationRequest, room: Path) -> GenerateCommand:
        for what, file in (("portrait", wish.portrait), ("speech", wish.speech)):
            if file is None:
                raise InputError(f"the {what} is missing", hint="upload or record it first")
        if wish.pose == BY_FILE and wish.pose_file is None:
            raise InputError(
                "the video or file to take the head's motion from is missing",
                hint="upload it, or choose another motion",
            )
        settings = replace(
            self._settings,
            preprocess=wish.preprocess,
            face=int(wish.face or 0),
            keypoints=wish.keypoints,
            still=wish.pose == STILL,
            pose_scale=wish.pose_scale,
            idle_motion=wish.idle_motion,
            seed=int(wish.seed or 0),
            format=wish.format,
            mark=wish.mark,
        )
        return GenerateCommand(
            source_image=str(wish.portrait),
            driven_audio=str(wish.speech),
            ref_pose=str(wish.pose_file) if wish.pose == BY_FILE else "",
            result_dir=str(room),
            model=wish.model,
            generate=settings,
            logger=self._command.logger,
        )


def explained(error: A2HError, uploads: Sequence[str | Path]) -> str:
    """Sentence and hint as HTML, which is how Gradio shows them.

    Uploads go by the visitor's own names, keys by this command's.
    """
    sentence = error.message
    for upload in uploads:
        sentence = sentence.replace(str(upload), Path(upload).name)
    hint = error.hint.replace("generate.max_speech_s", "max_speech_s")
    return "<br>".join(html.escape(line, quote=False) for line in (sentence, hint) if line)


def refused(told: str) -> str:
    """What was wrong, where the video would be; Gradio's own message stands in a corner."""
    return f'<div class="a2h-refused">{told}</div>'


def drawing(step: JobProgress) -> str:
    """A bar, a line and the newest frame."""
    share = PERCENT * step.done // max(1, step.total)
    speed = step.done / step.seconds if step.seconds and step.done else 0.0
    left = f", {(step.total - step.done) / speed:.0f} s left" if speed else ""
    line = f"Frame {step.done} of {step.total}" + (
        f" · {speed:.1f} frames/s{left}" if speed else " · reading portrait and speech"
    )
    picture = (
        f'<img class="a2h-preview" alt="the newest frame" src="{data_url(step.frame)}">'
        if step.frame is not None
        else ""
    )
    return f'<div class="a2h-drawing"><progress max="{PERCENT}" value="{share}"></progress><p>{line}</p>{picture}</div>'


def report(made: JobResult) -> str:
    """What is measured of a video, as a list."""
    rows = {
        "made in": f"{made.seconds:.1f} s ({made.frames / made.seconds:.1f} frames/s)",
        "real-time factor": f"{made.real_time_factor:.2f} (seconds of work for a second of speech)",
        "mouth and speech": av_sync.told(made.match),
        "model": made.model,
    }
    lines = "".join(f"<dt>{name}</dt><dd>{html.escape(value)}</dd>" for name, value in rows.items())
    return f'<dl class="a2h-report">{lines}</dl>'


def data_url(picture: UInt8[np.ndarray, "h w 3"]) -> str:
    """A picture within the page: no file is left behind, and none has to be asked for."""
    from PIL import Image

    small = Image.fromarray(picture)
    small.thumbnail((PREVIEW_PX, PREVIEW_PX))
    written = io.BytesIO()
    small.save(written, "JPEG", quality=PREVIEW_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(written.getvalue()).decode()}"
