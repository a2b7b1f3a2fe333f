"""The page in the browser: inputs on the left, the video on the right, settings below."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields
from inspect import Parameter, Signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from a2h_models.errors import A2HError
from pipelines import media
from pipelines.app.handlers import (
    BY_FILE,
    BY_MODEL,
    STILL,
    GenerationRequest,
    PageUpdate,
    RequestHandler,
    error_html,
    image_data_url,
    refusal_html,
)
from pipelines.config import AppCommand, GenerateConfig
from pipelines.inference import NOTICE

if TYPE_CHECKING:
    import gradio as gr

ENDPOINT = "talk"  # its name for programs that use the server through gradio_client
SWEEP_S = 60  # seconds between two searches for files that are too old
SECONDS_PER_MINUTE = 60
MAX_POSE_SCALE, MAX_IDLE_MOTION, SCALE_STEP = 2.0, 3.0, 0.05
ERROR_DURATION_S = None  # an error message stays until it is closed: it says what to do
PORTRAIT_PX, VIDEO_PX = 260, 460  # heights on the page
EXAMPLES = Path(__file__).parent / "examples"
POSE_CHOICES = [("the model's own", BY_MODEL), ("of a video or file", BY_FILE), ("still", STILL)]
PREPROCESS_CHOICES = [
    ("the face alone", "crop"),
    ("the face, pasted back into the picture", "full"),
    ("the picture is a crop already", "resize"),
]
FORMATS = [("MP4", "mp4"), ("WebM", "webm"), ("GIF, silent", "gif"), ("frames, as PNGs", "frames")]
KEYPOINTS = "relative keeps the shape of the portrait's face; absolute is what the published code does"
RULES = "Use it only with the consent of the person shown, and say that the video is synthetic wherever you show it."
STYLE = Path(__file__).parent / "page.css"


def launch_style() -> dict[str, Any]:
    """Return theme and style sheet for `Blocks.launch`; the fonts come with Gradio."""
    import gradio as gr

    return {"theme": gr.themes.Default(primary_hue="indigo"), "css_paths": STYLE}


def build_page(handler: RequestHandler, command: AppCommand) -> gr.Blocks:
    """Build the page.

    The files of a session are deleted when it ends, and after `keep_minutes` in any case.
    """
    import gradio as gr

    keep_s = SECONDS_PER_MINUTE * command.keep_minutes
    with gr.Blocks(title="audio2head", analytics_enabled=False, delete_cache=(min(SWEEP_S, keep_s), keep_s)) as page:
        gr.Markdown(f"# Make a portrait talk\n{RULES}")
        with gr.Row():
            with gr.Column():
                portrait, speech = _input_components(command)
                _example_buttons(portrait, speech)
                with gr.Row():
                    start = gr.Button("Talk", variant="primary", scale=3, elem_id="talk")
                    stop = gr.Button("Stop", scale=1)
            with gr.Column():
                status, *outputs = _output_components()
                gr.Markdown(NOTICE)
        settings = [_model_component(handler), *_setting_components(command.generate)]
        generating = start.click(
            _generate_callback(handler),
            inputs=[portrait, speech, *settings],
            outputs=[status, *outputs],
            api_name=ENDPOINT,
            concurrency_limit=command.concurrency,
            show_progress_on=status,
        )
        stop.click(lambda: "Stopped.", outputs=status, cancels=generating, api_visibility="private")
        page.unload(_unload_callback(handler))
    page.queue(max_size=command.max_waiting)
    return page


# -------------------------------------------------------------------------------------- components
def _input_components(command: AppCommand) -> tuple[Any, Any]:
    import gradio as gr

    # image_mode=None keeps the file as uploaded. Otherwise Gradio would write it anew, without its
    # EXIF rotation and with another hash.
    portrait = gr.Image(
        type="filepath",
        image_mode=None,
        sources=["upload", "webcam", "clipboard"],
        label="Portrait",
        height=PORTRAIT_PX,
        elem_id="portrait",
    )
    limits = f"at most {command.max_speech_s:g} s and {command.max_upload_mb} MB"
    speech = gr.Audio(
        type="filepath", sources=["upload", "microphone"], label=f"Speech, {limits}", buttons=[], elem_id="speech"
    )
    return portrait, speech


def _output_components() -> tuple[Any, Any, Any, Any]:
    """Return status, video, GIF and download button."""
    import gradio as gr

    status = gr.HTML("The video will be here.", elem_id="status")
    video = gr.Video(label="Video", interactive=False, visible=False, buttons=[], height=VIDEO_PX, elem_id="video")
    gif = gr.Image(label="GIF", interactive=False, visible=False, buttons=["fullscreen"], height=VIDEO_PX)
    download = gr.DownloadButton("Download", visible=False, elem_id="download")
    return status, video, gif, download


def _example_buttons(portrait: Any, speech: Any) -> None:
    """Show example portraits as data: URLs.

    Gradio's own examples are files, which would be deleted with those of the sessions.
    """
    import gradio as gr

    with gr.Row():
        for picture in sorted(EXAMPLES.glob("*.jpg")):
            with gr.Column(min_width=90):
                thumbnail = image_data_url(media.load_portrait(picture))
                gr.HTML(
                    f'<div class="a2h-example"><img alt="the synthetic speaker {picture.stem}" src="{thumbnail}"></div>'
                )
                files = [str(picture), str(picture.with_suffix(".flac"))]
                button = gr.Button(f"Example: {picture.stem.capitalize()}", size="sm")
                button.click(lambda files=files: files, outputs=[portrait, speech], api_visibility="private")


def _model_component(handler: RequestHandler) -> Any:
    import gradio as gr

    choices = [(choice.label, choice.name) for choice in handler.catalog.choices]
    model = gr.Dropdown(choices, value=handler.catalog.default.name, label="Model", interactive=len(choices) > 1)
    with gr.Accordion("What is known of this model", open=False):
        card = gr.Markdown(handler.catalog.card(handler.catalog.default.name), max_height=VIDEO_PX)
    model.change(handler.catalog.card, inputs=model, outputs=card, api_visibility="private")
    return model


def _setting_components(defaults: GenerateConfig) -> list[Any]:
    """Return components in the order of the fields of `GenerationRequest`, after its model."""
    import gradio as gr

    with gr.Row():
        with gr.Column(), gr.Accordion("Picture", open=False):
            picture = _picture_components(defaults)
        with gr.Column(), gr.Accordion("Motion of the head", open=False):
            motion = _motion_components(defaults)
        with gr.Column(), gr.Accordion("File", open=False):
            file_format = gr.Radio(FORMATS, value=defaults.format, label="Format")
            mark = gr.Checkbox(value=defaults.mark, label='Write "synthetic" into the picture')
    return [*picture, *motion, file_format, mark]


def _picture_components(defaults: GenerateConfig) -> list[Any]:
    import gradio as gr

    return [
        gr.Radio(PREPROCESS_CHOICES, value=defaults.preprocess, label="What is shown"),
        gr.Number(value=defaults.face, precision=0, minimum=0, label="Face, counted from the left; 0: the largest"),
        gr.Radio(["relative", "absolute"], value=defaults.keypoints, label="Keypoints", info=KEYPOINTS),
    ]


def _motion_components(defaults: GenerateConfig) -> list[Any]:
    import gradio as gr

    pose = gr.Radio(POSE_CHOICES, value=STILL if defaults.still else BY_MODEL, label="Motion")
    file = gr.File(
        label="A video of a talking head, or poses (.npy)", visible=False, file_types=["video", ".npy"], height=120
    )
    pose.change(
        lambda source: gr.update(visible=source == BY_FILE), inputs=pose, outputs=file, api_visibility="private"
    )
    scale = gr.Slider(0.0, MAX_POSE_SCALE, value=defaults.pose_scale, step=SCALE_STEP, label="Scale of the motion")
    idle = gr.Slider(
        0.0, MAX_IDLE_MOTION, value=defaults.idle_motion, step=SCALE_STEP, label="Idle motion, while nothing is said"
    )
    return [
        pose,
        file,
        scale,
        idle,
        gr.Number(value=defaults.seed, precision=0, minimum=0, label="Seed of the idle motion"),
    ]


# --------------------------------------------------------------------------------------- callbacks
def _generate_callback(handler: RequestHandler) -> Callable[..., Iterator[list[Any]]]:
    """Return the function behind the button.

    Gradio reads its signature: the parameters' names become those of the HTTP API, and the one of
    type `gr.Request` receives the session. They are the fields of `GenerationRequest`.
    """
    import gradio as gr

    def generate(*values: Any) -> Iterator[list[Any]]:
        *controls, client = values
        request = GenerationRequest(*controls)
        try:
            for update in handler.handle(request, str(client.session_hash)):
                yield _component_updates(update)
        except A2HError as error:
            message = error_html(error, request.uploads)
            yield _component_updates(PageUpdate(refusal_html(message)))
            raise gr.Error(message, duration=ERROR_DURATION_S, print_exception=False) from error

    names = [field.name for field in fields(GenerationRequest)]
    parameters = [Parameter(name, Parameter.POSITIONAL_OR_KEYWORD) for name in (*names, "client")]
    generate.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    generate.__annotations__ = {"client": gr.Request}
    return generate


def _component_updates(update: PageUpdate) -> list[Any]:
    """Return new values of the components of `_output_components`."""
    import gradio as gr

    hidden = gr.update(value=None, visible=False)
    if update.file is None:
        return [update.status_html, *[gr.update(visible=False)] * 3]
    path, suffix = str(update.file), update.file.suffix
    shown = gr.update(value=path, visible=True)
    download = gr.update(value=path, label=f"Download {update.file.name}", visible=True)
    video = shown if suffix in {".mp4", ".webm"} else hidden
    return [update.status_html, video, shown if suffix == ".gif" else hidden, download]


def _unload_callback(handler: RequestHandler) -> Callable[..., None]:
    """Return the function that Gradio calls when a session ends."""
    import gradio as gr

    def end_session(client: gr.Request) -> None:
        handler.files.delete(str(client.session_hash))

    end_session.__annotations__["client"] = gr.Request  # Gradio cannot resolve the name `gr` of this function
    return end_session
