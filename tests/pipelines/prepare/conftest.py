"""One small prepared dataset for all tests of this folder: two people who talk, and two files that cannot be used."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.config import ClusterConfig, PathsConfig, PrepareCommand
from pipelines.prepare.flow import prepare

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
