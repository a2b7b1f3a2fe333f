"""Generate one video from one portrait and one recording.

Frames are encoded while later ones are computed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int16, UInt8

from a2h_models.errors import ConfigError, InputError
from pipelines import media
from pipelines.config import GenerateCommand, GenerateConfig, config_hash
from pipelines.core.threads import prefetch
from pipelines.inference.driving_pose import load_driving_poses
from pipelines.inference.model import LoadedModel, load_animator
from pipelines.inference.portrait import Portrait, fit_portrait
from pipelines.inference.provenance import GenerationOrigin, sha256
from pipelines.inference.speech import frame_count, gate_silence, load_speech
from pipelines.inference.watermark import draw_watermark

if TYPE_CHECKING:
    from a2h_models.inference.animator import Animator

FrameChunks = Iterator[UInt8[np.ndarray, "k h w 3"]]

FRAMES = "frames"  # the format that is a folder of PNG files


@dataclass(frozen=True)
class GenerationInputs:
    """A portrait and a recording, decoded."""

    portrait: Portrait
    wave: Int16[np.ndarray, " n"]  # 16 kHz mono

    @property
    def frames(self) -> int:
        """Frames of the video."""
        return frame_count(self.wave)


def generate(command: GenerateCommand) -> Path:
    """Write `<result_dir>/<portrait>__<speech>.<format>` and return its path.

    The video has 25 frames a second and is as long as the recording. Inputs are checked before the
    model is loaded; a file of an earlier run stays until the new one is complete.

    Raises:
        ConfigError: if portrait, recording or a known format is not given.
        InputError: if portrait, recording or poses cannot be used; the message says why.
        MediaError: if the recording holds no sound, or something cannot be decoded or encoded.
        RegistryError: if there is no such model, or its files were changed.
    """
    for key in ("source_image", "driven_audio"):
        if not getattr(command, key):
            raise ConfigError(f"generate needs a value for {key}", hint=f"say {key}=…, or pairs=list.csv for many")
    validate_format(command.generate.format)
    inputs = load_inputs(command)
    model = load_animator(command)
    target = output_path(command)
    with _progress_bar(target.name, total=inputs.frames) as track_progress:
        write_output(command, inputs, model, track_progress)
    return target


def load_inputs(command: GenerateCommand) -> GenerationInputs:
    """Decode and check the portrait and the recording."""
    portrait = fit_portrait(
        media.load_portrait(Path(command.source_image)), command.generate, name=command.source_image
    )
    if command.ref_pose and not Path(command.ref_pose).is_file():
        raise InputError(f"{command.ref_pose} is not a file", hint="--ref_pose takes a video, or poses as .npy")
    return GenerationInputs(portrait, load_speech(Path(command.driven_audio), command.generate))


def output_path(command: GenerateCommand) -> Path:
    """Name the file, or for `format=frames` the folder, that a command writes."""
    name = f"{Path(command.source_image).stem}__{Path(command.driven_audio).stem}"
    return Path(command.result_dir) / (
        name if command.generate.format == FRAMES else f"{name}.{command.generate.format}"
    )


def origin_of_command(command: GenerateCommand, model: str) -> GenerationOrigin:
    """Collect what the output depends on: model, hashes of input files, hash of settings."""
    return GenerationOrigin(
        model=model,
        portrait=sha256(Path(command.source_image)),
        speech=sha256(Path(command.driven_audio)),
        pose=sha256(Path(command.ref_pose)) if command.ref_pose else "",
        settings=config_hash(command.generate),
    )


def write_output(
    command: GenerateCommand,
    inputs: GenerationInputs,
    model: LoadedModel,
    track_progress: Callable[[FrameChunks], FrameChunks] = iter,
) -> None:
    """Compute the frames and encode them at the same time.

    Args:
        command: what to generate; names the output file.
        inputs: what `load_inputs` returned for the command.
        model: what `load_animator` returned for the command.
        track_progress: passes the batches of frames on, and may report how many went by.
    """
    config, wave = command.generate, inputs.wave
    poses = load_driving_poses(Path(command.ref_pose), frames=inputs.frames + 1) if command.ref_pose else None
    frames = inputs.portrait.place_frames(render(model.animator, inputs.portrait.crop, wave, config, poses))
    frames = draw_watermark(frames) if config.mark else frames
    write = media.write_pictures if config.format == FRAMES else media.write_video
    metadata = origin_of_command(command, model.name).metadata()
    write(output_path(command), prefetch(track_progress(frames)), wave, crf=config.crf, metadata=metadata)


def render(
    animator: Animator,
    portrait: UInt8[np.ndarray, "256 256 3"],
    wave: Int16[np.ndarray, " n"],
    config: GenerateConfig,
    poses: Iterator[np.ndarray] | None = None,
) -> FrameChunks:
    """Generate the frames that cover a recording, in batches."""
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


def validate_format(name: str) -> None:
    """Raise ConfigError for an unknown output format."""
    formats = (*media.VIDEO_FORMATS, FRAMES)
    if name not in formats:
        raise ConfigError(f"generate.format={name} does not exist", hint=f"one of: {', '.join(formats)}")


@contextmanager
def _progress_bar(title: str, *, total: int) -> Iterator[Callable[[FrameChunks], FrameChunks]]:
    """Show a bar that counts frames on a terminal, and nothing elsewhere."""
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
        task = bar.add_task(title, total=total)

        def track_progress(batches: FrameChunks) -> FrameChunks:
            for batch in batches:
                yield batch
                bar.advance(task, len(batch))

        yield track_progress
