"""Make the README's moving picture from the output of `make demo`.

    python -m scripts.make_readme_picture demo --out docs/images/talking.gif

Side by side: the portrait, the synthetic speaker from whose video it was taken, and the video that
the demo's model generated from the portrait and the speaker's voice. Only a demo of synthetic
speakers is accepted: a picture that is published must not show a real person. The demo's model is
trained for a few minutes, so its mouth hardly moves; a caption should say so.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from a2h_models.errors import InputError
from a2h_models.timebase import FPS
from pipelines import media
from pipelines.demo.paths import DemoPaths
from pipelines.demo.results import held_out_sample
from pipelines.inference import NOTICE

MAX_BYTES = 1_200_000
PANEL_PX, GAP_PX, LABEL_PX, FONT_PX = 208, 8, 26, 14
LABELS = ("portrait", "synthetic speaker", "generated (demo model)")
# Tried in order until the file is small enough: keep every n-th frame, number of colours.
COMPRESSIONS = ((2, 192), (2, 128), (2, 96), (2, 64), (3, 64), (4, 64))


def compose_frames(demo: Path, *, seconds: float) -> list[Image.Image]:
    """Compose the frames at 25 a second: three panels with labels."""
    paths = DemoPaths(demo)
    if not paths.speakers.is_dir():
        raise InputError(f"{demo} is no demo of synthetic speakers", hint="run make demo without VIDEOS")
    video = Path(json.loads(paths.steps.read_text())["entries"]["generate"]["result"])
    generated = np.concatenate(list(media.read_clip(video)))
    original = held_out_sample(paths.dataset).frames
    count = min(round(seconds * FPS), len(generated), len(original))
    portrait = media.load_portrait(paths.portrait)
    return [_panels((portrait, original[number], generated[number])) for number in range(count)]


def _panels(pictures: tuple[UInt8[np.ndarray, "h w 3"], ...]) -> Image.Image:
    width = len(pictures) * PANEL_PX + (len(pictures) - 1) * GAP_PX
    frame = Image.new("RGB", (width, PANEL_PX + LABEL_PX), "white")
    draw, font = ImageDraw.Draw(frame), ImageFont.load_default(FONT_PX)
    for number, (picture, label) in enumerate(zip(pictures, LABELS, strict=True)):
        left = number * (PANEL_PX + GAP_PX)
        frame.paste(Image.fromarray(picture).resize((PANEL_PX, PANEL_PX), Image.Resampling.LANCZOS), (left, 0))
        draw.text((left + PANEL_PX / 2, PANEL_PX + LABEL_PX / 2), label, fill="black", font=font, anchor="mm")
    return frame


def write_gif(frames: list[Image.Image], out: Path) -> int:
    """Write a looped GIF of at most MAX_BYTES; return its size.

    Raises:
        InputError: if it is too large with every compression.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    for every, colours in COMPRESSIONS:
        palette = frames[0].quantize(colours)  # one palette for all frames: unchanged pixels cost nothing
        kept = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames[::every]]
        duration_ms = 1000 * every // FPS
        kept[0].save(out, save_all=True, append_images=kept[1:], duration=duration_ms, loop=0, comment=NOTICE.encode())
        if (size := out.stat().st_size) <= MAX_BYTES:
            return size
    raise InputError(f"{out} has {size} bytes, more than {MAX_BYTES}", hint="choose fewer --seconds")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("demo", type=Path, help="the folder that `make demo` wrote")
    parser.add_argument("--out", type=Path, default=Path("docs/images/talking.gif"))
    parser.add_argument("--seconds", type=float, default=4.0, help="length of the picture, at most (default: 4)")
    arguments = parser.parse_args()
    size = write_gif(compose_frames(arguments.demo, seconds=arguments.seconds), arguments.out)
    print(f"{arguments.out}: {size:,} bytes")


if __name__ == "__main__":
    main()
