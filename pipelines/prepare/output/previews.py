"""Pictures of clips: contact sheets of samples, and the previews that are kept of dropped clips."""

from __future__ import annotations

import tarfile

import numpy as np
from jaxtyping import Float, UInt8

from a2h_models.data_types import SIZE
from a2h_models.errors import DatasetError
from a2h_models.features.head_pose import draw_boxes
from pipelines import media
from pipelines.core.storage import Storage
from pipelines.dataset.shard_format import Sidecar, decode_npy, read_members

COLUMNS = 6  # frames of a contact sheet
PICTURE = 128  # pixels a side of each
GREEN, WHITE = (60, 220, 90), (255, 255, 255)
JPEG_QUALITY = 82
PREVIEWS = "previews"  # the folder of the previews of dropped clips
MAX_DROPPED = 8  # previews kept, of each shard and reason


# -------------------------------------------------------------------------------- contact sheets
def contact_sheet(
    frames: UInt8[np.ndarray, "t 256 256 3"],
    pose: Float[np.ndarray, "t 6"] | None = None,
    landmarks: Float[np.ndarray, "t n 3"] | None = None,
    *,
    columns: int = COLUMNS,
    picture: int = PICTURE,
    kind: str = ".png",
) -> bytes:
    """Frames of one clip side by side, evenly spaced, with the pose box (white) and the landmarks
    (green) drawn on them.

    Args:
        frames: of the crop, RGB.
        pose: of each frame, not normalised; None draws no box.
        landmarks: of each frame, crop pixels; None draws none.
        columns: pictures in the row.
        picture: pixels a side of each.
        kind: .png or .jpg
    """
    import cv2

    chosen = spread(len(frames), columns)
    small = [cv2.resize(frames[i], (picture, picture), interpolation=cv2.INTER_AREA) for i in chosen]
    drawn = [
        draw_on(image, None if pose is None else pose[i], None if landmarks is None else landmarks[i])
        for i, image in zip(chosen, small, strict=True)
    ]
    row = np.concatenate(drawn, axis=1)
    done, data = cv2.imencode(kind, cv2.cvtColor(row, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    assert done
    return data.tobytes()


def spread(length: int, count: int) -> list[int]:
    """Up to `count` indices below `length`, evenly spaced, the middle of each part."""
    count = min(count, length)
    return [(2 * part + 1) * length // (2 * count) for part in range(count)]


def draw_on(
    frame: UInt8[np.ndarray, "s s 3"], pose: Float[np.ndarray, " 6"] | None, landmarks: Float[np.ndarray, "n 3"] | None
) -> UInt8[np.ndarray, "s s 3"]:
    """A crop of any size with its landmarks as dots and its pose as the networks' box; both are
    given for 256 pixels.
    """
    image, size = frame.copy(), len(frame)
    if landmarks is not None:
        x, y = (np.nan_to_num(landmarks[:, :2]).astype(np.float32) * (size / SIZE)).round().astype(int).T
        inside = (x >= 0) & (x < size) & (y >= 0) & (y < size)
        image[y[inside], x[inside]] = GREEN
    if pose is not None:
        image[draw_boxes(pose[None].astype(np.float32), size)[0] > 0] = WHITE
    return image


def sample_strip(dataset: Storage, sidecar: Sidecar, key: str) -> bytes:
    """The contact sheet of a sample of a shard; only the frames that are shown are decoded."""
    members = read_members(dataset, sidecar, key, ("mp4", "pose.npy", "landmarks.npy")).members
    chosen = spread(sidecar.frames[key], COLUMNS)
    return contact_sheet(
        media.decode_crop(members["mp4"], chosen),
        decode_npy(members["pose.npy"], key=key)[chosen],
        decode_npy(members["landmarks.npy"], key=key)[chosen].astype(np.float32),
        kind=".jpg",
    )


# -------------------------------------------------------------------------------- previews
def preview_name(shard: str) -> str:
    """Where the previews of a shard's dropped clips lie: a tar of JPEGs, by key."""
    return f"{PREVIEWS}/{shard}"


def read_preview(dataset: Storage, shard: str, key: str) -> bytes | None:
    """The picture of a dropped clip; None where none was kept."""
    return read_previews(dataset, shard).get(key)


def read_previews(dataset: Storage, shard: str) -> dict[str, bytes]:
    """The pictures of a shard's dropped clips, by key; there are few.

    Raises:
        DatasetError: if they are damaged.
    """
    name = f"{preview_name(shard)}.tar"
    if not dataset.exists(name):
        return {}
    try:
        with dataset.open(name) as handle, tarfile.open(fileobj=handle) as tar:
            files = ((member, tar.extractfile(member)) for member in tar)
            return {member.name.removesuffix(".jpg"): file.read() for member, file in files if file}
    except tarfile.TarError as error:
        raise DatasetError(
            f"{dataset.url}/{name} is damaged ({error})", hint="remove it: it holds nothing but pictures"
        ) from None
