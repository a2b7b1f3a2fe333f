"""What is measured, and how to read it (method.md §5).

image     PSNR, SSIM, MS-SSIM and L1 of frames
sharpness CPBD of frames, without a truth
motion    of the head and of landmarks
eyes      blinks
sync      mouth against speech
lip_sync  LSE-D, LSE-C and offset, by the public SyncNet
sync_expert  the same by our own network
identity  shape of the face against the portrait's
lpips     how different frames look, by AlexNet
csim      the person, by ArcFace
frechet   FID and FVD: sets as wholes
judges    the networks that these need
clip      all of them for one film against the true one
summary   means over clips, with intervals

`DEFINITIONS` says for each number which way is better; a table without that cannot be read, and
promotion would not know what is worse.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Best = Literal["higher", "lower", "truth"]  # "truth": closest to the ground truth's own value is best, not the highest


@dataclass(frozen=True)
class Definition:
    """How to read one number."""

    label: str
    best: Best
    unit: str
    meaning: str


DEFINITIONS: dict[str, Definition] = {
    "psnr": Definition("PSNR", "higher", "dB", "peak signal-to-noise ratio of frames, mean over frames"),
    "ssim": Definition("SSIM", "higher", "", "structural similarity of frames, Gaussian 11×11 with σ 1.5"),
    "ms_ssim": Definition("MS-SSIM", "higher", "", "SSIM at five scales; of frames of 176 pixels a side or more"),
    "l1": Definition("L1", "lower", "", "mean absolute difference of frames in [0, 1]"),
    "lpips": Definition("LPIPS", "lower", "", "perceptual distance of frames, AlexNet, v0.1"),
    "fid": Definition(
        "FID", "lower", "", "Fréchet distance of Inception's features of all frames to the true ones'; of the whole set"
    ),
    "fvd": Definition("FVD", "lower", "", "the same of I3D's logits of stretches of 16 frames"),
    "cpbd": Definition("CPBD", "truth", "", "share of the edges whose blur is not noticed"),
    "lmd": Definition("LMD", "lower", "px", "landmark distance after removing translation and scale"),
    "m_lmd": Definition("M-LMD", "lower", "px", "the same, of the lips"),
    "f_lmd": Definition("F-LMD", "lower", "px", "the same, of the rest of the face"),
    "akd": Definition("AKD", "lower", "px", "average landmark distance as it stands in the frame"),
    "faces_found": Definition("Faces found", "higher", "", "share of the frames in which the face mesh found a face"),
    "mouth_speech_correlation": Definition(
        "Mouth-speech correlation",
        "truth",
        "",
        "of the mouth and the one that the speech lets expect, at offset 0; ours",
    ),
    "mouth_speech_offset": Definition(
        "Mouth-speech offset", "truth", "frames", "by which the speech comes after the mouth; ours"
    ),
    "mouth_speech_confidence": Definition(
        "Mouth-speech confidence",
        "truth",
        "",
        "the correlation at the best offset, times the root of the seconds; ours",
    ),
    "lse_d": Definition("LSE-D", "truth", "", "least mean distance of SyncNet's embeddings of lips and speech"),
    "lse_c": Definition("LSE-C", "truth", "", "by how much that stands out among the shifts within ± 15 frames"),
    "sync_offset": Definition("AV offset", "truth", "frames", "by which the speech comes after the lips, by SyncNet"),
    "expert_offset": Definition(
        "Expert offset", "truth", "frames", "by which the speech comes after the lips, by a sync expert; ours"
    ),
    "expert_likeness": Definition(
        "Expert likeness", "truth", "", "of lips and speech at that offset, by a sync expert; ours"
    ),
    "expert_confidence": Definition(
        "Expert confidence", "truth", "", "by how much that stands out within ± 15 frames; ours"
    ),
    "csim": Definition(
        "CSIM", "higher", "", "cosine of ArcFace's identities to the portrait's, mean over the frames with a face"
    ),
    "csim_low": Definition("CSIM, 5th percentile", "higher", "", "the same of a clip's worst frames"),
    "csim_collapsed": Definition("CSIM, collapsed", "lower", "", "share of the frames whose cosine is below 0.1"),
    "landmark_shape_distance": Definition(
        "Landmark-shape distance", "lower", "%", "of the face's shape to the portrait's, in face sizes; ours"
    ),
    "blink_rate": Definition("Blink rate", "truth", "1/min", "blinks a minute, from the openness of the eyes"),
    "head_diversity": Definition(
        "Head diversity", "truth", "deg", "standard deviation of the head's rotation over time"
    ),
    "mean_absolute_step": Definition("Mean absolute step", "truth", "deg/frame", "of the head's rotation"),
    "jitter": Definition("Jitter", "truth", "deg/frame²", "mean absolute second difference of the head's rotation"),
    "beat_alignment": Definition(
        "Beat alignment", "truth", "", "of speech onsets and local minima of the head's velocity"
    ),
    "pose_ssim": Definition(
        "Pose SSIM", "higher", "", "structural similarity of the 6-D pose sequence to the true one"
    ),
}

OF_SETS = ("fid", "fvd")  # of whole sets, not of clips
NEEDS = {  # the weights of other people, as `a2h assets` names them → what is measured with them
    "alexnet": ("lpips",),
    "inception": ("fid",),
    "i3d": ("fvd",),
    "syncnet": ("lse_d", "lse_c", "sync_offset"),
    "arcface": ("csim", "csim_low", "csim_collapsed"),
}
EXPERT = ("expert_offset", "expert_likeness", "expert_confidence")  # what our own sync expert measures
