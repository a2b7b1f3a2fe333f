"""The bytes of an accepted clip's sample, and its provenance."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import numpy as np

from a2h_models.data_types import SCHEMA_VERSION, Sample
from a2h_models.features.speech import log_mel
from pipelines.config import PrepareConfig, config_hash
from pipelines.dataset.shard_format import encode
from pipelines.prepare.output import ledger
from pipelines.prepare.output.summary import versions
from pipelines.prepare.planning.plan import without_tables
from pipelines.prepare.steps.state import ClipState, ClipStep, PrepareContext


def to_sample(state: ClipState, config: PrepareConfig) -> Sample:
    """Gather the sample of an accepted clip."""
    return Sample(
        key=state.clip.key,
        frames=state.frames,
        wave=state.wave,
        speech=state.speech,
        mel=log_mel(state.wave, frames=len(state.frames)),
        pose=state.pose,
        landmarks=state.landmarks.astype(np.float16),
        meta=provenance(state, config),
    )


def provenance(state: ClipState, config: PrepareConfig) -> dict[str, Any]:
    """The `json` member of a sample: who, from where, how good, and made by what."""
    clip, video, unit, scores = state.clip, state.source.video, state.source.unit, state.scores
    return {
        "identity": ledger.printable(video.identity),
        "video": video.video_id,
        "utterance": video.utterance,
        "source": {
            "file": ledger.printable(video.file),
            "sha256": video.sha256,
            "fps": video.fps,
            "size": [video.width, video.height],
        },
        "span": [clip.span.start, clip.span.stop],
        "crop": asdict(clip.square),
        "scores": asdict(scores),
        "licence": video.licence,
        "consent": video.consent,
        "extra": json.loads(video.extra or "{}"),
        "parents": {"plan": unit.plan, "unit": unit.id, "config": config_hash(without_tables(config))},
        "schema_version": SCHEMA_VERSION,
        "versions": versions(),
    }


class Encode(ClipStep):
    """Compute mel, and encode H.264, FLAC and arrays."""

    name = "encode"
    label = "compute mel, and encode H.264, FLAC and arrays"
    settings = ()
    takes = ("frames", "wave", "speech", "pose", "landmarks", "scores")
    gives = ("encoded",)

    @staticmethod
    def run(state: ClipState, context: PrepareContext) -> None:
        """Run the step."""
        state.encoded = encode(to_sample(state, context.config))
