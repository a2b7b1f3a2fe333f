"""Judge a clip: scores and thresholds in, a reason or none out."""

from __future__ import annotations

from collections.abc import Callable

from pipelines.config import FiltersConfig
from pipelines.dataset.shard_format import Encoded
from pipelines.prepare.output.previews import contact_sheet
from pipelines.prepare.reasons import Reason
from pipelines.prepare.scores import LIMITS, Scores
from pipelines.prepare.steps.state import ClipState, ClipStep, PrepareContext


def _is_the_speaker(scores: Scores, config: FiltersConfig) -> bool:
    """Beside other faces: this mouth moves with the speech, and clearly more so than theirs."""
    confidence, lead = scores.speaker_confidence, scores.speaker_lead
    return (
        confidence is not None
        and lead is not None
        and confidence >= config.min_speaker_confidence
        and lead >= config.min_speaker_lead
    )


def _in_sync(scores: Scores, config: FiltersConfig) -> bool:
    """What is left of the offset is small, or the offset is not believed.

    A network that was asked has the last word.
    """
    if scores.expert_offset is not None:
        late, believed = scores.expert_offset, (scores.expert_certainty or 0) >= config.min_expert_certainty
    elif scores.sync_offset is None:
        return True
    else:
        mouths, lips = (
            (scores.sync_confidence or 0) >= config.min_sync_confidence,
            (scores.lse_c or 0) >= config.min_lse_c,
        )
        late, believed = scores.sync_offset, mouths if scores.lse_c is None else lips
    return not believed or abs(late - (scores.sync_corrected or 0)) <= config.max_sync_frames


# limits that are not plain comparisons of one score: what is asked instead
_EXCEPTIONS: dict[Reason, Callable[[Scores, FiltersConfig], bool]] = {
    Reason.SEVERAL_FACES: lambda scores, config: (
        not (scores.faces or 0) > config.max_faces or _is_the_speaker(scores, config)
    ),
    Reason.OUT_OF_SYNC: _in_sync,
}


def judge(scores: Scores, config: FiltersConfig) -> Reason | None:
    """The first reason to drop a clip with these scores; None accepts it.

    What was not measured breaks no limit.
    """
    for limit in LIMITS:
        passes = _EXCEPTIONS.get(limit.reason)
        if (not passes(scores, config)) if passes else limit.breaks(scores, config):
            return limit.reason
    return None


class Filter(ClipStep):
    """Judge the scores, and draw a preview of what is dropped."""

    name = "filter"
    label = "judge the scores, and draw a preview of what is dropped"
    settings = ("filters",)
    takes = ("scores", "frames", "pose", "landmarks")
    gives = ("reason", "preview")

    @staticmethod
    def run(state: ClipState, context: PrepareContext) -> None:
        """Run the step."""
        state.reason = judge(state.scores, context.config.filters) if state.scores.face_share else Reason.FACE_LOST
        if state.reason:
            picture = contact_sheet(state.frames, state.pose, state.landmarks, kind=".jpg")
            state.preview = Encoded(key=state.clip.key, members={"jpg": picture})
