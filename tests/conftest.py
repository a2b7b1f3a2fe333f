"""What every test may count on: a quiet, offline, seeded world below a temporary folder, and one
Ray for all.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.paths import ROOT, SHARED

pytest_plugins = [f"tests.fixtures.{name}" for name in ("models", "parity", "prepare", "registry", "training")]

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as pipelines/cli/main.py does
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("RAY_AUTH_MODE", "disabled")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("MPLBACKEND", "agg")
os.environ.pop("MLFLOW_TRACKING_URI", None)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real clips, portraits, speech and the release's numbers."""
    if not SHARED.is_dir():
        pytest.skip("../shared with the real media is not here")
    return SHARED


@pytest.fixture(scope="session")
def real_clips(shared: Path) -> Path:
    clips = shared / "clips"
    if not (clips / "MANIFEST.csv").is_file():
        pytest.skip("../shared/clips with the real videos is not here")
    return clips


@pytest.fixture(scope="session")
def stand_in_checkpoint(shared: Path) -> Callable[[int], Path]:
    """The released file's stand-in with a seed's weights: made once by the script beside the
    numbers, kept in `.cache/parity`.
    """

    def made(seed: int) -> Path:
        path = ROOT / ".cache" / "parity" / f"audio2head_seed{seed}.pth.tar"
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            aside = path.with_name(f"{path.name}.{os.getpid()}")
            script = shared / "parity" / "make_checkpoint.py"
            subprocess.run([sys.executable, str(script), "--seed", str(seed), "--out", str(aside)], check=True)
            aside.replace(path)
        return path

    return made


@pytest.fixture(scope="session", autouse=True)
def _torch_threads() -> None:
    """Two threads, or as many as A2H_TEST_THREADS says: no result may depend on it."""
    import torch

    torch.set_num_threads(int(os.environ.get("A2H_TEST_THREADS", "2")))
