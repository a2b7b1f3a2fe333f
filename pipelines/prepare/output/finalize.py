"""The end of every command that makes or changes a dataset: ledger, fingerprint, data card,
Croissant and report, from the sidecars.

Sidecars are read one at a time, so that memory does not grow with the number of shards.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from pipelines.core.storage import Storage
from pipelines.dataset.fingerprints import dataset_fingerprint
from pipelines.dataset.shard_format import iterate_sidecars
from pipelines.dataset.summary import DatasetSummary
from pipelines.prepare.output import ledger
from pipelines.prepare.output.croissant import write_croissant
from pipelines.prepare.output.data_card import write_card
from pipelines.prepare.output.report import write_report
from pipelines.prepare.output.summary import ShardFacts, summarise, write_dataset_json
from pipelines.prepare.planning.plan import Plan


def finish(out: Storage, planned: Plan, *, price_per_worker_hour: float = 0.0) -> DatasetSummary:
    """Write everything that stands beside the shards; dataset.json last, for it says that the
    dataset is whole.

    Raises:
        DatasetError: if the ledger does not balance.
    """
    shards: list[ShardFacts] = []
    rows = ledger.collect(planned, _rows(out, shards))
    ledger.write(out, rows)
    summary = summarise(out.url, planned, rows, dataset_fingerprint({shard.name: shard.sha256 for shard in shards}))
    licences = dict(Counter(video.licence for video in planned.videos))
    write_card(out, planned, summary, licences)
    write_croissant(out, planned, summary, shards, licences)
    write_report(out, fingerprint=summary.fingerprint, price_per_worker_hour=price_per_worker_hour)
    write_dataset_json(out, planned, shards, summary)
    return summary


def _rows(out: Storage, shards: list[ShardFacts]) -> Iterator[list[dict[str, Any]]]:
    """The rows of each shard in turn; what else is wanted of its sidecar is put into `shards`."""
    for sidecar in iterate_sidecars(out):
        shards.append(ShardFacts.of(sidecar))
        yield sidecar.ledger
