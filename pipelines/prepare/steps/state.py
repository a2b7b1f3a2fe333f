"""What travels through the steps: one context for the run, one state for each video and clip."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from jaxtyping import Float32, Int16, UInt8

from a2h_models.timebase import Span
from pipelines import media
from pipelines.config import PrepareConfig
from pipelines.core.storage import Storage
from pipelines.core.timing import Stopwatch
from pipelines.dataset.shard_format import Encoded
from pipelines.execution.sandbox import Failure
from pipelines.prepare.planning.plan import Unit, Video
from pipelines.prepare.quarantine import TimeLimit
from pipelines.prepare.reasons import Reason
from pipelines.prepare.scores import SCORE_LIST, Score, Scores

if TYPE_CHECKING:
    from pipelines.face.face_mesh import Mesh
    from pipelines.prepare.steps.align_sound import Offset
    from pipelines.prepare.steps.choose_speaker import Speaker
    from pipelines.prepare.steps.find_clips import Clip
    from pipelines.prepare.steps.scan_video import VideoScan
    from pipelines.prepare.steps.sync_network import SyncNetworkRef


@dataclass(frozen=True, kw_only=True)
class PrepareContext:
    """What all videos of a run share. It is sent to the workers."""

    config: PrepareConfig
    source: Storage  # where the videos are
    out: Storage  # the dataset
    quarantined: Mapping[str, Failure] = field(default_factory=dict)  # by content hash: not to be decoded
    limit: TimeLimit = field(default_factory=TimeLimit)  # of the time for one video
    sync_network: SyncNetworkRef | None = None


@dataclass(kw_only=True)
class VideoState:
    """A video on its way through the steps. Fields without a default are set by the named step."""

    video: Video
    unit: Unit
    path: Path
    stack: ExitStack  # closes what the steps open
    clock: Stopwatch
    reader: media.VideoReader = field(init=False)  # ScanVideo
    wave: Int16[np.ndarray, " n"] = field(init=False)  # ScanVideo: 16 kHz mono
    scan: VideoScan = field(init=False)  # ScanVideo
    clips: list[Clip] = field(init=False)  # FindClips
    speakers: dict[str, Speaker] = field(default_factory=dict)  # ChooseSpeaker: by the clip's key
    span: Span = field(init=False)  # ScanVideo: the frames that the plan wants
    reason: Reason | None = None  # why no further step runs
    message: str = ""


@dataclass(kw_only=True)
class ClipState:
    """A candidate clip on its way through the steps. Fields without a default are set by a step."""

    clip: Clip
    source: VideoState
    speaker: Speaker | None = None  # where there are several faces
    scores: Scores = field(default_factory=Scores)
    frames: UInt8[np.ndarray, "t 256 256 3"] = field(init=False)  # Crop
    mesh: Mesh = field(init=False)  # SolvePose
    landmarks: Float32[np.ndarray, "t 468 3"] = field(init=False)  # SolvePose: without gaps
    pose: Float32[np.ndarray, "t 6"] = field(init=False)  # SolvePose: rad, mm
    offset: Offset = field(init=False)  # AlignSound
    wave: Int16[np.ndarray, " t*640"] = field(init=False)  # AlignSound: of the clip, corrected
    speech: Float32[np.ndarray, "t 4 41"] = field(init=False)  # SpeechFeatures
    reason: Reason | None = None  # why it is dropped, and no further step runs
    message: str = ""
    encoded: Encoded | None = None  # Encode: the sample
    preview: Encoded | None = None  # Filter: of a dropped clip, a picture for the report

    @property
    def has_face(self) -> bool:
        """Whether the mesh found the face in any frame."""
        return bool(self.mesh.found.any())


class Step:
    """A part of preparation, described: what it is called, reads, needs, takes and gives."""

    name: ClassVar[str]
    label: ClassVar[str]  # a few words for reports
    version: ClassVar[int] = 1  # counts changes of its results
    settings: ClassVar[tuple[str, ...]] = ()  # keys of prepare/ that it reads
    takes: ClassVar[tuple[str, ...]] = ()  # fields of the state
    gives: ClassVar[tuple[str, ...]] = ()
    cores: ClassVar[float] = 1.0
    memory_mb: ClassVar[int] = 1000
    gpu: ClassVar[bool] = False

    @classmethod
    def scores(cls) -> tuple[Score, ...]:
        """The scores that it measures."""
        return tuple(score for score in SCORE_LIST if score.step == cls.name)


class VideoStep(Step):
    """A step that works on a whole video."""

    @staticmethod
    def run(state: VideoState, context: PrepareContext) -> None:
        """Set what the step gives; a `reason` ends the video's way."""
        raise NotImplementedError


class ClipStep(Step):
    """A step that works on one clip."""

    @staticmethod
    def run(state: ClipState, context: PrepareContext) -> None:
        """Set what the step gives; a `reason` ends the clip's way."""
        raise NotImplementedError
