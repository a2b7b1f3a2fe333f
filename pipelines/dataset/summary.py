"""The summary of a dataset: what `a2h prepare` returns and prints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

ACCEPTED = "accepted"  # status of a clip that became a sample


@dataclass(frozen=True, kw_only=True)
class DatasetSummary:
    """Numbers of a prepared dataset: what became of its videos and clips."""

    path: str
    plan: str  # hash of the plan
    fingerprint: str  # empty: nothing was written
    shards: int
    videos: dict[str, int]  # status → number
    clips: dict[str, int]  # status → number
    reasons: dict[str, int]  # reason → number of videos that gave no sample
    hours: dict[str, float] = field(default_factory=dict)  # split → hours of accepted clips
    identities: dict[str, int] = field(default_factory=dict)  # split → people with an accepted clip
    forecast: str = ""  # of a dry run: the time and space that the plan will take

    @property
    def accepted(self) -> int:
        """Number of samples in the dataset."""
        return self.clips.get(ACCEPTED, 0)

    def __str__(self) -> str:
        dropped = format_counts(self.reasons) or "none"
        if not self.fingerprint:
            plan = f"plan {self.plan}: {sum(self.videos.values())} videos in {self.shards} units; dropped: {dropped}"
            return f"{plan}\n{self.forecast}".rstrip()
        minutes = ", ".join(f"{split} {60 * hours:.1f} min" for split, hours in self.hours.items())
        videos = f"{sum(self.videos.values())} videos: {format_counts(self.videos)}; dropped: {dropped}"
        return f"{self.path}: {self.accepted} samples in {self.shards} shards ({minutes}); {videos}"


def format_counts(counts: Mapping[str, int]) -> str:
    """Format counts by name, the most frequent first: `12 too_short, 3 no_face`."""
    return ", ".join(
        f"{number} {name}" for name, number in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    )
