"""prepare/ and the commands on datasets: raw videos → shards, and what is done to shards that exist."""

from __future__ import annotations

from dataclasses import dataclass, field

from a2h_models.settings import setting
from pipelines.config.cluster import ClusterConfig
from pipelines.config.paths import PathsConfig
from pipelines.config.tracking import TrackingConfig

MAX_DEG = 180.0


@dataclass
class PlanConfig:
    """How videos are packed into units and identities are divided into splits."""

    unit_minutes: float = setting(60.0, above=0, unit="min")
    """Video in one unit, that is one shard; an hour is about 500 MB."""

    min_units: int = setting(16, at_least=1)
    """Smallest number of units: small inputs are cut finer, so that every worker has something to do."""

    val_share: float = setting(0.1, at_least=0, below=1, unit="share", important=True)
    """Identities in the val split."""

    test_share: float = setting(0.1, at_least=0, below=1, unit="share", important=True)
    """Identities in the test split."""

    min_identities_for_splits: int = setting(3, at_least=1)
    """Number of identities below which everything is train."""

    seed: int = setting(0, at_least=0)
    """Seed of the hash that assigns identities to splits."""

    max_minutes: float = setting(120.0, above=0, unit="min")
    """A longer video is rejected as too_long."""

    max_pixels: int = setting(9_500_000, at_least=1, unit="px")
    """A larger picture is rejected as too_large: a decoder holds up to 17 of them; 4K has 8.8 million."""

    identity_csv: str = setting("", important=True)
    """Table with the columns file,identity; empty: what the layout says, else the file's own name."""

    opt_out: str = setting("", important=True)
    """List of identities and SHA-256 hashes that must not be used: .txt, .csv, .jsonl, .parquet."""


@dataclass
class ClipsConfig:
    """How clips are found in a video: shots, face tracks and the crop."""

    min_frames: int = setting(64, at_least=1, unit="frames")
    """Shortest clip."""

    max_frames: int = setting(1024, at_least=1, unit="frames")
    """Longest clip; longer tracks are cut."""

    crop_scale: float = setting(1.6, above=0)
    """Side of the crop / longer side of the union of the face boxes."""

    scan_height: int = setting(360, at_least=16, unit="px")
    """Height at which shots and faces are searched."""

    detect_every: int = setting(5, at_least=1, unit="frames")
    """Distance between two runs of the face detector."""

    cut_threshold: float = setting(0.3, above=0)
    """Colour-histogram distance that counts as a shot boundary."""

    max_gap: int = setting(25, at_least=0, unit="frames")
    """Time without a detection that a track survives."""

    min_sightings: int = setting(3, at_least=1)
    """Detections of a face that is more than a mistake of the detector."""

    min_rival: float = setting(0.4, at_least=0)
    """Height of a second face / height of this one; smaller ones are background."""

    max_spread: float = setting(1.7, at_least=1)
    """Union of a clip's face boxes / the first of them; beyond, a new clip begins, so that faces stay large."""


@dataclass
class FeaturesConfig:
    """What is computed of a clip, and when its sound is moved to fit the lips."""

    f0: str = setting("harvest", choices=("harvest", "dio"), important=True)
    """Pitch tracker: harvest, as in the release, or dio, 20 times faster."""

    pose_smoothing_frames: float = setting(1.0, at_least=0, unit="frames")
    """Sigma of the Gaussian that smooths poses over time; 0 leaves them as solved."""

    syncnet: str = setting("")
    """Path of syncnet_v2.model, which then judges lip sync; empty: the match of mouth and speech does."""

    sync_expert: str = setting("")
    """Our own network judges instead: models:/a2h-sync-expert/latest, or its run's folder."""

    correct_to_frames: int = setting(6, at_least=0, unit="frames")
    """Largest offset of the sound that is corrected; 0 corrects none."""

    correct_from_confidence: float = setting(1.4, at_least=0)
    """sync_confidence from which an offset is corrected."""

    correct_from_lse_c: float = setting(3.0, at_least=0)
    """lse_c from which SyncNet's offset is corrected."""

    correct_from_expert: float = setting(0.6, at_least=0)
    """expert_certainty from which the sync expert's offset is corrected."""

    mouth_error_frames: int = setting(2, at_least=0, unit="frames")
    """Offsets up to here are within the error of matched mouths and are left."""

    syncnet_error_frames: int = setting(1, at_least=0, unit="frames")
    """Offsets up to here are within SyncNet's error and are left."""

    expert_error_frames: int = setting(1, at_least=0, unit="frames")
    """Offsets up to here are within the sync expert's error and are left."""


