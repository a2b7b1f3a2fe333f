"""A portrait and speech → frames: the three networks joined, windows stitched, as a stream (METHOD §2)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Float32, UInt8
from torch import Tensor

from a2h_models.errors import CheckpointError, ConfigError, InputError
from a2h_models.head_pose import box_tensor, denormalise
from a2h_models.keypoints import Keypoints, relative_keypoints
from a2h_models.networks import STAGES, HeadPose, ImageGenerator, MotionField, NetworksConfig, load, save
from a2h_models.networks.generator import EncodedPortrait
from a2h_models.networks.weights import file_name
from a2h_models.sample import POSE_DIM, SPEECH_DIM, WINDOW
from a2h_models.timebase import HOPS_PER_FRAME, Span

STEP = WINDOW // 2  # frames between the starts of two windows
MARGIN = WINDOW // 4  # frames at either end of a window that its neighbours know better
# Frames of silence in the first pose before a relative animation: at the border of a window keypoints are worst, and here all frames
# depend on the first. The release has none; absolute keypoints stay as it gives them.
LEAD_IN = MARGIN
KEYPOINTS = ("absolute", "relative")
PRECISIONS = ("fp32", "bf16")  # of the renderer; see `Animator`
# The release multiplies by this number, rounded to 32 bits; dividing by 255 rounds a third of all pixel values otherwise. That last bit
# moved driving keypoints of the parity set by up to 3.0e-4 where heatmaps are nearly tied; with it they agree to 1.2e-7.
UNIT = float(np.float32(1) / np.float32(255))

BUNDLE = "bundle.json"
BUNDLE_FORMAT = "a2h-bundle"
BUNDLE_VERSION = 1


def stitch(frames: int) -> Iterator[tuple[int, Span]]:
    """Where windows start, and which of their frames are kept, as the release does it: 0–47 of the first, 16–47 of the others."""
    for start in range(0, frames, STEP):
        first, stop = MARGIN if start else 0, min(WINDOW - MARGIN, frames - start)
        if first < stop:
            yield start, Span(first, stop)


class Animator:
    """Makes a head talk. Holds networks in evaluation mode on one device; keeps nothing between calls.

    Args:
        image_generator: stage 1's network; `motion_field` and `head_pose` are those of the other two.
        config: what the networks were built by.
        precision: of what draws. `bf16` leaves what places things (poses, keypoints, flow) in 32 bits: in bf16 the motion field moved
            keypoints of the parity set by up to 1.1, since heatmaps are read at a temperature of 0.1.

    Raises:
        ConfigError: for an unknown precision.
    """

    def __init__(
        self,
        image_generator: ImageGenerator,
        motion_field: MotionField,
        head_pose: HeadPose,
        config: NetworksConfig,
        *,
        precision: str = "fp32",
    ) -> None:
        _known("precision", precision, PRECISIONS)
        self.image_generator = image_generator.eval()
        self.motion_field = motion_field.eval()
        self.head_pose = head_pose.eval()
        self.config = config
        self.precision = precision

    @property
    def device(self) -> torch.device:
        return next(self.head_pose.parameters()).device

    def to(self, device: torch.device | str) -> Animator:
        for network in (self.image_generator, self.motion_field, self.head_pose):
            network.to(device)
        return self

    # --------------------------------------------------------------------------------------------------------------- frames
    def animate(
        self,
        portrait: UInt8[np.ndarray, "256 256 3"],
        speech: Float32[np.ndarray, "t 4 41"],
        *,
        pose: Float[np.ndarray, "n 6"] | None = None,  # n ≥ t
        keypoints: str = "absolute",
        still: bool = False,
        pose_scale: float = 1.0,
        batch_size: int = 8,
    ) -> Iterator[UInt8[np.ndarray, "n h w 3"]]:
        """Frames in batches, exactly as many as the speech has. Memory does not grow with the length.

        Args:
            portrait: RGB, a crop as `pipelines.prepare.faces` makes it.
            speech: `a2h_models.speech.speech_features`.
            pose: the head's true poses, not normalised, to drive by instead of predicted ones (the true-pose protocol).
            keypoints: absolute, as the release, or relative to the first predicted frame, which keeps the portrait's identity better.
            still: keep the pose of the first frame.
            pose_scale: of the head's motion around the pose of the first frame.
            batch_size: frames rendered at a time.

        Raises:
            InputError: for arrays of other shapes.
            ConfigError: for an unknown way to take keypoints.
        """
        _check(portrait, speech, pose, keypoints)
        if pose is None:
            pose = self.predict_pose(portrait, speech)
        pose = pose[:1] + (0.0 if still else pose_scale) * (pose - pose[:1]) if len(pose) else pose
        encoded = self.encode(portrait)
        for driving in _batches(self._driving(encoded, speech, pose, relative=keypoints == "relative"), batch_size):
            yield self.render(encoded, driving)

    @torch.inference_mode()
    def predict_pose(self, portrait: UInt8[np.ndarray, "h w 3"], speech: Float32[np.ndarray, "t 4 41"]) -> Float32[np.ndarray, "t+1 6"]:
        """Poses in rad and mm-like; item 0 is the portrait's own, which is also frame 0's."""
        state, first = self.head_pose.start(self._image(portrait))
        poses = [first]
        for start in range(0, len(speech), WINDOW):
            state, some = self.head_pose.advance(self._tensor(speech[None, start : start + WINDOW]), state)
            poses.append(some)
        found: np.ndarray = denormalise(torch.cat(poses, dim=1)[0].float()).cpu().numpy()
        return found

    def predict_keypoints(
        self,
        portrait: UInt8[np.ndarray, "h w 3"],
        speech: Float32[np.ndarray, "t 4 41"],
        pose: Float[np.ndarray, "n 6"],
    ) -> Iterator[Keypoints]:
        """Absolute keypoints (n, k, …) of the frames in order, some dozens at a time. Past its end, the last pose stays."""
        yield from self._keypoints(self._image(portrait), speech, pose)

    # ------------------------------------------------------------------------------------------------------------ the parts
    def _keypoints(self, image: Float[Tensor, "1 3 h w"], speech: np.ndarray, pose: np.ndarray) -> Iterator[Keypoints]:
        for start, kept in stitch(len(speech)):
            window = self._window(image, speech, pose, start)
            yield Keypoints(*(x[kept.start : kept.stop] for x in window))

    def _driving(self, encoded: EncodedPortrait, speech: np.ndarray, pose: np.ndarray, *, relative: bool) -> Iterator[Keypoints]:
        if not relative:
            yield from self._keypoints(encoded.image, speech, pose)
            return
        first: Keypoints | None = None
        for driving in _without(LEAD_IN, self._keypoints(encoded.image, *_with_lead_in(speech, pose))):
            first = first or driving.each(lambda x: x[:1])
            yield relative_keypoints(driving, first, encoded.keypoints)

    @torch.inference_mode()
    def encode(self, portrait: np.ndarray) -> EncodedPortrait:
        image = self._image(portrait)
        source = self.image_generator.detector(image)
        with self._drawing():
            return self.image_generator.generator.encode(image, source)

    @torch.inference_mode()
    def _window(self, image: Float[Tensor, "1 3 h w"], speech: np.ndarray, pose: np.ndarray, start: int) -> Keypoints:
        """All keypoints of the window that starts at a frame: past the end speech is zeros, and the very last pose stays."""
        heard = np.zeros((WINDOW, HOPS_PER_FRAME, SPEECH_DIM), np.float32)
        some = speech[start : start + WINDOW]
        heard[: len(some)] = some
        frame = np.arange(start, start + WINDOW)
        boxes = box_tensor(pose[np.where(frame < len(speech), frame, len(pose) - 1)])
        out = self.motion_field(self._tensor(heard[None]), boxes[None].to(image), image)
        return Keypoints(*(x[0] for x in out.keypoints))

    @torch.inference_mode()
    def render(self, portrait: EncodedPortrait, driving: Keypoints) -> UInt8[np.ndarray, "n h w 3"]:
        with self._drawing():
            prediction = self.image_generator.generator.render(portrait, driving).prediction
        frames: np.ndarray = (
            rearrange((prediction.float() * 255).to(torch.uint8), "n c h w -> n h w c").cpu().numpy()
        )  # floors, as the release
        return frames

    def _drawing(self) -> AbstractContextManager[None]:
        context: AbstractContextManager[None] = torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")
        return context

    def _image(self, portrait: UInt8[np.ndarray, "height width 3"]) -> Float[Tensor, "1 3 h w"]:
        """RGB in [0, 1] at the networks' size."""
        image = rearrange(self._tensor(portrait.astype(np.float32)), "h w c -> 1 c h w") * UNIT
        size = self.config.image_size
        return image if image.shape[-2:] == (size, size) else F.interpolate(image, size=(size, size), mode="area")

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)

    # ----------------------------------------------------------------------------------------------------------- the bundle
    def save(self, folder: Path) -> Path:
        """Write the bundle: the weights of the three stages, and `bundle.json`, last, with their hashes."""
        modules = {"image_generator": self.image_generator, "motion_field": self.motion_field, "head_pose": self.head_pose}
        hashes = {file_name(stage): _sha256(save(module, stage, self.config, folder)) for stage, module in modules.items()}
        content = {"format": BUNDLE_FORMAT, "schema_version": BUNDLE_VERSION, "files": hashes}
        path = folder / BUNDLE
        path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        return path

    @classmethod
    def load(cls, folder: Path, device: torch.device | str = "cpu", *, precision: str = "fp32") -> Animator:
        """Read a bundle.

        Raises:
            ConfigError: for an unknown precision.
            CheckpointError: when a file is missing, is not the one that was saved, or does not fit.
        """
        _check_bundle(folder)
        image_generator, config = load(folder, "image_generator")
        motion_field, _ = load(folder, "motion_field")
        head_pose, _ = load(folder, "head_pose")
        assert isinstance(image_generator, ImageGenerator)
        assert isinstance(motion_field, MotionField)
        assert isinstance(head_pose, HeadPose)
        return cls(image_generator, motion_field, head_pose, config, precision=precision).to(device)


