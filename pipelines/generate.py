"""Portrait + speech → talking-head video: frames are encoded while later ones are computed."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int16, UInt8

from a2h_models.errors import ConfigError, InputError
from a2h_models.sample import SIZE
from a2h_models.timebase import SAMPLE_RATE, SAMPLES_PER_FRAME
from pipelines import media, registry
from pipelines.config import GenerateCommand, GenerateConfig

if TYPE_CHECKING:
    from a2h_models.animator import Animator

Frames = Iterator[UInt8[np.ndarray, "k h w 3"]]

NOTICE = "Synthetic video: a portrait made to talk by audio2head. It shows nothing that happened."
MIN_SPEECH_S = 0.04  # one frame


def generate(command: GenerateCommand) -> Path:
    """Write `<result_dir>/<portrait>__<speech>.mp4` (H.264 + AAC, 25 fps, as long as the speech) and return its path.

    Raises:
        InputError: if portrait or speech cannot be used; the message says why.
        RegistryError: if there is no such model, or its files were changed.
    """
    portrait_path, speech_path = Path(command.source_image), Path(command.driven_audio)
    portrait = fit(media.load_portrait(portrait_path), command.generate, name=command.source_image)
    wave = load_speech(speech_path, command.generate)
    animator, model = load_animator(command)
    target = Path(command.result_dir) / f"{portrait_path.stem}__{speech_path.stem}.mp4"
    frames = render(animator, portrait, wave, command.generate)
    with _progress(target.name, total=frames_of(wave)) as counted:
        media.write_video(
            target,
            counted(frames),
            wave,
            crf=command.generate.crf,
            metadata=notice(model, portrait=_sha256(portrait_path), speech=_sha256(speech_path)),
        )
    return target


def render(
    animator: Animator,
    portrait: UInt8[np.ndarray, "256 256 3"],
    wave: Int16[np.ndarray, " n"],
    config: GenerateConfig,
) -> Frames:
    """Frames in batches, as many as cover the speech."""
    from a2h_models.speech import speech_features

    return animator.animate(
        portrait,
        speech_features(wave, frames=frames_of(wave)),
        keypoints=config.keypoints,
        still=config.still,
        pose_scale=config.pose_scale,
        batch_size=config.batch_size,
    )


def frames_of(wave: np.ndarray) -> int:
    """Frames that cover a speech, the last one perhaps not to its end."""
    return -(-len(wave) // SAMPLES_PER_FRAME)


def load_animator(command: GenerateCommand) -> tuple[Animator, str]:
    """The model on the fastest device here, and the version's own name for the file's notice."""
    import torch

    from a2h_models.animator import Animator

    folder = registry.fetch(command.model, command.logger)
    model = str(registry.find(command.model, command.logger)) if command.model.startswith(registry.SCHEME) else folder.name
    return Animator.load(folder, "cuda" if torch.cuda.is_available() else "cpu"), model


# ---------------------------------------------------------------------------------------------------------------- what comes in
def fit(picture: UInt8[np.ndarray, "h w 3"], config: GenerateConfig, *, name: str) -> UInt8[np.ndarray, "256 256 3"]:
    """A portrait as the networks want it, by `config.preprocess`."""
    return whole(picture, name=name) if _is_crop(config) else crop(picture, name=name)


def crop(picture: UInt8[np.ndarray, "h w 3"], *, name: str) -> UInt8[np.ndarray, "256 256 3"]:
    """Cut a picture as clips are cut in preparation. Without MediaPipe, a 256×256 picture is taken for a crop that was made before.

    Raises:
        InputError: if there is no face in it, or it would need MediaPipe.
    """
    if importlib.util.find_spec("mediapipe") is None:
        if picture.shape[:2] == (SIZE, SIZE):
            return picture
        raise InputError(
            f"{name} is not {SIZE}×{SIZE} pixels, and finding the face in it needs MediaPipe",
            hint='install the extra "prepare", or give a square crop of the head',
        )
    from pipelines.prepare.faces import crop_portrait

    return crop_portrait(picture, name=name)


def whole(picture: UInt8[np.ndarray, "h w 3"], *, name: str) -> UInt8[np.ndarray, "256 256 3"]:
    """A picture that is a crop already, at the networks' size.

    Raises:
        InputError: if it is not square.
    """
    import cv2

    height, width = picture.shape[:2]
    if height != width:
        raise InputError(f"{name} is {width}×{height} pixels, and generate.preprocess=resize takes a square", hint="leave preprocess=crop")
    return np.asarray(cv2.resize(picture, (SIZE, SIZE), interpolation=cv2.INTER_AREA))


def _is_crop(config: GenerateConfig) -> bool:
    if config.preprocess not in {"crop", "resize"}:
        raise ConfigError(f"generate.preprocess={config.preprocess} does not exist", hint="crop or resize")
    return config.preprocess == "resize"


def load_speech(path: Path, config: GenerateConfig) -> Int16[np.ndarray, " n"]:
    """The sound of any file as 16 kHz mono.

    Raises:
        InputError: if there is no sound in it, or too much or too little.
    """
    wave = media.read_speech(path)
    seconds = len(wave) / SAMPLE_RATE
    if not MIN_SPEECH_S <= seconds <= config.max_speech_s:
        raise InputError(
            f"{path}: {seconds:.2f} s of speech; it must be {MIN_SPEECH_S:g} to {config.max_speech_s:g} s",
            hint="cut it, or raise generate.max_speech_s",
        )
    return wave


# ---------------------------------------------------------------------------------------------------------------- what goes out
def notice(model: str, *, portrait: str, speech: str) -> dict[str, str]:
    """The metadata of a generated file: that it is synthetic, by which model, from what (SHA-256)."""
    origin = {"synthetic": True, "model": model, "portrait_sha256": portrait, "speech_sha256": speech}
    return {"title": NOTICE, "comment": json.dumps(origin, sort_keys=True)}


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


@contextmanager
def _progress(what: str, *, total: int) -> Iterator[Callable[[Frames], Frames]]:
    """A bar in frames on a terminal; nothing elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("frames"), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=total)

        def counted(batches: Frames) -> Frames:
            for batch in batches:
                yield batch
                bar.advance(task, len(batch))

        yield counted
