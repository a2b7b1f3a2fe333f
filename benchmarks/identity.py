"""Compare how well absolute and relative keypoints keep the portrait's identity.

Each portrait is animated four times: with absolute and relative keypoints, each from the predicted
pose and from that pose turned aside, so that portrait and first frame disagree. The measure is the
distance between the shapes of the faces in video and portrait (landmarks without the lips).
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
PREDICTED, TURNED = "predicted start", "turned start"
TURN_RAD = np.deg2rad(20.0)  # about the vertical axis, away from the direction of the portrait
YAW = 1  # index in a pose
MEASURE_EVERY = 2  # frames
WORST = 95  # percentile

Variant = tuple[str, str]  # keypoints, start


def crops(folders: list[Path], most: int) -> Iterator[tuple[str, UInt8[np.ndarray, "256 256 3"]]]:
    """Yield portrait crops of pictures and of the first frames of videos.

    Files without a usable face are printed and skipped.
    """
    files = [
        file for folder in folders for file in sorted(folder.iterdir()) if file.suffix.lower() in PICTURES | VIDEOS
    ]
    count = 0
    for file in files:
        if count == most:
            return
        try:
            picture = media.load_portrait(file) if file.suffix.lower() in PICTURES else first_frame(file)
            portrait = crop_to_face(picture, name=file.name)
        except A2HError as error:
            print(f"skipped: {error.message}")
            continue
        count += 1
        yield file.name, portrait


def first_frame(video: Path) -> UInt8[np.ndarray, "h w 3"]:
    with media.open_video(video) as opened:
        return np.asarray(next(iter(opened.stream())))


def poses(
    animator: Animator, portrait: np.ndarray, wave: Int16[np.ndarray, " n"], start: str
) -> Float32[np.ndarray, "t 6"]:
    """Return the predicted poses, or the same motion from a start turned to the other side."""
    predicted = animator.predict_pose(portrait, wave)
    if start == TURNED:
        predicted[:, YAW] -= TURN_RAD * (1 if predicted[0, YAW] >= 0 else -1)
    return predicted


def distance(
    animator: Animator, portrait: np.ndarray, wave: Int16[np.ndarray, " n"], variant: Variant
) -> tuple[float, float]:
    """Return the shape distance in percent, and the share of frames in which a face was detected."""
    keypoints, start = variant
    frames = np.stack(
        list(animator.animate(portrait, wave, pose=poses(animator, portrait, wave, start), keypoints=keypoints))
    )[::MEASURE_EVERY]
    reference = mesh(portrait[None])
    meshes = mesh(frames)
    scale = len(portrait) / frames.shape[1]  # both in pixels of the portrait
    if not reference.found.all() or not meshes.found.any():
        return float("nan"), float(meshes.found.mean())
    still = still_points()
    shape = landmark_shape_distance(meshes.landmarks[meshes.found][:, still] * scale, reference.landmarks[0, still])
    return shape, float(meshes.found.mean())


def main(arguments: Namespace) -> None:
    """Measure and print the table."""
    with measurement.temporary_folder() as folder:
        command = compose("generate", [f"model={arguments.model}", "generate.precision=fp32", *arguments.overrides])
        animator = load_animator(command).animator
        videos = Path(measurement.videos_or_speakers("", folder, count=arguments.speakers, seconds=arguments.seconds))
        wave = media.read_speech(Path(arguments.speech) if arguments.speech else min(videos.glob("*.mp4")))[
            : arguments.frames * SAMPLES_PER_FRAME
        ]
        distances: dict[Variant, list[tuple[float, float]]] = defaultdict(list)
        for name, portrait in crops([Path(each) for each in arguments.portraits] or [videos], arguments.most):
            for variant in ((keypoints, start) for start in (PREDICTED, TURNED) for keypoints in KEYPOINTS):
                distances[variant].append(distance(animator, portrait, wave, variant))
            latest = "  ".join(f"{' '.join(each)} {values[-1][0]:.2f}" for each, values in distances.items())
            print(f"{name}: {latest}", flush=True)
    measurement.show(
        f"{len(next(iter(distances.values())))} portraits, {arguments.frames} frames each: shape distance",
        COLUMNS,
        [row(*item) for item in distances.items()],
    )


COLUMNS = ["keypoints, start", "mean %", "median %", f"{WORST}th perc. %", "faces"]


def row(variant: Variant, values: list[tuple[float, float]]) -> list[str]:
    shapes = [shape for shape, _ in values if np.isfinite(shape)]
    share = f"{100 * mean(detected for _, detected in values):.0f} %"
    return [
        ", ".join(variant),
        f"{mean(shapes):.2f}",
        f"{median(shapes):.2f}",
        f"{np.percentile(shapes, WORST):.2f}",
        share,
    ]


if __name__ == "__main__":
    parser = measurement.arguments(__doc__, rounds=1, speakers=3, seconds=3.0)
    parser.add_argument("--model", required=True, help="a bundle's folder, or models:/audio2head@champion")
    parser.add_argument(
        "--portraits", nargs="*", default=[], help="folders of pictures and videos; none: synthetic speakers"
    )
    parser.add_argument("--speech", default="", help="a recording; empty: of a synthetic speaker")
    parser.add_argument("--frames", type=int, default=50, help="of the speech, at most")
    parser.add_argument("--most", type=int, default=14, help="portraits")
    parser.add_argument(
        "--overrides", nargs="*", default=[], help="further keys of a2h generate, such as logger.tracking_uri=…"
    )
    main(parser.parse_args())
