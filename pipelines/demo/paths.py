"""Where a demo keeps its files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class DemoPaths:
    """The files and folders of a demo, all below one folder."""

    root: Path

    @property
    def speakers(self) -> Path:
        """Videos of synthetic speakers, if the user gave none."""
        return self.root / "talkers"

    @property
    def dataset(self) -> Path:
        return self.root / "dataset"

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    @property
    def evaluation(self) -> Path:
        return self.root / "evaluation"

    @property
    def portrait(self) -> Path:
        return self.root / "portrait.png"

    @property
    def speech(self) -> Path:
        return self.root / "speech.wav"

    @property
    def steps(self) -> Path:
        """The record of finished steps."""
        return self.root / "demo.json"

    @property
    def page(self) -> Path:
        return self.root / "index.html"

    def overrides(self, *groups: str) -> list[str]:
        """Return the settings that make a command write below the demo's folder.

        Args:
            groups: `paths`, `logger`, or both: the groups of settings that the command has.
        """
        values = {
            "paths": [f"paths.runs={self.runs}", f"paths.cache={self.root / '.cache'}"],
            "logger": [
                f"logger.tracking_uri=sqlite:///{self.runs / 'mlflow.db'}",
                f"logger.artifacts={self.runs / 'artifacts'}",
            ],
        }
        return [override for group in groups for override in values[group]]
