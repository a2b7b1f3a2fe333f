"""One small prepared dataset for all tests of this folder: two people who talk, and two files that cannot be used."""

from __future__ import annotations

import hashlib
import shutil
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest

from a2h_models.sample import SCHEMA_VERSION, SIZE, Sample
from a2h_models.timebase import SAMPLES_PER_FRAME, Span
from pipelines.config import ClusterConfig, PathsConfig, PrepareCommand, PrepareConfig
from pipelines.dataset.shards import Encoded, ShardWriter, encode
from pipelines.prepare import ledger, timings
from pipelines.prepare.filters import Reason, Scores
from pipelines.prepare.finish import finish
from pipelines.prepare.flow import claim, prepare
from pipelines.prepare.pictures import preview_name
from pipelines.prepare.plan import Unit, Video, plan
from pipelines.storage import Storage

SHORT_REAL = ("lipnet_grid_sbia1a.mpg", "lipnet_grid_lbbc2a.mpg")  # 3 s each


@pytest.fixture(scope="session")
def talks(tmp_path_factory, request) -> Path:
    """A folder of videos: real ones where they are at hand, else synthetic talkers; a broken file and one without sound."""
    folder = tmp_path_factory.mktemp("talks")
    clips = Path(__file__).resolve().parents[4] / "shared" / "clips"
    if clips.is_dir():
        for name in SHORT_REAL:
            (folder / name).symlink_to(clips / name)
    else:
        from pipelines.talkers import make_talkers

        make_talkers(folder, count=2, seed=1, seconds=3.0)
    (folder / "broken.mp4").write_bytes(b"this is no video")
    return folder


def command(videos: Path, out: Path, **changes) -> PrepareCommand:
    plain = PrepareCommand(
        videos=str(videos),
        out=str(out),
        cluster=ClusterConfig(workers=0),
        paths=PathsConfig(cache=str(out.parent / "cache")),
    )
    for name, value in changes.items():
        setattr(plain, name, value)
    return plain


@pytest.fixture(scope="session")
def make_command():
    """A command that prepares a folder in a plain loop, with fields changed by name."""
    return command


@pytest.fixture(scope="session")
def prepared(talks, tmp_path_factory) -> Path:
    """The talks as a dataset, made in a plain loop. Not to be changed: copy it."""
    out = tmp_path_factory.mktemp("prepared") / "dataset"
    prepare(command(talks, out))
    return out


# -------------------------------------------------------------------------------- a dataset made by hand, in a second
PEOPLE = {"ann": 3, "bob": 2, "cid": 1, "dee": 1, "eve": 1}  # identity → videos
FRAMES = 6  # of each sample: too few for training, enough for files


def _video(identity: str, number: int) -> Video:
    sha256 = hashlib.sha256(f"{identity} {number}".encode()).hexdigest()
    return Video(file=f"{identity}/{number}.mp4", sha256=sha256, size=1, identity=identity, licence="CC-BY-4.0", frames=200, fps=25.0)


def _sample(key: str, video: Video) -> Sample:
    rng = np.random.default_rng(int(key[:8], 16))
    shades = np.linspace(0, 200, SIZE, dtype=np.uint8)
    frames = np.stack([np.roll(shades, 8 * frame + int(key[0], 16)) for frame in range(FRAMES)])
    pose = np.array([0.1, 0.2, 0.0, 0.0, 0.0, 300.0], np.float32) * rng.uniform(0.5, 1.5, (FRAMES, 1)).astype(np.float32)
    return Sample(
        key=key,
        frames=np.broadcast_to(frames[:, None, :, None], (FRAMES, SIZE, SIZE, 3)).copy(),
        wave=rng.integers(-999, 999, FRAMES * SAMPLES_PER_FRAME, dtype=np.int16),
        speech=rng.normal(size=(FRAMES, 4, 41)).astype(np.float32),
        mel=rng.normal(size=(4 * FRAMES, 80)).astype(np.float16),
        pose=pose,
        landmarks=rng.uniform(0, 255, (FRAMES, 468, 3)).astype(np.float16),
        meta={
            "identity": video.identity,
            "source": {"sha256": video.sha256},
            "span": [0, FRAMES],
            "licence": "",
            "schema_version": SCHEMA_VERSION,
        },
    )


def _write_unit(unit: Unit, out: Storage) -> None:
    """Of each video an accepted clip, and a dropped one with its preview."""
    rows, picture = [], cv2.imencode(".jpg", np.zeros((128, 768, 3), np.uint8))[1].tobytes()
    with ShardWriter(out, unit.shard) as shard, ShardWriter(out, preview_name(unit.shard)) as previews:
        for video in unit.videos:
            clip = partial(ledger.clip_row, video, unit=unit, crop="0,0,256")
            good, bad = f"{video.sha256[:20]}_0000000_0000x0000", f"{video.sha256[:20]}_0000100_0000x0000"
            scores = Scores(face_px=99.0 + len(rows), yaw_deg=float(len(rows)), faces=1.0)
            shard.add(encode(_sample(good, video)), frames=FRAMES, identity=video.identity)
            previews.add(Encoded(key=bad, members={"jpg": picture}), frames=64, identity=video.identity)
            rows += [
                ledger.video_row(video, unit=unit, reason=None),
                clip(key=good, span=Span(0, FRAMES), scores=scores, reason=None),
                clip(key=bad, span=Span(100, 164), scores=Scores(face_px=20.0, faces=2.0), reason=Reason.FACE_TOO_SMALL),
            ]
    timings.write(out, unit.shard, {video.sha256: {"open": 0.5, "features": 2.0} for video in unit.videos})
    shard.finish(split=unit.split, unit=unit.id, plan=unit.plan, ledger=[row.flat() for row in rows])


@pytest.fixture(scope="session")
def made(tmp_path_factory) -> Path:
    """A whole dataset of eight videos of five people and one that could not be read. Not to be changed: copy it."""
    out = tmp_path_factory.mktemp("made") / "dataset"
    config = PrepareConfig()
    config.plan.min_units = 4
    broken = Video(file="broken.mp4", sha256="f" * 64, size=1, identity="fay", reason="unreadable", error_message="<b>no video</b>")
    copy = _video("ann", 0)._replace(file="copy of ann.mp4", identity="ann again")
    videos = [_video(identity, number) for identity, count in PEOPLE.items() for number in range(count)]
    planned = plan([*videos, copy, broken], config)
    claim(Storage(out), planned)
    for unit in planned.units:
        _write_unit(unit, Storage(out))
    finish(Storage(out), planned)
    return out


@pytest.fixture
def dataset(made, tmp_path) -> Path:
    """A copy of it that a test may damage."""
    copy = tmp_path / "dataset"
    shutil.copytree(made, copy)
    return copy
