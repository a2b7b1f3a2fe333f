"""The schema of conf/: one dataclass a group. YAML holds only values; unknown keys are refused with
a suggestion.

Defaults are the paper's, or argued in docs/decisions/. pipelines/config/compose.py fills them from
conf/ and the command line.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pipelines.core.hashing import sha256_of_json

MISSING: Any = "???"  # omegaconf's word for "the user must say"


# ---------------------------------------------------------------------------- where and how it runs
@dataclass
class ClusterConfig:
    """cluster/: where the work runs."""

    name: str = "local"  # local | ray | torchrun | slurm
    address: str = ""  # of an existing Ray cluster; empty starts one here
    workers: int = 2  # pieces of work (or training processes) at a time
    cpus_per_worker: float = 1.0
    gpus_per_worker: float = 0.0
    resources: dict[str, float] = field(default_factory=dict)  # Ray's own, a worker: {video_node: 1}
    scheduling: str = "SPREAD"  # over the nodes; DEFAULT fills one after the other
    runtime_env: dict[str, Any] = field(default_factory=dict)  # Ray's: working_dir, pip, env_vars, …
    max_in_flight: int = 0  # pieces handed to Ray at a time; 0: twice the workers, on an existing cluster just as many
    max_retries: int = 2  # of one piece of work whose worker died
    timeout_s: float = 1800.0  # of one piece of work; of preparation: without a word of progress
    video_timeout_s: float = 300.0  # of one video in preparation: so much …
    video_timeout_factor: float = 20.0  # … and this for each second of it
    # resident, in preparation; the video that takes more is out_of_memory; 0: no limit
    memory_mb_per_worker: int = 4096
    max_failures: int = 3  # restarts of a training from its last checkpoint
    price_per_worker_hour: float = 0.0  # in your currency, for the estimate of --dry-run; 0: not known
    storage_path: str = ""  # Ray Train's checkpoints; empty: paths.runs


@dataclass
class PathsConfig:
    """paths/: everything that a command writes without being told where."""

    runs: str = "runs"  # checkpoints, logs, the tracking database
    cache: str = ".cache"  # model files, decoded rests, Ray's session files
    assets: str = ".cache/assets"  # weights of other people: `a2h assets`


@dataclass
class TrackingConfig:
    """logger/: MLflow, the one tracker."""

    tracking_uri: str = "${oc.env:MLFLOW_TRACKING_URI,'sqlite:///${paths.runs}/mlflow.db'}"
    artifacts: str = "${paths.runs}/artifacts"  # used where the tracking store is a local database
    cache: str = "${paths.cache}/models"  # weights that were fetched from a server
    experiment: str = "audio2head"


# -------------------------------------------------------------------------------- preparation
@dataclass
class PlanConfig:
    unit_minutes: float = 60.0  # of video in one unit, that is one shard: about 500 MB
    min_units: int = 16  # small inputs are cut finer, so that several workers have something to do
    val_share: float = 0.1  # of the identities
    test_share: float = 0.1
    min_identities_for_splits: int = 3  # with fewer, everything is train
    seed: int = 0  # of the hash that assigns identities to splits
    max_minutes: float = 120.0  # a longer video is rejected as too_long
    # of one picture; more is rejected as too_large: a decoder holds up to 17 of them. 4K has 8.8
    # million
    max_pixels: int = 9_500_000
    # table file,identity: who is in which video; empty: the layout's word, or the file's own name
    identity_csv: str = ""
    opt_out: str = ""  # list of identities and SHA-256 hashes that must not be used: .txt, .csv, .jsonl, .parquet


@dataclass
class ClipsConfig:
    min_frames: int = 64
    max_frames: int = 1024
    crop_scale: float = 1.6  # side of the crop / longer side of the union of the face boxes
    scan_height: int = 360  # pixels; the size at which shots and faces are searched
    detect_every: int = 5  # frames between two runs of the face detector
    cut_threshold: float = 0.3  # colour-histogram distance that counts as a shot boundary
    max_gap: int = 25  # frames that a face may go unseen by the detector and still be the same track
    min_sightings: int = 3  # of a face that is more than a mistake of the detector
    min_rival: float = 0.4  # height of a second face / height of this one; smaller ones are background
    # union of a clip's face boxes / the first of them; beyond, a new clip begins, so that faces
    # stay large
    max_spread: float = 1.7


@dataclass
class FeaturesConfig:
    f0: str = "harvest"  # harvest (as the release) | dio (20x faster)
    pose_smoothing_frames: float = 1.0  # sigma of the Gaussian over time; 0 leaves the poses as solved
    # path of syncnet_v2.model, which then says whether sound and lips are in time; empty: matched
    # mouths say it
    syncnet: str = ""
    # or our own network says it: models:/a2h-sync-expert/latest, or the folder of a trained one;
    # not beside syncnet
    sync_expert: str = ""
    correct_to_frames: int = 6  # a larger offset of the sound is left, and judged; 0 corrects none
    correct_from_confidence: float = 1.4  # sync_confidence from which an offset is corrected
    correct_from_lse_c: float = 3.0  # the same with SyncNet
    correct_from_expert: float = 0.6  # expert_certainty, likewise
    mouth_error_frames: int = 2  # offsets up to here are within the error of matched mouths, and are left
    syncnet_error_frames: int = 1  # the same with SyncNet
    expert_error_frames: int = 1  # the same with our own


@dataclass
class FiltersConfig:
    """prepare/filters: every threshold of the judgement. What stands on the threshold passes."""

    min_fps: float = 20.0  # of the video; below: low_frame_rate
    min_face_px: float = 64.0  # face height in the source video's pixels; below: face_too_small
    min_face_share: float = 0.9  # of a clip's frames in which the mesh found the face; below: face_lost
    min_inside_share: float = 0.95  # of the landmarks, that are inside the crop; below: face_lost
    # seen beside each other; more: several_faces, unless this face is shown to be the one who
    # speaks
    max_faces: int = 1
    min_speaker_confidence: float = 1.2  # of the match of this mouth with the speech, beside other faces
    min_speaker_lead: float = 0.4  # by which that match must be better than every other face's
    min_speech_db: float = -50.0  # mean level of the clip's sound, full scale = 0; below: silent
    min_voice_share: float = 0.25  # of the clip in which somebody is heard to speak; below: no_speech
    # of the lips' opening / height of the face; below: no_speech, the mouth does not move
    min_mouth_range: float = 0.008
    min_sharpness: float = 0.0  # variance of the Laplacian of the crop; below: blurred
    min_brightness: float = 0.0  # mean of the crop, 0..255; below: too_dark
    max_yaw_deg: float = 60.0  # 95th percentile; above: extreme_pose
    max_pitch_deg: float = 50.0
    max_roll_deg: float = 45.0
    max_jitter_px: float = 100.0  # median second difference of the landmarks; above: unsteady
    max_covered_share: float = 0.5  # of the frames in which a hand stands before the face; above: covered
    max_sync_frames: float = 6.0  # what correction leaves of the offset, if that is believed; above: out_of_sync
    min_sync_confidence: float = 1.2  # correlation × √seconds; below: the offset is not believed
    min_lse_c: float = 3.0  # the same with SyncNet
    min_expert_certainty: float = 0.5  # of our own; confidence × √seconds


@dataclass
class PrepareConfig:
    """prepare/: raw video → shards."""

    plan: PlanConfig = field(default_factory=PlanConfig)
    clips: ClipsConfig = field(default_factory=ClipsConfig)
    features: FeaturesConfig = field(default_factory=FeaturesConfig)
    filters: FiltersConfig = field(default_factory=FiltersConfig)


@dataclass
class PrepareCommand:
    """a2h prepare"""

    videos: str = MISSING  # folder, file, glob, or manifest (.csv, .jsonl, .parquet)
    out: str = MISSING  # the dataset's folder, on any store
    # voxceleb | hdtf | mead | crema-d | ravdess | lrs2 | lrs3 | grid: where the identity stands in
    # the path
    layout: str = ""
    limit: int = 0  # only the first videos by name, with all their spans; 0 takes all
    dry_run: bool = False  # print the plan, and what it will cost by a measured sample; write nothing to `out`
    track: bool = False  # as a run of MLflow: progress over time, settings, report
    prepare: PrepareConfig = field(default_factory=PrepareConfig)
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    logger: TrackingConfig = field(default_factory=TrackingConfig)
    paths: PathsConfig = field(default_factory=PathsConfig)


@dataclass
class KeypointsCommand:
    """a2h keypoints"""

    dataset: str = MISSING  # its folder, on any store
    detector: str = "models:/a2h-image-generator/latest"  # or a folder with image_generator.safetensors
    batch_size: int = 32  # frames decoded and looked at together; on a CPU it is part of what decides the last bits
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    logger: TrackingConfig = field(default_factory=TrackingConfig)
    paths: PathsConfig = field(default_factory=PathsConfig)


# ------------------------------------------------------- batches; training is in training_config.py
@dataclass
class DatasetConfig:
    """dataset/: which shards, and how batches are drawn from them."""

    # a dataset's folder, on any store; or shards that others made with webdataset:
    # shards/{000000..000099}.tar
    path: str = MISSING
    # another dataset, whose val and test splits are measured; empty: this one's, and of others'
    # shards none
    measured: str = ""
    batch_size: int = 8  # global: over all processes
    workers: int = 0  # loader processes of each training process
    streams: int = 8  # virtual streams: the order does not depend on processes and workers
    pairs_per_clip: int = 4  # pairs drawn from a clip each time it is read; a batch holds them side by side
    measured_pairs: int = 0  # pairs of each clip when validating and testing; 0: pairs_per_clip
    # of each clip's frames, the last ones: no pair is learnt from them; `test=true` draws them
    unseen_share: float = 0.0
    seed: int = 0  # of the order of clips and of the frames drawn
    cache_gb: float = 50.0  # of shards copied from a remote store into paths.cache


# -------------------------------------------------- evaluation; promotion is in promotion_config.py
EXPERT = "models:/a2h-sync-expert/latest"  # asked where there is one; any other must be there


@dataclass
class EvaluateConfig:
    """evaluate/: what is measured on what."""

    split: str = "test"
    any_split: bool = False  # where the split has no clips, take the next of test, val, train that has some
    max_clips: int = 0  # the first so many by key; 0: all
    max_frames: int = 128  # of each clip, from its start
    min_frames: int = 16  # a shorter clip has no motion to measure and is left out
    first_clip_of_video: bool = False  # of each video only the clip that begins first
    # whose word stands beside the other numbers of sync: models:/… or a folder; empty: nobody's
    sync_expert: str = EXPERT
    champion: bool = True  # measured beside the candidate, where there is one and it is another
    protocols: tuple[str, ...] = ("true_pose", "predicted_pose")
    keypoints: str = "relative"  # absolute | relative
    batch_size: int = 8  # frames rendered at a time
    bootstrap_samples: int = 1000  # of the clips, for the 95 % interval
    pictured_clips: int = 12  # the worst and the best so many are drawn


@dataclass
class EvaluateCommand:
    """a2h evaluate"""

    # models:/audio2head@champion, models:/audio2head/3, a bundle's folder, or videos:FOLDER of any
    # other system
    model: str = MISSING
    dataset: str = ""  # of a set: only where it lies somewhere else now
    set: str = ""  # a file that `a2h freeze` wrote: exactly these clips
    out: str = MISSING
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    logger: TrackingConfig = field(default_factory=TrackingConfig)
    paths: PathsConfig = field(default_factory=PathsConfig)


@dataclass
class FreezeCommand:
    """a2h freeze"""

    dataset: str = MISSING
    out: str = MISSING  # the file
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)


@dataclass
class RegisterCommand:
    """a2h register: the three trained stages, joined into one version of `audio2head`"""

    image_generator: str = "models:/a2h-image-generator/latest"
    motion_field: str = "models:/a2h-motion-field/latest"
    head_pose: str = "models:/a2h-head-pose/latest"
    logger: TrackingConfig = field(default_factory=TrackingConfig)
    paths: PathsConfig = field(default_factory=PathsConfig)


@dataclass
class ImportReleaseCommand:
    """a2h import-release"""

    file: str = ""  # audio2head.pth.tar; empty: from paths.assets
    champion: bool = False  # make it champion at once, without gates
    logger: TrackingConfig = field(default_factory=TrackingConfig)
    paths: PathsConfig = field(default_factory=PathsConfig)


@dataclass
class ExportReleaseCommand:
    """a2h export-release"""

    model: str = MISSING  # models:/audio2head@champion, models:/audio2head/3, or a bundle's folder
    out: str = MISSING  # the file to write
    logger: TrackingConfig = field(default_factory=TrackingConfig)
    paths: PathsConfig = field(default_factory=PathsConfig)


@dataclass
class ExportCommand:
    """a2h export"""

    model: str = MISSING  # models:/audio2head@champion, models:/audio2head/3, or a bundle's folder
    out: str = MISSING  # the folder to write
    format: str = "onnx"
    logger: TrackingConfig = field(default_factory=TrackingConfig)
    paths: PathsConfig = field(default_factory=PathsConfig)


@dataclass
class GenerateConfig:
    """generate/: how a head is made to talk."""

    # crop: to the face, as clips were cut | full: the same, laid back into the picture | resize:
    # the picture is such a crop already
    preprocess: str = "crop"
    face: int = 0  # which, counted from the left; 0: the largest
    max_side: int = 1920  # pixels of a picture with preprocess=full; a larger one is made smaller
    keypoints: str = "relative"  # absolute (as the release) | relative
    still: bool = False  # keep the portrait's pose
    pose_scale: float = 1.0  # of the head's motion around the first pose
    idle_motion: float = 1.0  # how much the head sways while nothing is said; 0, as in the release: not at all
    seed: int = 0  # of that swaying
    precision: str = "auto"  # of what draws: fp32 | bf16 | auto, which is bf16 where the processor computes in it
    # what computes: torch | onnx (ONNX Runtime on a CPU, 32 bits; the model is exported once, into
    # the cache)
    backend: str = "torch"
    compile: bool = False  # by torch, at the first frames: a minute that only long videos pay back
    batch_size: int = 4  # frames rendered at a time
    windows: int = 1  # of 64 frames, for which keypoints are found at a time; more help a GPU
    format: str = "mp4"  # mp4 | webm | gif (silent) | frames (a folder of PNGs)
    mark: bool = False  # write "synthetic" into a corner of the frames
    crf: int = 18  # of x264, and its like of VP9
    max_speech_s: float = 3600.0


@dataclass
class GenerateCommand:
    """a2h generate"""

    source_image: str = ""
    driven_audio: str = ""
    pairs: str = ""  # instead of the two: a CSV with the columns portrait,speech (and ref_pose), made on the cluster
    # a video whose head is followed, or poses as .npy, (t, 6), rad and mm-like; empty: the model's
    # own
    ref_pose: str = ""
    result_dir: str = "results"
    model: str = "models:/audio2head@champion"
    generate: GenerateConfig = field(default_factory=GenerateConfig)
    cluster: ClusterConfig = field(default_factory=ClusterConfig)  # of pairs
    logger: TrackingConfig = field(default_factory=TrackingConfig)
    paths: PathsConfig = field(default_factory=PathsConfig)


@dataclass
class AppCommand:
    """a2h app"""

    model: str = "models:/audio2head@champion"
    host: str = "127.0.0.1"  # 0.0.0.0 lets every machine of the network in, without a password
    port: int = 7860
    max_speech_s: float = 60.0  # stands above generate.max_speech_s: a page has many visitors
    max_upload_mb: int = 50  # of one file
    concurrency: int = 1  # videos that are made at the same time
    max_waiting: int = 16  # visitors in the queue; more are told to come back later
    keep_minutes: int = 60  # until a file is deleted whose visitor has not left
    generate: GenerateConfig = field(default_factory=GenerateConfig)  # what the page's controls start with
    logger: TrackingConfig = field(default_factory=TrackingConfig)
    paths: PathsConfig = field(default_factory=PathsConfig)


def config_hash(config: Any) -> str:
    """Sixteen hex digits that change with any value of a config dataclass, and with nothing else."""
    from omegaconf import OmegaConf

    values = OmegaConf.to_container(OmegaConf.structured(config), resolve=True)
    return sha256_of_json(values, digits=16)


@dataclass
class DemoCommand:
    """a2h demo"""

    videos: str = ""  # a folder of talking videos; empty makes synthetic talkers
    out: str = "demo"
    identity_csv: str = ""  # file,identity columns; empty: a MANIFEST.csv in the videos' folder, else the files' names
    portrait: str = ""  # empty: the first frame of a held-out clip
    speech: str = ""  # empty: that clip's own speech
    count: int = 6  # synthetic talkers
    seconds: float = 6.0  # of each
    seed: int = 0
    scale: str = "smoke"  # smoke | small | paper
    max_steps: int = 0  # of each stage; 0: what the scale says
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
