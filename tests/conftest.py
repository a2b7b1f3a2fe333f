"""What every test may count on: a quiet, offline, seeded world below a temporary folder, and one Ray for all."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as pipelines/cli.py does
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("RAY_AUTH_MODE", "disabled")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("MPLBACKEND", "agg")
os.environ.pop("MLFLOW_TRACKING_URI", None)

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"  # other people's media and the release's numbers, beside the project where they are at all


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


@pytest.fixture(scope="session", autouse=True)
def _two_torch_threads() -> None:
    import torch

    torch.set_num_threads(2)
