"""The list of steps: read it and you know preparation."""

from __future__ import annotations

from pipelines.prepare.steps.align_sound import AlignSound
from pipelines.prepare.steps.choose_speaker import ChooseSpeaker
from pipelines.prepare.steps.crop import Crop
from pipelines.prepare.steps.encode import Encode
from pipelines.prepare.steps.filter import Filter
from pipelines.prepare.steps.find_clips import FindClips
from pipelines.prepare.steps.scan_video import ScanVideo
from pipelines.prepare.steps.score import ScoreClip
from pipelines.prepare.steps.solve_pose import SolvePose
from pipelines.prepare.steps.speech_features import SpeechFeatures
from pipelines.prepare.steps.state import ClipStep, Step, VideoStep

VIDEO_STEPS: tuple[type[VideoStep], ...] = (ScanVideo, FindClips, ChooseSpeaker)
CLIP_STEPS: tuple[type[ClipStep], ...] = (Crop, SolvePose, AlignSound, ScoreClip, Filter, SpeechFeatures, Encode)
STEPS: tuple[type[Step], ...] = (*VIDEO_STEPS, *CLIP_STEPS)
