"""Handle the page's requests: control values in; progress, a video or an error out."""

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
from pipelines.app.av_sync import sync_text
from pipelines.app.catalog import ModelCatalog
from pipelines.app.job import JobProgress, JobResult, run_job
from pipelines.app.session_files import SessionFiles
from pipelines.config import AppCommand, GenerateCommand

PREVIEW_PX = 512  # longest side of a preview
PREVIEW_QUALITY = 80  # of JPEG
BY_MODEL, BY_FILE, STILL = "model", "file", "still"  # sources of the head's motion
PERCENT = 100


@dataclass(frozen=True)
class GenerationRequest:
    """The values of the page's controls, in their order."""

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
        """The files that the request names."""
        return [Path(file) for file in (self.portrait, self.speech, self.pose_file) if file]


@dataclass(frozen=True)
class PageUpdate:
    """New contents of the page's output column."""

    status_html: str
    file: Path | None = None  # the video; None: no video is shown


class RequestHandler:
    """Generates the videos that sessions ask for.

    Args:
        command: gives the settings that the page does not offer.
        catalog: the models to choose from.
        files: where uploads and videos of a session are kept.
    """

    def __init__(self, command: AppCommand, catalog: ModelCatalog, files: SessionFiles) -> None:
        self.catalog = catalog
        self.files = files
        self._settings = replace(command.generate, max_speech_s=command.max_speech_s)
        self._command = command

    def handle(self, request: GenerationRequest, session: str) -> Iterator[PageUpdate]:
        """Yield progress, then the video.

        Raises:
            A2HError: if something cannot be used.
        """
        self.files.keep(session, *request.uploads)
        try:
            for event in run_job(self.catalog, self._generate_command(request, self.files.folder_for(session))):
                if isinstance(event, JobProgress):
                    yield PageUpdate(progress_html(event))
                else:
                    yield PageUpdate(result_html(event), event.file)
        except OSError as error:
            raise InputError(f"a file is not here any more ({error.strerror})", hint="upload it again") from error

    def _generate_command(self, request: GenerationRequest, folder: Path) -> GenerateCommand:
        for name, file in (("portrait", request.portrait), ("speech", request.speech)):
            if file is None:
                raise InputError(f"the {name} is missing", hint="upload or record it first")
        if request.pose == BY_FILE and request.pose_file is None:
            raise InputError(
                "the video or file to take the head's motion from is missing",
                hint="upload it, or choose another motion",
            )
        settings = replace(
            self._settings,
            preprocess=request.preprocess,
            face=int(request.face or 0),
            keypoints=request.keypoints,
            still=request.pose == STILL,
            pose_scale=request.pose_scale,
            idle_motion=request.idle_motion,
            seed=int(request.seed or 0),
            format=request.format,
            mark=request.mark,
        )
        return GenerateCommand(
            source_image=str(request.portrait),
            driven_audio=str(request.speech),
            ref_pose=str(request.pose_file) if request.pose == BY_FILE else "",
            result_dir=str(folder),
            model=request.model,
            generate=settings,
            logger=self._command.logger,
        )


def error_html(error: A2HError, uploads: Sequence[str | Path]) -> str:
    """Format message and hint of an error as HTML.

    Uploads appear under the names that the user gave them, keys as `a2h app` names them.
    """
    message = error.message
    for upload in uploads:
        message = message.replace(str(upload), Path(upload).name)
    hint = error.hint.replace("generate.max_speech_s", "max_speech_s")
    return "<br>".join(html.escape(line, quote=False) for line in (message, hint) if line)


def refusal_html(message: str) -> str:
    """Format an error message for the place of the video; Gradio's own pop-up is in a corner."""
    return f'<div class="a2h-error">{message}</div>'


def progress_html(progress: JobProgress) -> str:
    """Format a progress bar, a line with speed and remaining time, and the newest frame."""
    percent = PERCENT * progress.done // max(1, progress.total)
    line = f"Frame {progress.done} of {progress.total}"
    if progress.seconds and progress.done:
        speed = progress.done / progress.seconds
        line += f" · {speed:.1f} frames/s, {(progress.total - progress.done) / speed:.0f} s left"
    else:
        line += " · reading portrait and speech"
    preview = ""
    if progress.frame is not None:
        preview = f'<img class="a2h-preview" alt="the newest frame" src="{image_data_url(progress.frame)}">'
    bar = f'<progress max="{PERCENT}" value="{percent}"></progress>'
    return f'<div class="a2h-progress">{bar}<p>{line}</p>{preview}</div>'


def result_html(result: JobResult) -> str:
    """Format the measurements of a finished video as a list."""
    rows = {
        "generated in": f"{result.seconds:.1f} s ({result.frames / result.seconds:.1f} frames/s)",
        "real-time factor": f"{result.real_time_factor:.2f} (seconds of work for a second of speech)",
        "mouth and speech": sync_text(result.sync),
        "model": result.model,
    }
    lines = "".join(f"<dt>{name}</dt><dd>{html.escape(value)}</dd>" for name, value in rows.items())
    return f'<dl class="a2h-report">{lines}</dl>'


def image_data_url(picture: UInt8[np.ndarray, "h w 3"]) -> str:
    """Encode a picture as a data: URL, so that no file is left behind or requested."""
    from PIL import Image

    thumbnail = Image.fromarray(picture)
    thumbnail.thumbnail((PREVIEW_PX, PREVIEW_PX))
    encoded = io.BytesIO()
    thumbnail.save(encoded, "JPEG", quality=PREVIEW_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(encoded.getvalue()).decode()}"
