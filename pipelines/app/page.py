"""What a visitor sees: what goes in on the left, the video on the right."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from a2h_models.errors import A2HError
from pipelines import media
from pipelines.app.handlers import (
    BY_FILE,
    BY_MODEL,
    STILL,
    Answer,
    GenerationRequest,
    RequestHandler,
    data_url,
    explained,
    refused,
)
from pipelines.config import AppCommand, GenerateConfig
from pipelines.inference import NOTICE

if TYPE_CHECKING:
    import gradio as gr

ENDPOINT = "talk"  # its name for programs that use the page through gradio_client
SWEEP_S = 60  # between two looks at the files' ages
SECONDS_PER_MINUTE = 60
MAX_POSE_SCALE, MAX_IDLE_MOTION, SCALE_STEP = 2.0, 3.0, 0.05
CLIENT_ERROR_S = None  # an error stays until it is closed: it says what to do
PORTRAIT_PX, VIDEO_PX = 260, 460  # heights on the page
EXAMPLES = Path(__file__).parent / "examples"
POSES = [("the model's own", BY_MODEL), ("of a video or file", BY_FILE), ("still", STILL)]
PLACES = [
    ("the face alone", "crop"),
    ("laid back into the picture", "full"),
    ("the picture is a crop already", "resize"),
]
FORMATS = [("MP4", "mp4"), ("WebM", "webm"), ("GIF, silent", "gif"), ("frames, as PNGs", "frames")]
KEYPOINTS = "relative keeps the face's own shape; absolute is the release's way"
RULES = "Use it only for people who agreed, and say that the video is synthetic wherever you show it."
STYLE = Path(__file__).parent / "page.css"


def look() -> dict[str, Any]:
    """Colours and letters, for `Blocks.launch`; the letters come with Gradio, not from another
    host.
    """
    import gradio as gr

    return {"theme": gr.themes.Default(primary_hue="indigo"), "css_paths": STYLE}


def build(desk: RequestHandler, command: AppCommand) -> gr.Blocks:
    """The page.

    Its files are deleted when their visitor leaves, and after `keep_minutes` in any case.
    """
    import gradio as gr

    keep_s = SECONDS_PER_MINUTE * command.keep_minutes
    with gr.Blocks(title="audio2head", analytics_enabled=False, delete_cache=(min(SWEEP_S, keep_s), keep_s)) as page:
        gr.Markdown(f"# Make a portrait talk\n{RULES}")
        with gr.Row():
            with gr.Column():
                portrait, speech = _inputs(command)
                _examples(portrait, speech)
                with gr.Row():
                    button = gr.Button("Talk", variant="primary", scale=3, elem_id="talk")
                    stop = gr.Button("Stop", scale=1)
            with gr.Column():
                video = gr.Video(
                    label="Video", interactive=False, visible=False, buttons=[], height=VIDEO_PX, elem_id="video"
                )
                moving = gr.Image(
                    label="GIF", interactive=False, visible=False, buttons=["fullscreen"], height=VIDEO_PX
                )
                file = gr.DownloadButton("Download", visible=False, elem_id="download")
                told = gr.HTML("The video will be here.", elem_id="told")
                gr.Markdown(NOTICE)
        controls = [_model(desk), *_controls(command.generate)]
        running = button.click(
            _endpoint(desk),
            inputs=[portrait, speech, *controls],
            outputs=[told, video, moving, file],
            api_name=ENDPOINT,
            concurrency_limit=command.concurrency,
            show_progress_on=told,
        )
        stop.click(lambda: "Stopped.", outputs=told, cancels=running, api_visibility="private")
        page.unload(_leaving(desk))
    page.queue(max_size=command.max_waiting)
    return page


# ------------------------------------------------------------------------------------- what goes in
def _inputs(command: AppCommand) -> tuple[Any, Any]:
    import gradio as gr

    # image_mode: the file as it was given; Gradio would write it anew, without its EXIF rotation
    # and under another hash
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


def _examples(portrait: Any, speech: Any) -> None:
    """Pictures within the page: Gradio's own examples are files that would be swept away with those
    of the visitors.
    """
    import gradio as gr

    with gr.Row():
        for picture in sorted(EXAMPLES.glob("*.jpg")):
            with gr.Column(min_width=90):
                thumbnail = data_url(media.load_portrait(picture))
                gr.HTML(
                    f'<div class="a2h-example"><img alt="the synthetic talker {picture.stem}" src="{thumbnail}"></div>'
                )
                chosen = [str(picture), str(picture.with_suffix(".flac"))]
                button = gr.Button(f"Example: {picture.stem.capitalize()}", size="sm")
                button.click(lambda chosen=chosen: chosen, outputs=[portrait, speech], api_visibility="private")


def _model(desk: RequestHandler) -> Any:
    import gradio as gr

    choices = [(choice.label, choice.name) for choice in desk.shelf.choices]
    model = gr.Dropdown(choices, value=desk.shelf.first.name, label="Model", interactive=len(choices) > 1)
    with gr.Accordion("What is known of this model", open=False):
        card = gr.Markdown(desk.shelf.card(desk.shelf.first.name), max_height=VIDEO_PX)
    model.change(desk.shelf.card, inputs=model, outputs=card, api_visibility="private")
    return model


def _controls(start: GenerateConfig) -> list[Any]:
    """In the order of `GenerationRequest`, after its model."""
    import gradio as gr

    with gr.Row():
        with gr.Column(), gr.Accordion("Picture", open=False):
            picture = _picture(start)
        with gr.Column(), gr.Accordion("Motion of the head", open=False):
            motion = _motion(start)
        with gr.Column(), gr.Accordion("File", open=False):
            kind = gr.Radio(FORMATS, value=start.format, label="Format")
            mark = gr.Checkbox(value=start.mark, label='Write "synthetic" into the picture')
    return [*picture, *motion, kind, mark]


def _picture(start: GenerateConfig) -> list[Any]:
    import gradio as gr

    return [
        gr.Radio(PLACES, value=start.preprocess, label="What is shown"),
        gr.Number(value=start.face, precision=0, minimum=0, label="Face, counted from the left; 0: the largest"),
        gr.Radio(["relative", "absolute"], value=start.keypoints, label="Keypoints", info=KEYPOINTS),
    ]


def _motion(start: GenerateConfig) -> list[Any]:
    import gradio as gr

    pose = gr.Radio(POSES, value=STILL if start.still else BY_MODEL, label="Motion")
    file = gr.File(
        label="A video of a talking head, or poses (.npy)", visible=False, file_types=["video", ".npy"], height=120
    )
    pose.change(
        lambda chosen: gr.update(visible=chosen == BY_FILE), inputs=pose, outputs=file, api_visibility="private"
    )
    scale = gr.Slider(0.0, MAX_POSE_SCALE, value=start.pose_scale, step=SCALE_STEP, label="Scale of the motion")
    idle = gr.Slider(
        0.0, MAX_IDLE_MOTION, value=start.idle_motion, step=SCALE_STEP, label="Idle motion, while nothing is said"
    )
    return [
        pose,
        file,
        scale,
        idle,
        gr.Number(value=start.seed, precision=0, minimum=0, label="Seed of the idle motion"),
    ]


# ------------------------------------------------------------------------------------- what happens
def _endpoint(desk: RequestHandler) -> Callable[..., Iterator[list[Any]]]:
    """What the button calls; Gradio knows who asks by the type of an argument."""
    import gradio as gr

    def talk(
        portrait: str | None,
        speech: str | None,
        model: str,
        preprocess: str,
        face: int,
        keypoints: str,
        pose: str,
        pose_file: str | None,
        pose_scale: float,
        idle_motion: float,
        seed: int,
        format: str,  # noqa: A002  the name of the key, for programs that use the page
        mark: bool,
        request: gr.Request,
    ) -> Iterator[list[Any]]:
        wish = GenerationRequest(
            portrait,
            speech,
            model,
            preprocess,
            face,
            keypoints,
            pose,
            pose_file,
            pose_scale,
            idle_motion,
            seed,
            format,
            mark,
        )
        try:
            for answer in desk.answer(wish, str(request.session_hash)):
                yield _shown(answer)
        except A2HError as error:
            told = explained(error, wish.uploads)
            yield _shown(Answer(refused(told)))
            raise gr.Error(told, duration=CLIENT_ERROR_S, print_exception=False) from error

    talk.__annotations__["request"] = gr.Request  # a name that only this function knows
    return talk


def _shown(answer: Answer) -> list[Any]:
    """Values of: what is told, the video, the GIF, the file."""
    import gradio as gr

    if answer.file is None:
        return [answer.told, gr.update(visible=False), gr.update(visible=False), gr.update(visible=False)]
    name, kind = str(answer.file), answer.file.suffix
    film = gr.update(value=name, visible=True) if kind in {".mp4", ".webm"} else gr.update(value=None, visible=False)
    moving = gr.update(value=name, visible=True) if kind == ".gif" else gr.update(value=None, visible=False)
    return [answer.told, film, moving, gr.update(value=name, label=f"Download {answer.file.name}", visible=True)]


def _leaving(desk: RequestHandler) -> Callable[..., None]:
    import gradio as gr

    def leave(request: gr.Request) -> None:
        desk.visits.leave(str(request.session_hash))

    leave.__annotations__["request"] = gr.Request
    return leave
