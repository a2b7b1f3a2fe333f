"""What the networks read: speech and poses as streams, cut into the windows that the motion field
takes.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32

from a2h_models.data_types import POSE_DIM, SPEECH_DIM, WINDOW
from a2h_models.errors import InputError
from a2h_models.features.speech import stream_features
from a2h_models.inference.buffer import StreamBuffer
from a2h_models.timebase import HOPS_PER_FRAME, SAMPLES_PER_FRAME, Span

STEP = WINDOW // 2  # frames between the starts of two windows
MARGIN = WINDOW // 4  # frames at either end of a window that its neighbours know better
# Frames of silence in the first pose before a relative animation: at the border of a window
# keypoints are worst, and here all frames
# depend on the first. The release has none; absolute keypoints stay as it gives them.
LEAD_IN = MARGIN

SpeechInput = np.ndarray | Iterable[np.ndarray]


def kept_frames(start: int, frames: int) -> Span:
    """Which frames of a window are kept, as the release does it: 0–47 of the first, 16–47 of the
    others.

    Args:
        start: its first frame.
        frames: how many the speech has from there; more than a window does not matter.
    """
    first = MARGIN if start else 0
    return Span(first, max(first, min(WINDOW - MARGIN, frames)))


class FrameSequences(NamedTuple):
    """What is said and how the head is held; item i of both belongs to frame i.

    Past the end of the speech the last pose stays.
    """

    speech: StreamBuffer  # (t, 4, 41)
    pose: StreamBuffer  # (n ≥ t, 6)


class MotionWindow(NamedTuple):
    """What the motion field reads at a time."""

    heard: Float32[np.ndarray, "64 4 41"]
    pose: Float[np.ndarray, "64 6"]
    kept: Span  # of its frames
    first: Float[np.ndarray, " 6"]  # the pose of frame 0, which is the portrait's


def speech_blocks(speech: SpeechInput) -> Iterator[Float32[np.ndarray, "n 4 41"]]:
    """Features piece by piece, of whatever stands for speech.

    Raises:
        InputError: for a wave or features of another shape.
    """
    if isinstance(speech, np.ndarray) and speech.ndim == 1:
        yield from stream_features(speech, frames=-(-len(speech) // SAMPLES_PER_FRAME))
        return
    for block in [speech] if isinstance(speech, np.ndarray) else speech:
        if block.shape[1:] != (HOPS_PER_FRAME, SPEECH_DIM):
            raise InputError(
                f"speech must be a wave or features of the shape (t, {HOPS_PER_FRAME}, {SPEECH_DIM}), not {block.shape}",
                hint="a wave is one axis of samples: 16 kHz, mono",
            )
        yield block


def pose_blocks(pose: np.ndarray | Iterable[np.ndarray]) -> Iterator[Float[np.ndarray, "n 6"]]:
    for block in [pose] if isinstance(pose, np.ndarray) else pose:
        if block.shape[1:] != (POSE_DIM,):
            raise InputError(f"poses must have the shape (t, {POSE_DIM}), not {block.shape}")
        yield block


def scaled(poses: Iterator[np.ndarray], scale: float) -> Iterator[Float[np.ndarray, "n 6"]]:
    """Motion around the first pose, more or less of it."""
    first: np.ndarray | None = None
    for block in poses:
        first = block[:1] if first is None else first
        yield first + scale * (block - first)


def windows_of(script: FrameSequences) -> Iterator[MotionWindow]:
    """The windows that tile the speech. Past its end there are zeros, and the very last pose."""
    speech, pose = script
    first = pose.read(0, 1)[0] if pose.has(0) else np.zeros(POSE_DIM)
    for start in itertools.count(0, STEP):
        if not speech.has(start):
            return
        some = speech.read(start, start + WINDOW)
        if not pose.has(start + len(some) - 1):
            raise InputError(
                f"the poses end before frame {start + len(some)} of the speech", hint="give a pose for each frame"
            )
        kept, missing = kept_frames(start, len(some)), WINDOW - len(some)
        if not len(kept):
            return
        heard = np.concatenate([some, np.zeros((missing, HOPS_PER_FRAME, SPEECH_DIM), np.float32)])
        held = pose.read(start, start + len(some))
        if missing:  # only then: the last pose is known when everything has been heard
            held = np.concatenate([held, np.repeat(pose.last(), missing, axis=0)])
        yield MotionWindow(heard, held, kept, first)
        speech.forget(start + STEP)
        pose.forget(start + STEP)


def with_lead_in(script: FrameSequences) -> FrameSequences:
    """The same with LEAD_IN frames of silence in the first pose before it."""
    if not script.speech.has(0) or not script.pose.has(0):
        return script
    silence = np.zeros((LEAD_IN, HOPS_PER_FRAME, SPEECH_DIM), np.float32)
    first = np.repeat(script.pose.read(0, 1), LEAD_IN, axis=0)
    return FrameSequences(
        StreamBuffer(itertools.chain([silence], script.speech.blocks())),
        StreamBuffer(itertools.chain([first], script.pose.blocks())),
    )
