"""README.md, the data card: what the dataset is, from where, with which rights, and how somebody
gets out of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from a2h_models.data_types import SCHEMA_VERSION
from pipelines.core.storage import Storage
from pipelines.dataset.summary import DatasetSummary
from pipelines.prepare.planning.plan import SPLITS, Plan
from pipelines.prepare.reasons import Reason

CARD_FILE = "README.md"


def write_card(out: Storage, plan: Plan, summary: DatasetSummary, licences: Mapping[str, int]) -> None:
    """Publish the data card.

    Args:
        out: the dataset.
        plan: of the dataset.
        summary: of its ledger.
        licences: licence → number of videos.
    """
    splits = "\n".join(f"| {split} | {summary.identities[split]} | {summary.hours[split]:.3f} |" for split in SPLITS)
    reasons = "\n".join(
        f"| {reason} | {number} |" for reason, number in sorted(summary.reasons.items(), key=lambda item: -item[1])
    )
    rights = "\n".join(
        f"* {one_line(licence) or 'not stated'}: {number} video{'s' * (number != 1)}"
        for licence, number in sorted(licences.items())
    )
    text = CARD.format(
        summary=summary,
        schema=SCHEMA_VERSION,
        videos=sum(summary.videos.values()),
        refused=summary.reasons.get(Reason.NO_CONSENT, 0),
        splits=splits,
        reasons=reasons or "| – | 0 |",
        rights=rights,
        sync=sync_said_by(plan.config["features"]),
        last=f"{max(0, sum(unit.split == 'train' for unit in plan.units) - 1):06d}",
        parents=f"\n\nIt came from {' and '.join(f'`{parent}`' for parent in plan.parents)}." if plan.parents else "",
    )
    out.publish(CARD_FILE, text.encode())


def sync_said_by(features: Mapping[str, Any]) -> str:
    """Who judged sound and lips, with the hash of the weights; datasets of older programs do not
    name all.
    """
    for key, name in (("sync_expert", "a sync expert trained by this program"), ("syncnet", "SyncNet")):
        if features.get(key):
            return f"{name}, weights {one_line(str(features[key]))}"
    return "the mouth's motion beside that which the speech lets expect"


def one_line(text: str) -> str:
    """A text of others that cannot break out of its line of Markdown."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", " ".join(text.split()))


CARD = """# A dataset of talking heads

Fingerprint `{summary.fingerprint}`, made by `a2h prepare` under plan `{summary.plan}`, schema version {schema}.{parents}

## What it is

{summary.accepted} clips out of {videos} videos. Each clip shows one speaking face: 256×256 pixels, 25 frames a second, 16 kHz mono
speech in step with the picture, with head pose, landmarks and speech features, all measured by program. It is made for training and
measuring models that make a portrait talk (Audio2Head's three stages).

| split | identities | hours |
|---|---|---|
{splits}

No identity is in two splits. Who is who was said by the table of identities, the folders, or the files' names; one person under two names
counts as two.

## What was dropped, and why

| reason | videos |
|---|---|
{reasons}

`ledger.parquet` has one row for every video and every candidate clip, with its status, reason and all scores; `report.html` shows them;
`dataset.json` has every threshold and the versions of what computed them. Whether sound and lips are in time was said by {sync}.

## Known limits

Faces were found and judged by program: no person has looked at every clip. Whom the face detector misses more often is missing more often
here; the ledger says what was dropped, not who. Head pose and landmarks are estimates, not measurements.

## Licence and consent

As the table of identities or the manifest said, by source video:

{rights}

Left out because consent was refused or withdrawn: {refused} videos. These are recordings of people's faces and voices. Whoever uses or
passes on this dataset needs the right to do so from the people in it and from the owners of the footage, and should say of what is made
with it that it is synthetic.

## Removal

```console
$ a2h forget THIS_FOLDER --identity NAME        # everything of one person
$ a2h forget THIS_FOLDER --source SHA256        # everything of one video: `sha256` in the ledger, `source` in each sample
```

Only the shards concerned are written again; the samples of others keep their bytes. Names are removed from plan, ledger, report and
previews; the ledger keeps one nameless row a video, so that it still balances and a resumed `a2h prepare` does not bring anybody back.
The command lists the registered models that were trained on the dataset as it was. Copies and datasets derived by `a2h split` need the
same command; so do the raw videos themselves.

## Reading

```python
import webdataset
samples = webdataset.WebDataset("a2h-train-{{000000..{last}}}.tar", shardshuffle=False)
```

| member | what |
|---|---|
| `mp4` | the crop, 256×256, 25 fps, H.264 |
| `flac` | speech, 16 kHz mono, 16 bit |
| `speech.npy` | float32 (T, 4, 41): speech features, 100 rows a second |
| `mel.npy` | float16 (4T, 80): log-mel |
| `pose.npy` | float32 (T, 6): rotation vector (rad), translation, in the crop's camera |
| `landmarks.npy` | float16 (T, 468, 3): crop pixels |
| `json` | identity, source, span, crop, every score, licence, versions |
| `kp.npy` | float32 (T, 10, 6), only in companion shards `….kp-….tar` by `a2h keypoints`: keypoints and Jacobians of a frozen detector |

`croissant.json` says the same to machines ([Croissant](http://mlcommons.org/croissant/1.0)); `a2h verify THIS_FOLDER` checks every byte.
"""
