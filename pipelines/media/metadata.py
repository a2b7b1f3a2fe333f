"""What a file says of itself: read back from every format that we write."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

from a2h_models.errors import InputError, MediaError
from pipelines.core.files import replace_file
from pipelines.media import ffmpeg

METADATA_TIMEOUT_S = 60.0
NOTICE_FILE = "notice.json"  # in a folder of frames
PICTURES = (".gif", ".png")
MAX_NOTICE_BYTES = 2**20
# bytes; the place of the flags; a colour table follows; of 2^(1 + these)
GIF_HEADER, GIF_FLAGS, GIF_TABLE, GIF_SIZE = 13, 10, 0x80, 0x07
GIF_COMMENT, GIF_BLOCK = b"\x21\xfe", 255  # a comment begins so, and comes in blocks of so many bytes
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


def read_metadata(path: Path) -> dict[str, str]:
    """Keys, in lower case, and texts: of a video, a gif, a picture, or a folder of frames.

    Raises:
        InputError: if there is no such file.
        MediaError: if it cannot be read.
    """
    if path.is_dir():
        return _of_folder(path)
    if not path.is_file():
        raise InputError(f"{path} is not a file")
    return _of_picture(path) if path.suffix.lower() in PICTURES else _of_video(path)


def _of_video(path: Path) -> dict[str, str]:
    """The listing of ffmpeg: a comment line, then key=value, in which a backslash stands before =,
    ;, # and line ends.
    """
    listing, _ = ffmpeg.run([*ffmpeg.source(path), "-f", "ffmetadata", "-"], path=path, timeout_s=METADATA_TIMEOUT_S)
    lines = re.split(r"(?<!\\)\n", listing.decode(errors="replace").partition("\n[")[0])
    pairs = (re.split(r"(?<!\\)=", line, maxsplit=1) for line in lines if line and not line.startswith(";"))
    return {_ESCAPED.sub(r"\1", pair[0]).lower(): _ESCAPED.sub(r"\1", pair[1]) for pair in pairs if len(pair) > 1}


def _of_picture(path: Path) -> dict[str, str]:
    from PIL import Image

    try:
        with Image.open(path) as picture:
            found = dict(picture.info)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise MediaError(f"{path} cannot be read as a picture ({error})") from None
    texts = {
        str(key).lower(): value.decode(errors="replace") if isinstance(value, bytes) else value
        for key, value in found.items()
    }
    return {key: value for key, value in texts.items() if isinstance(value, str)}


def _of_folder(folder: Path) -> dict[str, str]:
    path = folder / NOTICE_FILE
    try:
        with path.open("rb") as file:
            found = json.loads(file.read(MAX_NOTICE_BYTES))
    except FileNotFoundError:
        raise InputError(
            f"{folder} holds no {NOTICE_FILE}", hint="give a video, a picture, or a folder of generated frames"
        ) from None
    except (OSError, ValueError) as error:
        raise MediaError(f"{path} cannot be read ({error})") from None
    return {str(key): str(value) for key, value in found.items()} if isinstance(found, dict) else {}


def add_comment(path: Path, text: str) -> None:
    """Put a comment into a gif, before its first frame: ffmpeg writes none."""
    data = text.encode()
    blocks = (data[at : at + GIF_BLOCK] for at in range(0, len(data), GIF_BLOCK))
    with replace_file(path) as part, path.open("rb") as file, part.open("wb") as out:
        header = file.read(GIF_HEADER)
        colours = 3 * 2 ** (1 + (header[GIF_FLAGS] & GIF_SIZE)) if header[GIF_FLAGS] & GIF_TABLE else 0
        out.write(header + file.read(colours))
        out.write(GIF_COMMENT + b"".join(bytes([len(block)]) + block for block in blocks) + b"\0")
        shutil.copyfileobj(file, out)
