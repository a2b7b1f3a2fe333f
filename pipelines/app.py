"""`a2h generate` as a page in the browser: portrait and speech in, video out, one at a time, nothing kept.

The only importer of Gradio. The page needs no host but this one.
"""

from __future__ import annotations

import hashlib
import html
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from a2h_models.errors import A2HError, ConfigError, InputError
from pipelines import media
from pipelines.config import AppCommand, GenerateCommand, GenerateConfig
from pipelines.generate import NOTICE, Frames, crop, frames_of, load_animator, load_speech, notice, render

if TYPE_CHECKING:
    import gradio as gr

    from a2h_models.animator import Animator

Report = Callable[[int, int], object]  # is told the frames that are done, and all of them

ENDPOINT = "talk"  # its name for programs that use the page through gradio_client
KEEP_S = 3600  # an upload or video is deleted at this age; all of them when the server ends
SWEEP_S = 60  # between two looks at the files' ages
MAX_WAITING = 16  # visitors; more are told to come back later
MAX_UPLOAD = "200mb"  # of one file
MAX_POSE_SCALE = 2.0
CLIENT_ERROR_S = None  # an error stays until it is closed: it says what to do


@contextmanager
def serving(command: AppCommand) -> Iterator[gr.Blocks]:
    """A running page; its address is `local_url`. Uploads and videos lie below `paths.cache` and are gone afterwards.

    Raises:
        RegistryError: if there is no such model, or its files were changed.
        ConfigError: if the port is taken.
    """
    animator, model = load_animator(GenerateCommand(model=command.model, logger=command.logger))
    config = replace(command.generate, max_speech_s=command.max_speech_s)
    with _folder_for_files(Path(command.paths.cache)) as folder:
        page = build(Talker(animator, model, folder), config)
        try:
            _launch(page, command)
            yield page
        finally:
            page.close(verbose=False)


@dataclass(frozen=True)
class Talker:
    """The model, loaded once, and the folder for what it makes."""

    animator: Animator
    model: str  # the version's own name
    folder: Path

    def talk(self, portrait: Path, speech: Path, config: GenerateConfig, report: Report) -> Path:
        """Like `a2h generate`, with the model at hand.

        Raises:
            InputError: if portrait or speech cannot be used.
            MediaError: if there is no sound in the speech's file, or it cannot be decoded.
        """
        picture = crop(media.load_portrait(portrait), name=portrait.name)
        wave = load_speech(speech, config)
        target = Path(tempfile.mkdtemp(dir=self.folder)) / f"{portrait.stem}__{speech.stem}.mp4"
        frames = _reported(render(self.animator, picture, wave, config), frames_of(wave), report)
        origin = notice(self.model, portrait=_digest(portrait), speech=_digest(speech))
        media.write_video(target, frames, wave, crf=config.crf, metadata=origin)
        return target


def _digest(upload: Path) -> str:
    return hashlib.sha256(upload.read_bytes()).hexdigest()  # MAX_UPLOAD bounds the memory


def _reported(batches: Frames, total: int, report: Report) -> Frames:
    done = 0
    report(done, total)
    for batch in batches:
        yield batch
        done += len(batch)
        report(done, total)


# ---------------------------------------------------------------------------------------------------------------- the page
def build(talker: Talker, config: GenerateConfig) -> gr.Blocks:
    """The page: what goes in on the left, the video on the right."""
    import gradio as gr

    with gr.Blocks(title="audio2head", analytics_enabled=False, delete_cache=(SWEEP_S, KEEP_S)) as page:
        gr.Markdown(f"# Make a portrait talk\nModel `{talker.model}`. Use it only for people who agreed.")
        with gr.Row():
            with gr.Column():
                # image_mode: the file as it was given; Gradio would write it anew, without its EXIF rotation and under another hash
                portrait = gr.Image(type="filepath", image_mode=None, sources=["upload", "webcam", "clipboard"], label="Portrait")
                speech = gr.Audio(
                    type="filepath", sources=["upload", "microphone"], label=f"Speech, at most {config.max_speech_s:g} s", buttons=[]
                )
                keypoints = gr.Radio(["relative", "absolute"], value=config.keypoints, label="Keypoints")
                still = gr.Checkbox(value=config.still, label="Still: keep the portrait's head pose")
                pose_scale = gr.Slider(0.0, MAX_POSE_SCALE, value=config.pose_scale, step=0.05, label="Scale of the head motion")
                button = gr.Button("Talk", variant="primary")
            with gr.Column():
                video = gr.Video(label="Video", interactive=False, buttons=["download"])
                gr.Markdown(NOTICE)
        button.click(
            _endpoint(talker, config),
            inputs=[portrait, speech, keypoints, still, pose_scale],
            outputs=video,
            api_name=ENDPOINT,
            concurrency_limit=1,
        )
    page.queue(max_size=MAX_WAITING)
    return page


def _endpoint(talker: Talker, config: GenerateConfig) -> Callable[..., str]:
    """What the button calls; Gradio finds the progress bar by its default value."""
    import gradio as gr

    def talk(
        portrait: str | None,
        speech: str | None,
        keypoints: str,
        still: bool,
        pose_scale: float,
        progress: gr.Progress = gr.Progress(),
    ) -> str:
        chosen = replace(config, keypoints=keypoints, still=still, pose_scale=pose_scale)
        try:
            if portrait is None or speech is None:
                raise InputError(f"the {'portrait' if portrait is None else 'speech'} is missing", hint="upload or record it first")
            return str(talker.talk(Path(portrait), Path(speech), chosen, lambda done, total: progress((done, total), unit="frames")))
        except A2HError as error:
            told = explained(error, [name for name in (portrait, speech) if name])
            raise gr.Error(told, title="This did not work", duration=CLIENT_ERROR_S, print_exception=False) from error

    return talk


def explained(error: A2HError, uploads: list[str]) -> str:
    """Sentence and hint as HTML, which is how Gradio shows them. Uploads go by the visitor's own names, keys by this command's."""
    sentence = error.message
    for upload in uploads:
        sentence = sentence.replace(upload, Path(upload).name)
    hint = error.hint.replace("generate.max_speech_s", "max_speech_s")
    return "<br>".join(html.escape(line, quote=False) for line in (sentence, hint) if line)


# ---------------------------------------------------------------------------------------------------------------- the server
@contextmanager
def _folder_for_files(cache: Path) -> Iterator[Path]:
    """A folder for all uploads and videos of this server. Gradio takes it, and its leave to be silent, from the environment only."""
    cache.mkdir(parents=True, exist_ok=True)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    with tempfile.TemporaryDirectory(prefix="app-", dir=cache.resolve(), ignore_cleanup_errors=True) as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder
        yield Path(folder)


def _launch(page: gr.Blocks, command: AppCommand) -> None:
    """Start to serve and return. Everything of Gradio's that would reach another host or keep what visitors did is off."""
    try:
        page.launch(
            server_name=command.host,
            server_port=command.port,
            prevent_thread_lock=True,
            quiet=True,
            share=False,
            ssr_mode=False,
            mcp_server=False,
            run_history=False,
            enable_monitoring=False,
            footer_links=["api"],
            max_file_size=MAX_UPLOAD,
            show_error=True,  # also of errors before our own code, such as a file that is no picture
        )
    except OSError as error:
        raise ConfigError(f"port {command.port} of {command.host} cannot be used", hint="say port=… with a free one") from error
