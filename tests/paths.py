"""Where the checkout is, and what lies beside it."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# real videos, portraits, speech and the release's numbers: other people's, where they are at all
SHARED = ROOT.parent / "shared"
