"""All numbers of a clip."""

import numpy as np
import pytest

from a2h_models.evaluators.metric_networks import MetricNetworks
from a2h_models.metrics import DEFINITIONS, EXPERT, NEEDS
from a2h_models.metrics.video import Face, VideoFeatures, features, measure
from a2h_models.timebase import SAMPLES_PER_FRAME

FRAMES, SIDE = 40, 176  # pixels: enough for MS-SSIM
LSE = set(NEEDS["syncnet"])
# where there are networks that measure
JUDGED = {metric for metrics in NEEDS.values() for metric in metrics} | set(EXPERT)


@pytest.fixture(scope="module")
def truth() -> VideoFeatures:
    rng = np.random.default_rng(0)
    pose = np.cumsum(rng.normal(0, 0.01, (FRAMES, 6)), axis=0) + np.array([0, 0, 0, 0, 0, 280])
    face = Face(landmarks=rng.uniform(60, 190, (FRAMES, 468, 3)), found=np.ones(FRAMES, dtype=bool))
    return VideoFeatures(frames=rng.integers(0, 256, (FRAMES, SIDE, SIDE, 3), dtype=np.uint8), face=face, pose=pose)


@pytest.fixture(scope="module")
def wave() -> np.ndarray:
    loud = np.repeat(np.random.default_rng(1).uniform(0, 9000, FRAMES), SAMPLES_PER_FRAME)
    return (loud * np.random.default_rng(2).normal(0, 1, len(loud))).clip(-32767, 32767).astype(np.int16)


def test_the_truth_against_itself_is_perfect(truth: VideoFeatures, wave: np.ndarray) -> None:
    values = measure(truth, truth, wave)
    assert values["psnr"] == 100.0
    assert values["l1"] == values["lmd"] == values["akd"] == 0.0
    assert values["ssim"] == pytest.approx(1.0, abs=1e-5)
    assert values["pose_ssim"] == pytest.approx(1.0)
    assert values.keys() | JUDGED == DEFINITIONS.keys()
    assert not values.keys() & JUDGED


def test_without_a_face_mesh_or_pose_only_frames_are_measured(truth: VideoFeatures, wave: np.ndarray) -> None:
    bare = truth._replace(face=None, pose=None)
    assert measure(bare, truth, wave).keys() == {"psnr", "ssim", "ms_ssim", "l1", "cpbd"}


def test_a_face_that_is_never_found_is_counted_and_not_measured(truth: VideoFeatures, wave: np.ndarray) -> None:
    assert truth.face is not None
    lost = truth._replace(face=truth.face._replace(found=np.zeros(FRAMES, dtype=bool)))
    values = measure(lost, truth, wave)
    assert values["faces_found"] == 0.0
    assert not {"lmd", "mouth_speech_correlation", "mouth_speech_offset", "blink_rate"} & values.keys()


def test_small_frames_have_no_ms_ssim(truth: VideoFeatures, wave: np.ndarray) -> None:
    small = truth._replace(frames=truth.frames[:, :64, :64], face=None)
    assert "ms_ssim" not in measure(small, small, wave)


def test_syncnet_is_asked_where_every_frame_has_a_face(truth: VideoFeatures, wave: np.ndarray) -> None:
    import torch

    from a2h_models.evaluators.syncnet import SyncNet

    torch.manual_seed(0)
    network = MetricNetworks(syncnet=SyncNet().eval())
    assert truth.face is not None
    brief = VideoFeatures(truth.frames[:9], Face(truth.face.landmarks[:9], truth.face.found[:9]), None)
    values = measure(brief, brief, wave[: 9 * SAMPLES_PER_FRAME], network)
    assert values.keys() >= LSE
    assert values["lse_c"] >= 0.0
    gap = brief._replace(face=Face(truth.face.landmarks[:9], np.arange(9) != 4))
    assert not measure(gap, gap, wave[: 9 * SAMPLES_PER_FRAME], network).keys() & LSE


def test_every_network_that_is_here_measures(truth: VideoFeatures, wave: np.ndarray) -> None:
    import torch

    from a2h_models.evaluators.alexnet import AlexNet
    from a2h_models.evaluators.arcface import ArcFace
    from a2h_models.evaluators.lpips import Lpips, load_heads
    from a2h_models.networks.sync_expert import SyncExpert, SyncExpertConfig

    torch.manual_seed(0)
    expert = SyncExpert(SyncExpertConfig(size=16, width=4, embedding=8)).eval()
    judges = MetricNetworks(alexnet=Lpips(AlexNet(), load_heads()).eval(), arcface=ArcFace().eval(), sync_expert=expert)
    assert truth.face is not None
    brief = VideoFeatures(truth.frames[:12, :64, :64], Face(truth.face.landmarks[:12], truth.face.found[:12]), None)
    values = measure(brief, brief, wave[: 12 * SAMPLES_PER_FRAME], judges)
    assert values["lpips"] == 0.0
    assert values.keys() >= {"csim", "csim_low", "csim_collapsed", *EXPERT}
    assert features(brief, judges) == {}, "FID and FVD have networks of their own"
    lost = brief._replace(face=Face(truth.face.landmarks[:12], np.arange(12) > 0))
    assert not measure(lost, lost, wave[: 12 * SAMPLES_PER_FRAME], judges).keys() & {"csim", *EXPERT}, (
        "the portrait has no face"
    )
