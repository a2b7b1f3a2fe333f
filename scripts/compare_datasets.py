"""Compare two prepared datasets: members sample by sample, then the rows of the ledgers.

Members other than `json` must have the same bytes. `json` members and ledger rows must be equal but
for hashes of plans and settings and versions of packages.

    python scripts/compare_datasets.py BEFORE AFTER
"""

from __future__ import annotations

import json
import sys
import tarfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

IGNORED = ("parents", "versions")  # of a json member


def samples(folder: Path) -> dict[str, dict[str, bytes]]:
    """Read all members of all shards, by key."""
    members: dict[str, dict[str, bytes]] = {}
    for shard in sorted(folder.glob("a2h-*.tar")):
        with tarfile.open(shard) as archive:
            for entry in archive:
                key, _, kind = entry.name.partition(".")
                file = archive.extractfile(entry)
                members.setdefault(key, {})[kind] = file.read() if file else b""
    return members


def comparable(kind: str, content: bytes) -> Any:
    """Return what of a member must be equal."""
    if kind != "json":
        return content
    return {name: value for name, value in json.loads(content).items() if name not in IGNORED}


def ledger_rows(folder: Path) -> list[dict[str, Any]]:
    """Read the rows, in the order of the ledger."""
    rows: list[dict[str, Any]] = pq.read_table(folder / "ledger.parquet").to_pylist()
    return rows


def differences(before: Path, after: Path) -> list[str]:
    """List what differs, one line each."""
    old, new = samples(before), samples(after)
    lines = [
        f"only in {folder}: {key}"
        for folder, keys in ((before, old.keys() - new), (after, new.keys() - old))
        for key in sorted(keys)
    ]
    for key in sorted(old.keys() & new):
        lines += [
            f"{key}.{kind} differs"
            for kind in sorted(old[key].keys() | new[key])
            if kind not in old[key]
            or kind not in new[key]
            or comparable(kind, old[key][kind]) != comparable(kind, new[key][kind])
        ]
    rows = ledger_rows(before), ledger_rows(after)
    if len(rows[0]) != len(rows[1]):
        lines.append(f"the ledgers have {len(rows[0])} and {len(rows[1])} rows")
    for a, b in zip(*rows, strict=False):
        if list(a) != list(b) or a != b:
            lines.append(f"ledger row {a['kind']} {a['key'] or a['file']}: {sorted(set(a.items()) ^ set(b.items()))}")
    return lines


def main() -> int:
    """Print the differences, and a count of what was compared."""
    before, after = map(Path, sys.argv[1:3])
    lines = differences(before, after)
    print("\n".join(lines) or f"equal: {len(samples(after))} samples, {len(ledger_rows(after))} ledger rows")
    return bool(lines)


if __name__ == "__main__":
    sys.exit(main())
