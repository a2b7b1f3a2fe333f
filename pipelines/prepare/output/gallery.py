"""The pictures of the report: some of the accepted samples and of each kind of dropped clip, within
a number of bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.core.storage import Storage
from pipelines.dataset.shard_format import Sidecar
from pipelines.prepare.output import ledger
from pipelines.prepare.output.previews import read_preview, sample_strip, spread
from pipelines.reporting import html_page

if TYPE_CHECKING:
    import pyarrow as pa

MAX_STRIPS = 60  # accepted samples shown, evenly drawn
MAX_OF_A_KIND = 6  # clips shown for each reason
MAX_TRIED = 50  # rows of a reason whose preview is looked for
MAX_BYTES = 8_000_000  # of all pictures of a page
SHOWN = (
    "face_px",
    "face_share",
    "sync_offset",
    "sync_confidence",
    "expert_offset",
    "expert_certainty",
    "yaw_deg",
    "speech_db",
    "voice_share",
)  # scores of a caption
MAX_NAME = 60  # letters of a file name: its end says more than its folders


class Shards:
    """Sidecars by shard name, the last one kept: rows come in the order of files, so few are read
    twice.
    """

    def __init__(self, dataset: Storage) -> None:
        self.dataset = dataset
        self._last: Sidecar | None = None

    def __getitem__(self, shard: str) -> Sidecar:
        if self._last is None or self._last.shard != f"{shard}.tar":
            name = f"{shard}.json"
            self._last = Sidecar.from_bytes(self.dataset.read(name), name=name)
        return self._last


class Gallery:
    """Hands out pictures until their bytes are used up: half of them for accepted samples, the rest
    shared out over the reasons.
    """

    def __init__(self, dataset: Storage) -> None:
        self.dataset = dataset

    def accepted(self, good: pa.Table) -> list[dict[str, str]]:
        if not len(good):  # no indices have no type, and Arrow wants one
            return []
        shards = Shards(self.dataset)
        chosen = ledger.records(good.take(spread(len(good), MAX_STRIPS)).sort_by("shard"))
        return within(
            [strip(sample_strip(self.dataset, shards[row["shard"]], row["key"]), row) for row in chosen], MAX_BYTES // 2
        )

    def dropped(self, bad: pa.Table) -> list[dict[str, Any]]:
        """Previews of dropped clips, by reason, the most frequent first."""
        reasons = ledger.counts(bad["reason"])
        share = MAX_BYTES // 2 // max(1, len(reasons))
        groups = []
        for reason, number in reasons.items():
            strips: list[dict[str, str]] = []
            rows = ledger.where(bad, reason=reason)
            for row in ledger.records(rows.take(spread(len(rows), MAX_TRIED))):
                if len(strips) < MAX_OF_A_KIND and (picture := read_preview(self.dataset, row["shard"], row["key"])):
                    strips.append(strip(picture, row))
            groups.append({"reason": reason.replace("_", " "), "count": number, "strips": within(strips, share)})
        return groups


def strip(picture: bytes, row: Mapping[str, Any]) -> dict[str, str]:
    return {"image": html_page.picture(picture), **caption(row)}


def within(strips: list[dict[str, str]], limit: int) -> list[dict[str, str]]:
    """The first of them that together have no more bytes than the limit."""
    sizes = np.cumsum([len(shown["image"]) for shown in strips])
    return strips[: int(np.searchsorted(sizes, limit, side="right"))]


def caption(row: Mapping[str, Any]) -> dict[str, str]:
    """Who and from where, and the scores that people ask for first."""
    name = row["file"] if len(row["file"]) <= MAX_NAME else f"…{row['file'][1 - MAX_NAME :]}"
    numbers = " · ".join(f"{score.replace('_', ' ')} {row[score]:.3g}" for score in SHOWN if row[score] is not None)
    who = row["identity"] if len(row["identity"]) <= MAX_NAME else f"{row['identity'][: MAX_NAME - 1]}…"
    where = f"{who} · {row['split']} · frames {row['start']} to {row['stop'] - 1}"
    return {"file": name, "where": where, "scores": numbers}