@dataclass
class FiltersConfig:
    """Thresholds of the filters. A value that equals its threshold passes."""

    min_fps: float = setting(20.0, at_least=0, unit="frames/s")
    """Frame rate of the video; below: low_frame_rate."""

    min_face_px: float = setting(64.0, at_least=0, unit="px", important=True)
    """Height of the face in the source video; below: face_too_small."""

    min_face_share: float = setting(0.9, at_least=0, at_most=1, unit="share")
    """Frames of a clip in which the mesh found the face; below: face_lost."""

    min_inside_share: float = setting(0.95, at_least=0, at_most=1, unit="share")
    """Landmarks inside the crop; below: face_lost."""

    max_faces: int = setting(1, at_least=1)
    """Faces beside each other; more: several_faces, unless this face is shown to be the speaker."""

    min_speaker_confidence: float = setting(1.2, at_least=0)
    """Match of this mouth with the speech, where other faces stand beside it."""

    min_speaker_lead: float = setting(0.4, at_least=0)
    """Distance by which that match must be better than every other face's."""

    min_speech_db: float = setting(-50.0, unit="dB", important=True)
    """Mean level of the clip's sound, full scale = 0; below: silent."""

    min_voice_share: float = setting(0.25, at_least=0, at_most=1, unit="share")
    """Share of the clip in which the voice detector hears speech; below: no_speech."""

    min_mouth_range: float = setting(0.008, at_least=0)
    """Range of the lips' opening / height of the face; below: no_speech, the mouth does not move."""

    min_sharpness: float = setting(0.0, at_least=0)
    """Variance of the Laplacian of the crop; below: blurred."""

    min_brightness: float = setting(0.0, at_least=0)
    """Mean of the crop, 0 to 255; below: too_dark."""

    max_yaw_deg: float = setting(60.0, at_least=0, at_most=MAX_DEG, unit="°")
    """95th percentile of the yaw; above: extreme_pose."""

    max_pitch_deg: float = setting(50.0, at_least=0, at_most=MAX_DEG, unit="°")
    """95th percentile of the pitch; above: extreme_pose."""

    max_roll_deg: float = setting(45.0, at_least=0, at_most=MAX_DEG, unit="°")
    """95th percentile of the roll; above: extreme_pose."""

    max_jitter_px: float = setting(100.0, at_least=0, unit="px")
    """Median second difference of the landmarks; above: unsteady."""

    max_covered_share: float = setting(0.5, at_least=0, at_most=1, unit="share")
    """Frames in which a hand is before the face; above: covered."""

    max_sync_frames: float = setting(6.0, at_least=0, unit="frames", important=True)
    """Offset of the sound after correction, where it is certain; above: out_of_sync."""

    min_sync_confidence: float = setting(1.2, at_least=0)
    """Correlation × √seconds; below, the offset is not certain."""

    min_lse_c: float = setting(3.0, at_least=0)
    """SyncNet's confidence; below, its offset is not certain."""

    min_expert_certainty: float = setting(0.5, at_least=0)
    """Sync expert's confidence × √seconds; below, its offset is not certain."""


@dataclass
class PrepareConfig:
    """Raw video → shards."""

    plan: PlanConfig = field(default_factory=PlanConfig)
    clips: ClipsConfig = field(default_factory=ClipsConfig)
    features: FeaturesConfig = field(default_factory=FeaturesConfig)
    filters: FiltersConfig = field(default_factory=FiltersConfig)


@dataclass
class PrepareCommand:
    """Raw talking videos → WebDataset shards, with ledger and report."""

    videos: str = setting(important=True)
    """Folder, file, glob, or manifest (.csv, .jsonl, .parquet)."""

    out: str = setting(important=True)
    """Folder of the dataset, on any store."""

    layout: str = setting("", important=True)
    """Where paths name the identity: voxceleb, hdtf, mead, crema-d, ravdess, lrs2, lrs3, grid."""

    limit: int = setting(0, at_least=0, important=True)
    """Only the first videos by name, with all their spans; 0 takes all."""

    dry_run: bool = setting(default=False, important=True)
    """Print the plan and what it will cost by a measured sample; write nothing to `out`."""

    track: bool = setting(default=False, important=True)
    """Record the preparation as a run of MLflow: progress over time, settings, report."""

    prepare: PrepareConfig = field(default_factory=PrepareConfig)
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    logger: TrackingConfig = field(default_factory=TrackingConfig)
    paths: PathsConfig = field(default_factory=PathsConfig)


@dataclass
class KeypointsCommand:
    """Keypoints of a trained detector, as shards beside the dataset's."""

    dataset: str = setting(important=True)
    """Folder of the dataset, on any store."""

    detector: str = setting("models:/a2h-image-generator/latest", important=True)
    """Image generator whose detector is used: models:/… or a folder with its weights."""

    batch_size: int = setting(32, at_least=1, important=True)
    """Frames detected together; on a CPU it decides the last bits, too."""

    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    logger: TrackingConfig = field(default_factory=TrackingConfig)
    paths: PathsConfig = field(default_factory=PathsConfig)


@dataclass
class VerifyCommand:
    """Check a dataset against itself: plan, shards, sidecars, ledger and hashes."""

    dataset: str = setting(important=True)
    """Folder of the dataset, on any store."""

    clean: bool = setting(default=False, important=True)
    """Remove what an interrupted run left unpublished."""

    deep: bool = setting(default=False, important=True)
    """Decode the samples as well: shapes, lengths, finite numbers."""

    share: float = setting(1.0, above=0, at_most=1, unit="share", important=True)
    """Samples that `deep` decodes, evenly drawn."""


@dataclass
class SplitCommand:
    """Another division into train, val and test, without encoding anything again."""

    dataset: str = setting(important=True)
    """Folder of the dataset, on any store."""

    out: str = setting(important=True)
    """New folder."""

    val_share: float | None = setting(None, at_least=0, below=1, unit="share", important=True)
    """Identities in the val split; null: as in the dataset."""

    test_share: float | None = setting(None, at_least=0, below=1, unit="share", important=True)
    """Identities in the test split; null: as in the dataset."""

    seed: int | None = setting(None, at_least=0, important=True)
    """Seed of the hash that assigns identities to splits; null: as in the dataset."""

    assign: str = setting("", important=True)
    """Table with the columns identity,split that decides instead of the hash."""


@dataclass
class ForgetCommand:
    """Take a person or a video out of a dataset."""

    dataset: str = setting(important=True)
    """Folder of the dataset, on any store."""

    identity: str = setting("", important=True)
    """Name of a person, all of whose clips go."""

    source: str = setting("", important=True)
    """SHA-256 of a video, all of whose clips go."""

    dry_run: bool = setting(default=False, important=True)
    """Say what would go and change nothing."""

    logger: TrackingConfig = field(default_factory=TrackingConfig)
    paths: PathsConfig = field(default_factory=PathsConfig)