def _check_bundle(folder: Path) -> None:
    path = folder / BUNDLE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"{folder} holds no {BUNDLE}", hint="give the folder of a bundle, or models:/audio2head@champion") from error
    except ValueError as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error
    if content.get("format") != BUNDLE_FORMAT or content.get("schema_version") != BUNDLE_VERSION:
        found = f"{content.get('format')} {content.get('schema_version')}"
        raise CheckpointError(f"{path} is not a bundle of this version: it says {found}, not {BUNDLE_FORMAT} {BUNDLE_VERSION}")
    for name in map(file_name, STAGES):
        if not (folder / name).is_file():
            raise CheckpointError(f"{folder} holds no {name}, which {BUNDLE} lists")
        if _sha256(folder / name) != content["files"].get(name):
            raise CheckpointError(f"{folder / name} is not the file that {BUNDLE} lists: its sha-256 differs")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _with_lead_in(speech: np.ndarray, pose: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Speech and poses with LEAD_IN frames of silence in the first pose before them."""
    silence = np.zeros((LEAD_IN if len(speech) else 0, HOPS_PER_FRAME, SPEECH_DIM), speech.dtype)
    return np.concatenate([silence, speech]), np.concatenate([np.repeat(pose[:1], len(silence), axis=0), pose])


def _without(frames: int, stream: Iterator[Keypoints]) -> Iterator[Keypoints]:
    """A stream of keypoints without its first frames."""
    for keypoints in stream:
        dropped = min(frames, len(keypoints.value))
        frames -= dropped
        if dropped < len(keypoints.value):
            yield Keypoints(*(x[dropped:] for x in keypoints))


def _check(portrait: np.ndarray, speech: np.ndarray, pose: np.ndarray | None, keypoints: str) -> None:
    if portrait.ndim != 3 or portrait.shape[-1] != 3 or portrait.dtype != np.uint8:  # noqa: PLR2004 (RGB, in rows and columns)
        raise InputError(f"a portrait must be uint8 of shape (256, 256, 3), not {portrait.dtype} of shape {portrait.shape}")
    if speech.ndim != 3 or speech.shape[1:] != (HOPS_PER_FRAME, SPEECH_DIM):  # noqa: PLR2004 (frames, rows, features)
        raise InputError(f"speech features must have the shape (t, {HOPS_PER_FRAME}, {SPEECH_DIM}), not {speech.shape}")
    if pose is not None and (pose.ndim != 2 or pose.shape[1] != POSE_DIM or len(pose) < len(speech)):  # noqa: PLR2004 (frames, numbers)
        raise InputError(f"poses must have the shape ({len(speech)}, {POSE_DIM}), not {pose.shape}")
    _known("keypoints", keypoints, KEYPOINTS)


def _known(key: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ConfigError(f"{key}={value!r} is not known", hint=f"one of: {', '.join(choices)}")


def _batches(pieces: Iterator[Keypoints], size: int) -> Iterator[Keypoints]:
    """The same frames in batches of `size`, the last one shorter."""
    rest: Keypoints | None = None
    for piece in pieces:
        ready = piece if rest is None else Keypoints(*(torch.cat(pair) for pair in zip(rest, piece, strict=True)))
        full = len(ready.value) // size * size
        for start in range(0, full, size):
            yield Keypoints(*(x[start : start + size] for x in ready))
        rest = Keypoints(*(x[full:] for x in ready))
    if rest is not None and len(rest.value):
        yield rest
