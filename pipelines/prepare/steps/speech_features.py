"""Pitch and cepstra of accepted clips: with Harvest they cost as much as all other steps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Float32

from a2h_models.features.speech import speech_features
from pipelines.prepare.scores import Scores, rounded
from pipelines.prepare.steps.state import ClipState, ClipStep, PrepareContext

VOICED = -1  # column of the speech features


def with_voiced_share(scores: Scores, speech: Float32[np.ndarray, "t 4 41"]) -> Scores:
    """Add what needs the pitch."""
    return rounded(replace(scores, voiced_share=float(speech[..., VOICED].mean())))


class SpeechFeatures(ClipStep):
    """Compute pitch and cepstra of accepted clips."""

    name = "speech_features"
    label = "compute pitch and cepstra of accepted clips"
    settings = ("features.f0",)
    takes = ("wave",)
    gives = ("speech",)

    @staticmethod
    def run(state: ClipState, context: PrepareContext) -> None:
        """Run the step."""
        state.speech = speech_features(state.wave, frames=len(state.frames), f0=context.config.features.f0)
        state.scores = with_voiced_share(state.scores, state.speech)
