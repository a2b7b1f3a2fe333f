"""A model card in Markdown, written only from what is recorded with a version.

The headings are those of Mitchell et al. 2019.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from math import isnan, nan
from pathlib import Path
from typing import Any

from a2h_models.metrics import DEFINITIONS
from pipelines.config import CardCommand
from pipelines.core.storage import Storage
from pipelines.registry.evaluations import EvaluationResults
from pipelines.registry.lineage import Lineage, draw_lineage, trace
from pipelines.registry.model_registry import ModelRegistry
from pipelines.registry.versions import BUNDLE, HELPER_MODELS, STAGE_MODELS, ModelVersion
from pipelines.tracking import UNKNOWN

SOURCES_SHOWN = 20
NOT_RECORDED = "not recorded"
SYNC_EXPERT_USE = """Measures by how many frames lips and speech are apart: in generated videos (`a2h evaluate … evaluate.sync_expert={uri}`),
and in videos that become a dataset (`a2h prepare … prepare.features.sync_expert={uri}`). It generates nothing. Its confidence has
a scale of its own: numbers of two experts do not compare."""
USES = {
    BUNDLE: """Makes the head in a portrait talk to a speech recording:
`a2h generate --source_image face.jpg --driven_audio speech.wav model={uri}`.""",
    STAGE_MODELS["image_generator"]: (
        "Detects the keypoints of a face, and renders a portrait with the keypoints of another frame."
    ),
    STAGE_MODELS["motion_field"]: "Predicts the keypoints of a portrait from speech and head poses.",
    STAGE_MODELS["head_pose"]: "Predicts head motion from speech and a portrait.",
    HELPER_MODELS["sync_expert"]: SYNC_EXPERT_USE,
}
STAGE_USE = "It is a third of a model that makes heads talk: `a2h register {stage}={uri}` joins it with the other two."
NOT_FOR = """**Not for** people who did not agree, for deceiving people about what was said, or for identifying a person. Every generated
video says in its metadata that it is synthetic, and which model generated it."""
LIMITS = """* One face, near frontal, 256×256 pixels or the networks' size, 25 frames a second; speech at 16 kHz, of one speaker.
* Numbers hold for the evaluation set above and for people like those in it; people unlike the training data were not measured.
* An interval covers chance among the clips, not the difference to another dataset."""


def card(command: CardCommand) -> str:
    """Return the text of the card; write it to `out`, where that is given.

    Raises:
        RegistryError: if there is no such version, or its files were changed.
    """
    registry = ModelRegistry.from_config(command.logger)
    version = registry.find(command.model)
    text = draw_card(trace(registry, version), registry.read_evaluation(version))
    if command.out:
        path = Path(command.out)
        Storage(path.parent).publish(path.name, text.encode())
    return text


def draw_card(lineage: Lineage, evaluation: EvaluationResults | None) -> str:
    """Write the card of a version from its lineage and its last evaluation."""
    tags, uri = lineage.version.tags, lineage.version.uri
    sections = {
        "Intended use": "\n".join(_use(lineage.version)),
        "Training data": "\n".join(_data(lineage)),
        "Licence and consent": "\n".join(_rights(lineage)),
        "Metrics": "\n".join(_metrics(evaluation)),
        "Limits": LIMITS,
        "Decision": "\n".join(_decision(tags)),
        "Lineage": f"```\n{draw_lineage(lineage, max_sources=SOURCES_SHOWN)}\n```",
    }
    alias = f" ({', '.join(lineage.aliases)})" if lineage.aliases else ""
    body = "\n\n".join(f"## {title}\n\n{text}" for title, text in sections.items())
    return f"# {uri.removeprefix('models:/')}{alias}\n\n{body}\n"


def _use(version: ModelVersion) -> Iterator[str]:
    yield USES.get(version.name, f"Its use is {NOT_RECORDED}.").format(uri=version.uri)
    for stage, name in STAGE_MODELS.items():
        if name == version.name:
            yield STAGE_USE.format(stage=stage, uri=version.uri)
    yield f"\n{NOT_FOR}"


def _data(lineage: Lineage) -> Iterator[str]:
    people = lineage.provenance.get("identities", [])
    yield f"* source videos: {len(lineage.sources) or NOT_RECORDED}; people: {len(people) or NOT_RECORDED}"
    for path, (fingerprint, problem) in lineage.datasets.items():
        yield f"* dataset `{fingerprint}` at `{path}`: {problem or 'verified when this card was made'}"
    for features in lineage.provenance.get("features", []):
        yield f"* features: {', '.join(f'{key} {value}' for key, value in sorted(features.items()))}"
    if not lineage.datasets:
        yield f"* dataset fingerprint: `{lineage.version.tags.get('dataset_fingerprint', UNKNOWN)}`"


def _rights(lineage: Lineage) -> Iterator[str]:
    if not lineage.sources:
        yield f"The sources of the training data are {NOT_RECORDED}."
        return
    counts = Counter((row["licence"], row["consent"]) for row in lineage.sources)
    yield "| licence | consent | source videos |\n|---|---|---|"
    for (licence, consent), number in sorted(counts.items()):
        yield f"| {licence or 'not stated'} | {consent or 'not stated'} | {number} |"


def _metrics(evaluation: EvaluationResults | None) -> Iterator[str]:
    if evaluation is None:
        yield "Not evaluated."
        return
    people = len(evaluation.identities)
    yield f"On {evaluation.dataset} (set `{evaluation.set_id}`, {people} people): mean [95 % bootstrap interval over clips].\n"
    rows = list(dict.fromkeys(name.rpartition("/")[0] for name in evaluation.means))
    yield f"| metric | best | {' | '.join(row.replace('_', ' ') for row in rows)} |"
    yield f"|---|---|{'---|' * len(rows)}"
    for metric, definition in DEFINITIONS.items():
        if any(f"{row}/{metric}" in evaluation.means for row in rows):
            unit = f" ({definition.unit})" if definition.unit else ""
            yield f"| {definition.label}{unit} | {definition.best} | {' | '.join(_cell(evaluation, f'{row}/{metric}') for row in rows)} |"


def _cell(evaluation: EvaluationResults, metric: str) -> str:
    value = evaluation.means.get(metric)
    if value is None or isnan(value):
        return "–"
    low, high = evaluation.intervals.get(metric, (nan, nan))
    return f"{value:.3g}" if isnan(low) else f"{value:.3g} [{low:.3g}, {high:.3g}]"


def _decision(tags: Mapping[str, str]) -> Iterator[str]:
    if "promotion_decision" not in tags:
        yield "No promotion was requested."
        return
    decision: dict[str, Any] = json.loads(tags["promotion_decision"])
    outcome = "accepted" if decision["accepted"] else "refused"
    yield f"{decision['decided_at']}, for the alias `{decision['alias']}`: **{outcome}**.\n"
    if "rollback" in tags:
        undone = json.loads(tags["rollback"])
        yield f"{undone['decided_at']}: rolled back to {undone['restored']}. {undone['reason']}\n"
    yield "| gate | | required | found | why |\n|---|---|---|---|---|"
    for gate in decision["gates"]:
        cells = (str(gate[key]).replace("|", "/") for key in ("name", "status", "required", "found", "reason"))
        yield f"| {' | '.join(cells)} |"
