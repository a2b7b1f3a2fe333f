"""How far the portrait's identity is kept by absolute and by relative keypoints, also where the
head starts in another pose.

Each portrait speaks four times: absolute and relative keypoints, from the pose that the model
predicts for it and from that pose turned aside, so that portrait and first frame disagree. Told is
how far the face's shape is from the portrait's (landmarks, without the lips).
"""

from __future__ import annotations

from argparse import Namespace
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from statistics import mean, median

import measurement
import numpy as np
from jaxtyping import Float32, Int16, UInt8

from a2h_models.errors import A2HError
from a2h_models.inference.animator import KEYPOINTS, Animator
from a2h_models.metrics.landmark_shape import landmark_shape_distance, still_points
from a2h_models.timebase import SAMPLES_PER_FRAME
from pipelines import media
from pipelines.config.compose import compose
from pipelines.face.face_mesh import mesh
from pipelines.inference import crop_to_face, load_animator

PICTURES, VIDEOS = {".jpg", ".jpeg", ".png", ".webp"}, {".mp4"}
OWN, TURNED = "own start", "turned start"
TURN_RAD = np.deg2rad(20.0)  # about the vertical axis, away from where the portrait looks
YAW = 1  # of a pose's six numbers
LOOK_EVERY = 2  # frames
WORST = 95  # percentile

Way = tuple[str, str]  # keypoints, start


def crops(folders: list[Path], most: int) -> Iterator[tuple[str, UInt8[np.ndarray, "256 256 3"]]]:
    """Portraits as the networks get them: pictures, and the first frames of videos.

    What has no usable face is left out, and named.
    """
    files = [
        file for folder in folders for file in sorted(folder.iterdir()) if file.suffix.lower() in PICTURES | VIDEOS
    ]
    found = 0
    for file in files:
        if found == most:
            return
        try:
            picture = media.load_portrait(file) if file.suffix.lower() in PICTURES else first_frame(file)
            portrait = crop_to_face(picture, name=file.name)
        except A2HError as error:
            print(f"left out: {error.message}")
            continue
        found += 1
        yield file.name, portrait


def first_frame(video: Path) -> UInt8[np.ndarray, "h w 3"]:
    with media.open_video(video) as opened:
        return np.asarray(next(iter(opened.stream())))


def poses(
    animator: Animator, portrait: np.ndarray, wave: Int16[np.ndarray, " n"], start: str
) -> Float32[np.ndarray, "t 6"]:
    """The model's own, or the same motion around a start that is turned to the other side."""
    found = animator.predict_pose(portrait, wave)
    if start == TURNED:
        found[:, YAW] -= TURN_RAD * (1 if found[0, YAW] >= 0 else -1)
    return found


def distance(animator: Animator, portrait: np.ndarray, wave: Int16[np.ndarray, " n"], way: Way) -> tuple[float, float]:
    """Shape distance in percent, and the share of frames in which a face was found."""
    kind, start = way
    frames = np.stack(
        list(animator.animate(portrait, wave, pose=poses(animator, portrait, wave, start), keypoints=kind))
    )[::LOOK_EVERY]
    truth = mesh(portrait[None])
    found = mesh(frames)
    scale = len(portrait) / frames.shape[1]  # the shape alone counts, but both in one unit
    if not truth.found.all() or not found.found.any():
        return float("nan"), float(found.found.mean())
    still = still_points()
    shape = landmark_shape_distance(found.landmarks[found.found][:, still] * scale, truth.landmarks[0, still])
    return shape, float(found.found.mean())


def main(words: Namespace) -> None:
    """Measure and show."""
    with measurement.workplace() as folder:
        command = compose("generate", [f"model={words.model}", "generate.precision=fp32", *words.overrides])
        animator = load_animator(command).animator
        videos = Path(measurement.videos_or_talkers("", folder, count=words.talkers, seconds=words.seconds))
        wave = media.read_speech(Path(words.speech) if words.speech else min(videos.glob("*.mp4")))[
            : words.frames * SAMPLES_PER_FRAME
        ]
        found: dict[Way, list[tuple[float, float]]] = defaultdict(list)
        for name, portrait in crops([Path(each) for each in words.portraits] or [videos], words.most):
            for way in ((kind, start) for start in (OWN, TURNED) for kind in KEYPOINTS):
                found[way].append(distance(animator, portrait, wave, way))
            told = "  ".join(f"{' '.join(way)} {values[-1][0]:.2f}" for way, values in found.items())
            print(f"{name}: {told}", flush=True)
    measurement.show(
        f"{len(next(iter(found.values())))} portraits, {words.frames} frames each: distance of shapes",
        COLUMNS,
        [row(*item) for item in found.items()],
    )


COLUMNS = ["keypoints, start", "mean %", "median %", f"{WORST}th perc. %", "faces"]


def row(way: Way, values: list[tuple[float, float]]) -> list[str]:
    shapes = [shape for shape, _ in values if np.isfinite(shape)]
    share = f"{100 * mean(seen for _, seen in values):.0f} %"
    return [
        ", ".join(way),
        f"{mean(shapes):.2f}",
        f"{median(shapes):.2f}",
        f"{np.percentile(shapes, WORST):.2f}",
        share,
    ]


if __name__ == "__main__":
    parser = measurement.arguments(__doc__, rounds=1, talkers=3, seconds=3.0)
    parser.add_argument("--model", required=True, help="a bundle's folder, or models:/audio2head@champion")
    parser.add_argument(
        "--portraits", nargs="*", default=[], help="folders of pictures and videos; none: synthetic talkers"
    )
    parser.add_argument("--speech", default="", help="a recording; empty: a talker's")
    parser.add_argument("--frames", type=int, default=50, help="of the speech, at most")
    parser.add_argument("--most", type=int, default=14, help="portraits")
    parser.add_argument(
        "--overrides", nargs="*", default=[], help="further keys of a2h generate, such as logger.tracking_uri=…"
    )
    main(parser.parse_args())
