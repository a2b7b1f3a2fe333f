"""report.html: what became of the videos, in numbers and pictures. One file that needs nothing beside it."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, UInt8

from a2h_models.errors import DatasetError
from a2h_models.head_pose import draw_boxes
from a2h_models.sample import SIZE
from pipelines import media, pages
from pipelines.config import FiltersConfig
from pipelines.dataset.shards import Sidecar, decode_npy, read_members, read_sidecars
from pipelines.prepare import ledger
from pipelines.prepare.filters import LIMITS, SCORES, Status
from pipelines.prepare.plan import PLAN_FILE, SPLITS, Plan
from pipelines.prepare.summary import DATASET_FILE, FRAMES_PER_HOUR
from pipelines.storage import Storage

if TYPE_CHECKING:
    import pandas as pd

REPORT_FILE = "report.html"
COLUMNS = 6  # frames of a contact sheet
PICTURE = 128  # pixels a side of each
GREEN, WHITE = (60, 220, 90), (255, 255, 255)
JPEG_QUALITY = 82
MAX_STRIPS = 80  # accepted samples shown, evenly drawn
MAX_DROPPED = 8  # clips shown for each reason
MAX_VIDEOS = 500  # rows of the table of videos without a sample
HISTOGRAM_BINS = 30
# scores that decide whether another one's limit is applied
CONDITIONS = {
    "sync_confidence": "min_sync_confidence",
    "speaker_confidence": "min_speaker_confidence",
    "speaker_lead": "min_speaker_lead",
}
PLOTS_A_ROW = 4


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
    """Frames of one clip side by side, evenly spaced, with the pose box (white) and the landmarks (green) drawn on them.

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
    """A crop of any size with its landmarks as dots and its pose as the networks' box; both are given for 256 pixels."""
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


# -------------------------------------------------------------------------------- the page
def write_report(path: str | Path | Storage) -> None:
    """Write report.html of a dataset from its ledger, sidecars and previews.

    Raises:
        DatasetError: if the dataset is not whole.
    """
    from markupsafe import Markup

    dataset = path if isinstance(path, Storage) else Storage(path)
    rows = ledger.read(dataset)
    sidecars = read_sidecars(dataset)
    plan = Plan.from_bytes(dataset.read(PLAN_FILE), name=f"{dataset.url}/{PLAN_FILE}")
    facts = json.loads(dataset.read(DATASET_FILE))
    clips, videos = rows[rows.kind == ledger.CLIP], rows[rows.kind == ledger.VIDEO]
    useless = videos[videos.status != Status.ACCEPTED]
    html = pages.render(
        "report.html",
        name=Path(dataset.url).name,
        fingerprint=facts["fingerprint"],
        plan=plan.hash,
        facts=headline(videos, clips),
        funnel=funnel(videos, clips),
        splits=split_table(clips, sidecars),
        scores=Markup(score_plots(clips, FiltersConfig(**plan.config["filters"]))),  # noqa: S704  our own SVG, no text of others
        accepted=accepted_strips(dataset, sidecars, clips),
        accepted_count=int((clips.status == Status.ACCEPTED).sum()),
        dropped=dropped_strips(dataset, clips),
        videos=ledger.records(useless.head(MAX_VIDEOS)),
        videos_left_out=max(0, len(useless) - MAX_VIDEOS),
    )
    dataset.publish(REPORT_FILE, html.encode())


def headline(videos: pd.DataFrame, clips: pd.DataFrame) -> list[dict[str, Any]]:
    good = clips[clips.status == Status.ACCEPTED]
    return [
        {"name": "videos", "value": len(videos)},
        {"name": "hours of video", "value": _hours(videos)},
        {"name": "samples", "value": len(good)},
        {"name": "hours of samples", "value": _hours(good)},
        {"name": "people", "value": good.identity.nunique()},
        {"name": "videos without a sample", "value": int((videos.status != Status.ACCEPTED).sum())},
    ]


def _hours(rows: pd.DataFrame) -> str:
    return f"{(rows.stop - rows.start).sum() / FRAMES_PER_HOUR:.3f}"


def funnel(videos: pd.DataFrame, clips: pd.DataFrame) -> list[dict[str, Any]]:
    """Hours of all video, of accepted clips, and of each reason: a video's where it never had a clip, else the clips'."""
    with_clips = set(clips.file)
    barren = videos[(videos.status != Status.ACCEPTED) & ~videos.file.isin(with_clips)]
    good, bad = clips[clips.status == Status.ACCEPTED], clips[clips.status != Status.ACCEPTED]
    steps = [("all video", videos, "all"), ("accepted", good, "accepted")]
    for reason in sorted({*barren.reason, *bad.reason}):
        lost = [table[table.reason == reason] for table in (barren, bad)]
        steps.append((reason, max(lost, key=len) if not all(map(len, lost)) else _joined(lost), "dropped"))
    total = max(1, int((videos.stop - videos.start).sum()))
    return [
        {
            "name": name,
            "hours": _hours(rows),
            "count": len(rows),
            "kind": kind,
            "percent": 100 * int((rows.stop - rows.start).sum()) / total,
        }
        for name, rows, kind in steps
    ]


