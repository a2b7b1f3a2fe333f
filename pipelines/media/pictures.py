"""A stream of frames → a folder of numbered pictures with the speech beside them, published whole
or not at all.
"""

from __future__ import annotations

import json
import wave as waves
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from jaxtyping import Int16, UInt8

from a2h_models.errors import InputError, MediaError
from a2h_models.timebase import SAMPLE_RATE
from pipelines.core.files import replace_folder
from pipelines.media.metadata import NOTICE_FILE

SPEECH_FILE = "speech.wav"
DIGITS = 6  # of a frame's number: eleven hours


def write_pictures(
    folder: Path,
    frames: Iterable[UInt8[np.ndarray, "k h w 3"]],
    wave: Int16[np.ndarray, " n"] | None,
    *,
    crf: int = 0,  # noqa: ARG001  PNG loses nothing; the argument is there to be called as `write_video` is
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write `000000.png` … with the metadata as text in each, `speech.wav`, and `notice.json` with
    the metadata.

    Raises:
        InputError: if the folder exists and was not written by this function.
        MediaError: if there are no frames.
        FailedError: if it cannot be written.
    """
    from PIL import Image, PngImagePlugin

    said = PngImagePlugin.PngInfo()
    for key, value in (metadata or {}).items():
        said.add_text(key, value)
    with _aside(folder) as part:
        number = -1
        for number, frame in enumerate(frame for chunk in frames for frame in chunk):
            Image.fromarray(frame).save(part / f"{number:0{DIGITS}d}.png", pnginfo=said)
        if number < 0:
            raise MediaError(f"{folder}: there are no frames to write")
        if wave is not None:
            _write_wav(part / SPEECH_FILE, wave)
        (part / NOTICE_FILE).write_text(json.dumps(dict(metadata or {}), indent=2), encoding="utf-8")


def _write_wav(path: Path, wave: Int16[np.ndarray, " n"]) -> None:
    with waves.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(wave.itemsize)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(np.ascontiguousarray(wave, "<i2").data)


@contextmanager
def _aside(folder: Path) -> Iterator[Path]:
    """A folder beside the target that takes its place when the block ends well; what was there
    stays until then.
    """
    if folder.exists() and not (folder / NOTICE_FILE).is_file():
        raise InputError(f"{folder} exists, and is no folder of generated frames", hint="choose another result_dir")
    with replace_folder(folder) as part:
        yield part
