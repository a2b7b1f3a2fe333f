"""One pair: a portrait and a speech → one file.

Frames are encoded while later ones are computed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int16, UInt8

from a2h_models.errors import ConfigError, InputError
from pipelines import media
from pipelines.config import GenerateCommand, GenerateConfig, config_hash
from pipelines.inference import watermark
from pipelines.inference.driving_pose import reference_poses
from pipelines.inference.model import load_animator
from pipelines.inference.portrait import Portrait, find
from pipelines.inference.prefetch import ahead
from pipelines.inference.provenance import GenerationOrigin, sha256
from pipelines.inference.speech import frames_of, gate_silence, load_speech

if TYPE_CHECKING:
    from a2h_models.inference.animator import Animator

FrameChunks = Iterator[UInt8[np.ndarray, "k h w 3"]]

FRAMES = "frames"  # the format that is a folder of pictures


def generate(command: GenerateCommand) -> Path:
    """Write `<result_dir>/<portrait>__<speech>.<format>` (25 fps, as long as the speech) and return
    its path.

    What can be wrong with the inputs is found before the model is loaded; what was there before
    stays until the new file is whole.

    Raises:
        InputError: if portrait, speech or poses cannot be used; the message says why.
        MediaError: if the speech holds no sound, or something cannot be decoded or encoded.
        RegistryError: if there is no such model, or its files were changed.
    """
    for key in ("source_image", "driven_audio"):
        if not getattr(command, key):
            raise ConfigError(f"generate needs a value for {key}", hint=f"say {key}=…, or pairs=list.csv for many")
    check_format(command.generate.format)
    portrait, wave = load(command)
    animator, model = load_animator(command)
    target = target_of(command)
    with _progress(target.name, total=frames_of(wave)) as counted:
        write(target, portrait, wave, animator, origin_of(command, model), command, counted)
    return target


def load(command: GenerateCommand) -> tuple[Portrait, Int16[np.ndarray, " n"]]:
    """Both inputs, ready for the networks."""
    portrait = find(media.load_portrait(Path(command.source_image)), command.generate, name=command.source_image)
    if command.ref_pose and not Path(command.ref_pose).is_file():
        raise InputError(f"{command.ref_pose} is not a file", hint="--ref_pose takes a video, or poses as .npy")
    return portrait, load_speech(Path(command.driven_audio), command.generate)


def target_of(command: GenerateCommand) -> Path:
    """Where the result goes."""
    name = f"{Path(command.source_image).stem}__{Path(command.driven_audio).stem}"
    return Path(command.result_dir) / (
        name if command.generate.format == FRAMES else f"{name}.{command.generate.format}"
    )


def origin_of(command: GenerateCommand, model: str) -> GenerationOrigin:
    """From what the result is made."""
    return GenerationOrigin(
        model=model,
        portrait=sha256(Path(command.source_image)),
        speech=sha256(Path(command.driven_audio)),
        pose=sha256(Path(command.ref_pose)) if command.ref_pose else "",
        settings=config_hash(command.generate),
    )


def write(
    target: Path,
    portrait: Portrait,
    wave: Int16[np.ndarray, " n"],
    animator: Animator,
    origin: GenerationOrigin,
    command: GenerateCommand,
    counted: Callable[[FrameChunks], FrameChunks] = iter,
) -> None:
    """Draw and encode, side by side."""
    poses = reference_poses(Path(command.ref_pose), frames=frames_of(wave) + 1) if command.ref_pose else None
    drawn = render(animator, portrait.crop, wave, command.generate, poses)
    shown = portrait.frames(drawn)
    shown = watermark.draw_watermark(shown) if command.generate.mark else shown
    save = media.write_pictures if command.generate.format == FRAMES else media.write_video
    save(target, ahead(counted(shown)), wave, crf=command.generate.crf, metadata=origin.notice())


def render(
    animator: Animator,
    portrait: UInt8[np.ndarray, "256 256 3"],
    wave: Int16[np.ndarray, " n"],
    config: GenerateConfig,
    poses: Iterator[np.ndarray] | None = None,
) -> FrameChunks:
    """Frames in batches, as many as cover the speech."""
    return animator.batches(
        portrait,
        gate_silence(wave),
        pose=poses,
        keypoints=config.keypoints,
        still=config.still,
        pose_scale=config.pose_scale,
        idle_motion=config.idle_motion,
        seed=config.seed,
        batch_size=config.batch_size,
        windows=config.windows,
    )


def check_format(word: str) -> None:
    """Raises ConfigError for an unknown one."""
    if word not in (*media.VIDEO_FORMATS, FRAMES):
        raise ConfigError(
            f"generate.format={word} does not exist", hint=f"one of: {', '.join((*media.VIDEO_FORMATS, FRAMES))}"
        )


@contextmanager
def _progress(what: str, *, total: int) -> Iterator[Callable[[FrameChunks], FrameChunks]]:
    """A bar in frames on a terminal; nothing elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("frames"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=total)

        def counted(batches: FrameChunks) -> FrameChunks:
            for batch in batches:
                yield batch
                bar.advance(task, len(batch))

        yield counted