def _joined(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    import pandas as pd

    return pd.concat([table[["start", "stop"]] for table in tables])


def split_table(clips: pd.DataFrame, sidecars: Sequence[Sidecar]) -> list[dict[str, Any]]:
    good = clips[clips.status == Status.ACCEPTED]
    rows = {split: good[good.split == split] for split in SPLITS}
    return [
        {
            "name": split,
            "identities": found.identity.nunique(),
            "samples": len(found),
            "hours": _hours(found),
            "shards": sum(sidecar.split == split for sidecar in sidecars),
        }
        for split, found in rows.items()
    ]


def score_plots(clips: pd.DataFrame, config: FiltersConfig) -> str:
    """One histogram a score, with its thresholds, as SVG."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    rows = -(-len(SCORES) // PLOTS_A_ROW)
    figure = Figure(figsize=(3.1 * PLOTS_A_ROW, 2.1 * rows), layout="constrained")
    good = clips.status == Status.ACCEPTED
    for place, score in enumerate(SCORES):
        axes = figure.add_subplot(rows, PLOTS_A_ROW, place + 1)
        values = [clips.loc[chosen, score].dropna().to_numpy(float) for chosen in (good, ~good)]
        if any(map(len, values)):
            axes.hist(values, bins=HISTOGRAM_BINS, stacked=True, color=["#1a7f4b", "#d6695d"])
        for bound in bounds(score, config, values):
            axes.axvline(bound, color="#333333", linestyle="--", linewidth=1)
        axes.set_title(score, fontsize=9)
        axes.tick_params(labelsize=7)
    picture = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "a2h", "svg.fonttype": "none"}):
        figure.savefig(picture, format="svg", metadata={"Date": None})
    text = picture.getvalue()
    return text[text.index("<svg") :]


def bounds(score: str, config: FiltersConfig, values: Sequence[np.ndarray]) -> list[float]:
    """The thresholds of a score, those that lie anywhere near its values: others would squeeze the histogram."""
    settings = [limit.setting for limit in LIMITS if limit.score == score]
    if score in CONDITIONS:
        settings.append(CONDITIONS[score])
    found = {float(getattr(config, setting)) for setting in settings}
    if score == "sync_offset":
        found |= {-bound for bound in found}
    everything = np.concatenate(list(values)) if values else np.zeros(0)
    if not len(everything):
        return sorted(found)
    low, high = float(everything.min()), float(everything.max())
    room = max(high - low, 1e-6)
    return sorted(bound for bound in found if low - room <= bound <= high + room)


def accepted_strips(dataset: Storage, sidecars: Sequence[Sidecar], clips: pd.DataFrame) -> list[dict[str, str]]:
    good = clips[clips.status == Status.ACCEPTED]
    by_shard = {sidecar.shard: sidecar for sidecar in sidecars}
    chosen = good.iloc[spread(len(good), MAX_STRIPS)]
    return [
        {"image": pages.picture(sample_strip(dataset, by_shard[f"{row['shard']}.tar"], row["key"])), "caption": caption(row)}
        for row in ledger.records(chosen)
    ]


def dropped_strips(dataset: Storage, clips: pd.DataFrame) -> list[dict[str, Any]]:
    """Previews of dropped clips, by reason."""
    bad = clips[clips.status != Status.ACCEPTED]
    groups = []
    for reason, rows in bad.groupby("reason"):
        strips: list[dict[str, str]] = []
        for row in ledger.records(rows):
            if len(strips) < MAX_DROPPED and (picture := read_preview(dataset, row["shard"], row["key"])):
                strips.append({"image": pages.picture(picture), "caption": caption(row)})
        groups.append({"reason": reason, "count": len(rows), "strips": strips})
    return groups


def preview_name(shard: str) -> str:
    """Where the previews of a shard's dropped clips lie: a tar of JPEGs, by key."""
    return f"previews/{shard}"


def read_preview(dataset: Storage, shard: str, key: str) -> bytes | None:
    """The picture of a dropped clip; None where none was kept."""
    name = f"{preview_name(shard)}.tar"
    if not dataset.exists(name):
        return None
    try:
        with dataset.open(name) as handle, tarfile.open(fileobj=handle) as tar:
            names = set(tar.getnames())
            member = tar.extractfile(f"{key}.jpg") if f"{key}.jpg" in names else None
            return member.read() if member else None
    except tarfile.TarError as error:
        raise DatasetError(f"{dataset.url}/{name} is damaged ({error})", hint="remove it: it holds nothing but pictures") from None


def caption(row: Mapping[str, Any]) -> str:
    shown = ("face_px", "face_share", "sync_offset", "sync_confidence", "yaw_deg", "speech_db", "voiced_share")
    numbers = " · ".join(f"{name} {row[name]:.3g}" for name in shown if row[name] is not None and not np.isnan(row[name]))
    return f"{row['file']} [{row['start']}–{row['stop']}) {row['identity']} · {row['split']} · {numbers}"
