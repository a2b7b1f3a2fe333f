"""`a2h demo` and `a2h talkers`: the whole way on synthetic speakers."""

from __future__ import annotations

from dataclasses import dataclass, field

from a2h_models.settings import setting
from pipelines.config.cluster import ClusterConfig


@dataclass
class DemoCommand:
    """All of this once, in minutes, with a page to look at."""

    videos: str = setting("", important=True)
    """Folder of talking videos; empty makes synthetic speakers."""

    out: str = setting("demo", important=True)
    """Folder of everything that is written."""

    identity_csv: str = setting("")
    """Table with the columns file,identity; empty: MANIFEST.csv beside the videos, else the files' names."""

    portrait: str = setting("")
    """Portrait to animate; empty: the first frame of a held-out clip."""

    speech: str = setting("")
    """Speech to say; empty: that clip's own."""

    count: int = setting(6, at_least=1, important=True)
    """Number of synthetic speakers."""

    seconds: float = setting(6.0, above=0, unit="s")
    """Length of each synthetic video."""

    seed: int = setting(0, at_least=0)
    """Seed of the synthetic speakers and of the trainings."""

    scale: str = setting("smoke", choices=("smoke", "small", "paper"), important=True)
    """Size of the networks."""

    max_steps: int = setting(0, at_least=0, unit="batches")
    """Length of each training; 0: as the scale says."""

    cluster: ClusterConfig = field(default_factory=ClusterConfig)


@dataclass
class TalkersCommand:
    """Synthetic talking heads with known truth."""

    out: str = setting(important=True)
    """Folder to write."""

    count: int = setting(6, at_least=1, important=True)
    """Number of speakers."""

    seed: int = setting(0, at_least=0, important=True)
    """The same seed gives the same speakers."""

    seconds: float = setting(6.0, above=0, unit="s", important=True)
    """Length of each video."""

    size: int = setting(320, at_least=1, unit="px", important=True)
    """Side of the picture."""

    fps: float = setting(25.0, above=0, unit="frames/s", important=True)
    """Frame rate."""

    audio_offset: int = setting(0, unit="frames", important=True)
    """Frames of 1/25 s by which the sound comes late."""

    second_face: bool = setting(default=False, important=True)
    """Show a second, silent face beside the speaker."""

    cut: bool = setting(default=False, important=True)
    """Cut to another shot half-way."""
