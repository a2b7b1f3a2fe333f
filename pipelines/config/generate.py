"""generate/, `a2h generate`, `a2h inspect` and `a2h export`: how a head is made to talk."""

from __future__ import annotations

from dataclasses import dataclass, field

from a2h_models.settings import setting
from pipelines.config.cluster import ClusterConfig
from pipelines.config.paths import PathsConfig
from pipelines.config.tracking import TrackingConfig

MAX_SEED = 2**63 - 1  # torch's generators take no larger one
WORST_CRF = 51  # of x264


@dataclass
class GenerateConfig:
    """How a head is made to talk."""

    preprocess: str = setting("crop", choices=("crop", "full", "resize"), important=True)
    """Cut the face as clips were cut; the same, pasted back; or take the picture as such a crop."""

    face: int = setting(0, at_least=0, important=True)
    """Which face, counted from the left; 0: the largest."""

    max_side: int = setting(1920, at_least=256, unit="px")
    """Longer side of the video with preprocess=full; larger pictures are made smaller."""

    keypoints: str = setting("relative", choices=("relative", "absolute"))
    """Keypoints relative to the first predicted frame, or absolute as in the release."""

    still: bool = setting(default=False, important=True)
    """Keep the head in the portrait's pose."""

    pose_scale: float = setting(1.0, at_least=0, important=True)
    """Factor of the head's motion around its first pose."""

    idle_motion: float = setting(1.0, at_least=0)
    """How far the head sways in silence; 0, as in the release: not at all."""

    seed: int = setting(0, at_least=0, at_most=MAX_SEED)
    """Seed of the idle motion."""

    precision: str = setting("auto", choices=("auto", "fp32", "bf16"))
    """Numbers of the image generator; auto: bf16 where the processor computes in it."""

    backend: str = setting("torch", choices=("torch", "onnx"))
    """What computes; onnx is ONNX Runtime on a CPU, the model is exported once into the cache."""

    compile: bool = setting(default=False)
    """Compile the networks at the first frames: takes a minute, which only long videos win back."""

    batch_size: int = setting(4, at_least=1)
    """Frames rendered at a time."""

    windows: int = setting(1, at_least=1)
    """Windows of 64 frames whose keypoints are predicted at a time; more help a GPU."""

    format: str = setting("mp4", choices=("mp4", "webm", "gif", "frames"), important=True)
    """File format; gif is silent, frames is a folder of PNG files."""

    mark: bool = setting(default=False)
    """Write "synthetic" into a corner of the frames."""

    crf: int = setting(18, at_least=0, at_most=WORST_CRF)
    """Constant rate factor of x264 and VP9; smaller is better and larger."""

    max_speech_s: float = setting(3600.0, above=0, unit="s")
    """Longest speech that is accepted."""


@dataclass
class GenerateCommand:
    """Portrait + speech → talking-head video."""

    source_image: str = setting("", important=True)
    """Portrait."""

    driven_audio: str = setting("", important=True)
    """Speech: a sound file, or a video with sound."""

    pairs: str = setting("", important=True)
    """Instead of the two, a CSV table with the columns portrait,speech (and ref_pose), made on the cluster."""

    ref_pose: str = setting("", important=True)
    """Video whose head motion is followed, or poses as .npy, (t, 6), rad and mm-like; empty: the model's own."""

    result_dir: str = setting("results", important=True)
    """Folder of the videos."""

    model: str = setting("models:/audio2head@champion", important=True)
    """models:/NAME/VERSION, models:/NAME@ALIAS, or the folder of a bundle."""

    generate: GenerateConfig = field(default_factory=GenerateConfig)
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    logger: TrackingConfig = field(default_factory=TrackingConfig)
    paths: PathsConfig = field(default_factory=PathsConfig)


@dataclass
class InspectCommand:
    """What a generated file says of itself: synthetic, by which model, from which inputs."""

    file: str = setting(important=True)
    """Video, gif, picture, or folder of frames."""


@dataclass
class ExportCommand:
    """A model → ONNX graphs, compared with torch."""

    model: str = setting(important=True)
    """models:/NAME/VERSION, models:/NAME@ALIAS, or the folder of a bundle."""

    out: str = setting(important=True)
    """Folder to write."""

    format: str = setting("onnx")
    """Format of the graphs."""

    logger: TrackingConfig = field(default_factory=TrackingConfig)
    paths: PathsConfig = field(default_factory=PathsConfig)
