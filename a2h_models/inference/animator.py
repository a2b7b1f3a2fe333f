"""Generate frames from a portrait and speech, as a stream: the three networks joined (method.md §2)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypedDict, Unpack

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Float32, UInt8
from torch import Tensor

from a2h_models.checkpoints import bundle
from a2h_models.data_types import UNIT, WINDOW
from a2h_models.errors import ConfigError, InputError
from a2h_models.features.head_pose import box_tensor, denormalise, normalise
from a2h_models.features.keypoints import Keypoints, relative_keypoints
from a2h_models.inference.buffer import StreamBuffer
from a2h_models.inference.cpu_generator import optimize_for_cpu
from a2h_models.inference.idle_motion import IdleMotion
from a2h_models.inference.onnx.runtime import (
    OnnxGenerator,
    OnnxGeneratorOutput,
    OnnxHeadPose,
    OnnxImageGenerator,
    OnnxMotionField,
)
from a2h_models.inference.windows import (
    LEAD_IN,
    FrameSequences,
    MotionWindow,
    SpeechInput,
    pose_blocks,
    scaled,
    speech_blocks,
    windows_of,
    with_lead_in,
)
from a2h_models.networks import Generator, HeadPose, ImageGenerator, MotionField, NetworksConfig, load, save
from a2h_models.networks.generator import EncodedPortrait, GeneratorOutput
from a2h_models.networks.head_pose import HeadPoseState
from a2h_models.networks.weights import file_name

_begin_step: Callable[[], None] = torch.compiler.cudagraph_mark_step_begin
_event: Callable[[], torch.cuda.Event] = torch.cuda.Event

KEYPOINTS = ("absolute", "relative")
PRECISIONS = ("fp32", "bf16", "auto")  # of the renderer; see `Animator`


class Options(TypedDict, total=False):
    """What `Animator.animate` and `Animator.batches` may be told; see there."""

    pose: np.ndarray | Iterable[np.ndarray] | None
    keypoints: str
    still: bool
    pose_scale: float
    idle_motion: float
    seed: int
    batch_size: int
    windows: int


class Animator:
    """Makes a head talk. Holds networks in evaluation mode on one device; keeps nothing between
    calls.

    Args:
        image_generator: stage 1's network; `motion_field` and `head_pose` are those of the other
            two. Or ONNX Runtime's.
        config: what the networks were built by.
        precision: of what draws. `bf16` leaves what places things (poses, keypoints, flow) in 32
            bits: in bf16 the motion field moved keypoints of the parity set by up to 1.1, since
            heatmaps are read at a temperature of 0.1. `auto` takes it where the processor computes
            in it.

    Raises:
        ConfigError: for an unknown precision.
    """

    def __init__(
        self,
        image_generator: ImageGenerator | OnnxImageGenerator,
        motion_field: MotionField | OnnxMotionField,
        head_pose: HeadPose | OnnxHeadPose,
        config: NetworksConfig,
        *,
        precision: str = "fp32",
    ) -> None:
        _known("precision", precision, PRECISIONS)
        self.image_generator = image_generator.eval()
        self.motion_field = motion_field.eval()
        self.head_pose = head_pose.eval()
        self.config = config
        self._precision = precision
        self._for_drawing: Generator | None = None
        self._compiled: Callable[[EncodedPortrait, Keypoints], GeneratorOutput | OnnxGeneratorOutput] | None = None

    @property
    def device(self) -> torch.device:
        """Networks of another program have no weights here, and are on the CPU."""
        return next((weight.device for weight in self.head_pose.parameters()), torch.device("cpu"))

    @property
    def precision(self) -> str:
        """fp32 or bf16."""
        if self._precision != "auto":
            return self._precision
        return "bf16" if has_bf16(self.device) else "fp32"

    def to(self, device: torch.device | str) -> Animator:
        """Move all networks.

        On a GPU what draws is laid out channels last; on a CPU that is a copy (`drawing`).
        """
        self._for_drawing = None
        for network in (self.image_generator, self.motion_field, self.head_pose):
            network.to(device)
        if self.device.type == "cuda":
            lay_out: Any = self.image_generator.generator.to  # torch's own types know no memory_format here
            lay_out(memory_format=torch.channels_last)
        return self if self._compiled is None else self.compile()  # what was compiled is of the other device

    def compile(self) -> Animator:
        """Have torch compile what draws, at the first frames: that takes a minute or so.

        On a GPU it then runs as CUDA graphs.
        """
        mode = "reduce-overhead" if self.device.type == "cuda" else "default"
        self._compiled = torch.compile(self._drawer.render, mode=mode, dynamic=False)
        return self

    # --------------------------------------------------------------------------------------- frames
    def animate(
        self, portrait: UInt8[np.ndarray, "256 256 3"], speech: SpeechInput, **options: Unpack[Options]
    ) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
        """Frames one by one: RGB, 25 a second, as many as cover the speech. The first come while
        the rest is still computed.

        Arguments and errors are those of `batches`.
        """
        for batch in self.batches(portrait, speech, **options):
            yield from batch

    def batches(
        self,
        portrait: UInt8[np.ndarray, "256 256 3"],
        speech: SpeechInput,
        *,
        pose: np.ndarray | Iterable[np.ndarray] | None = None,
        keypoints: str = "absolute",
        still: bool = False,
        pose_scale: float = 1.0,
        idle_motion: float = 0.0,
        seed: int = 0,
        batch_size: int = 8,
        windows: int = 1,
    ) -> Iterator[UInt8[np.ndarray, "n h w 3"]]:
        """Frames in batches. Memory does not grow with the length.

        Args:
            portrait: RGB, uint8, a crop of the head as clips are cut.
            speech: a wave (one axis: 16 kHz, mono, any level), its features (t, 4, 41) as
                `a2h_models.features.speech.speech_features` makes them, or an iterable of such
                features piece by piece.
            pose: the head's poses (n ≥ t, 6) in rad and mm-like, not normalised, to drive by
                instead of predicted ones; or pieces of them.
            keypoints: absolute, as the release, or relative to the first predicted frame, which
                keeps the portrait's identity better.
            still: keep the pose of the first frame.
            pose_scale: of the head's motion around the pose of the first frame.
            idle_motion: in silence, of a predicted pose: 1 is natural, 0, as in the release, none.
            seed: of the idle motion; nothing else is left to chance.
            batch_size: frames rendered at a time.
            windows: read by the motion field at a time, after the first one. Several keep a GPU
                busy.

        Raises:
            InputError: for arrays of other shapes or types, for a wave without finite samples, and
                for fewer poses than frames.
            ConfigError: for an unknown way to take keypoints.
        """
        _check(portrait, keypoints)
        encoded = self.encode(portrait)
        heard = speech_blocks(speech)
        if pose is None:
            heard, again = itertools.tee(heard)
            held = self._poses(encoded.image, again, IdleMotion(scale=0.0 if still else idle_motion, seed=seed))
        else:
            held = pose_blocks(pose)
        script = FrameSequences(StreamBuffer(heard), StreamBuffer(scaled(held, 0.0 if still else pose_scale)))
        driving = self._driving(encoded, script, relative=keypoints == "relative", windows=windows)
        yield from self._on_host(self._draw(encoded, some, batch_size) for some in _batches(driving, batch_size))

    def predict_pose(self, portrait: UInt8[np.ndarray, "h w 3"], speech: SpeechInput) -> Float32[np.ndarray, "t+1 6"]:
        """Poses in rad and mm-like; item 0 is the portrait's own, which is also frame 0's."""
        return np.concatenate(
            list(self._poses(self._image(portrait), speech_blocks(speech), IdleMotion(scale=0.0, seed=0)))
        )

    def predict_keypoints(
        self, portrait: UInt8[np.ndarray, "h w 3"], speech: SpeechInput, pose: Float[np.ndarray, "n 6"]
    ) -> Iterator[Keypoints]:
        """Absolute keypoints (n, k, …) of the frames in order, some dozens at a time.

        Past its end, the last pose stays.
        """
        yield from self._keypoints(
            self._image(portrait), FrameSequences(StreamBuffer(speech_blocks(speech)), StreamBuffer([pose]))
        )

    # ------------------------------------------------------------------------------------ the parts
    def _poses(
        self, image: Float[Tensor, "1 3 h w"], speech: Iterator[np.ndarray], idle: IdleMotion
    ) -> Iterator[Float32[np.ndarray, "n 6"]]:
        """Yield the portrait's own pose, then one for each frame of the speech, in windows."""
        tape, start = StreamBuffer(speech), 0
        state, first = self._begin(image)
        yield first
        while tape.has(start):
            some = tape.read(start, start + WINDOW)
            state, poses = self._advance(some, state)
            yield (poses + idle.after(some)).astype(np.float32)
            start += len(some)
            tape.forget(start)

    def _keypoints(
        self, image: Float[Tensor, "1 3 h w"], script: FrameSequences, *, windows: int = 1
    ) -> Iterator[Keypoints]:
        """Yield those of the frames; the first window is read alone, so that frames come soon."""
        rows = windows_of(script)
        while group := list(itertools.islice(rows, 1)):
            yield from self._read(image, group)
            while group := list(itertools.islice(rows, windows)):
                yield from self._read(image, group)

    def _driving(
        self, encoded: EncodedPortrait, script: FrameSequences, *, relative: bool, windows: int = 1
    ) -> Iterator[Keypoints]:
        if not relative:
            yield from self._keypoints(encoded.image, script, windows=windows)
            return
        first: Keypoints | None = None
        for driving in _without(LEAD_IN, self._keypoints(encoded.image, with_lead_in(script), windows=windows)):
            first = first or driving.each(lambda x: x[:1])
            yield relative_keypoints(driving, first, encoded.keypoints)

    @torch.inference_mode()
    def _begin(self, image: Float[Tensor, "1 3 h w"]) -> tuple[HeadPoseState, Float32[np.ndarray, "1 6"]]:
        state, first = self.head_pose.start(image)
        return state, _as_poses(first)

    @torch.inference_mode()
    def _advance(
        self, speech: Float32[np.ndarray, "t 4 41"], state: HeadPoseState
    ) -> tuple[HeadPoseState, Float32[np.ndarray, "t 6"]]:
        state, poses = self.head_pose.advance(self._tensor(speech[None]), state)
        return state, _as_poses(poses)

    @torch.inference_mode()
    def _read(self, image: Float[Tensor, "1 3 h w"], group: list[MotionWindow]) -> list[Keypoints]:
        """The keypoints of some windows, of each those that are kept."""
        heard = self._tensor(np.stack([window.heard for window in group]))
        boxes = torch.stack([box_tensor(window.pose) for window in group]).to(image)
        turned = self._tensor(
            np.stack([normalise(window.pose) - normalise(window.first) for window in group]).astype(np.float32)
        )
        out = self.motion_field(heard, boxes, image.expand(len(group), -1, -1, -1), turned)
        return [
            Keypoints(*(x[index, window.kept.start : window.kept.stop] for x in out.keypoints))
            for index, window in enumerate(group)
        ]

    @torch.inference_mode()
    def encode(self, portrait: np.ndarray) -> EncodedPortrait:
        image = self._image(portrait)
        source = self.image_generator.detector(image)
        with self._drawing():
            return self._drawer.encode(image, source)

    def render(self, portrait: EncodedPortrait, driving: Keypoints) -> UInt8[np.ndarray, "n h w 3"]:
        frames: np.ndarray = self._draw(portrait, driving, len(driving.value)).cpu().numpy()
        return frames

    @torch.inference_mode()
    def _draw(self, portrait: EncodedPortrait, driving: Keypoints, batch_size: int) -> UInt8[Tensor, "n h w 3"]:
        """Frames, still on the device."""
        count = len(driving.value)
        with self._drawing():
            if self._compiled is None:
                prediction = self._drawer.render(portrait, driving).prediction
            else:  # for one size of batch only: a shorter one is filled up
                full = driving.each(lambda x: torch.cat([x, x[-1:].expand(batch_size - count, *x.shape[1:])]))
                _begin_step()
                prediction = self._compiled(portrait, full).prediction[:count]
        return rearrange((prediction.float() * 255).to(torch.uint8), "n c h w -> n h w c")  # floors, as the release

    def _on_host(self, batches: Iterator[UInt8[Tensor, "n h w 3"]]) -> Iterator[UInt8[np.ndarray, "n h w 3"]]:
        """Batches as arrays. From a GPU each is copied while the next one is being drawn."""
        if self.device.type != "cuda":
            yield from (batch.numpy() for batch in batches)
            return
        under_way: tuple[Tensor, torch.cuda.Event] | None = None
        for batch in batches:
            pinned = torch.empty(batch.shape, dtype=batch.dtype, pin_memory=True)
            pinned.copy_(batch, non_blocking=True)
            arrival: torch.cuda.Event = _event()
            arrival.record()
            if under_way is not None:
                under_way[1].synchronize()
                yield under_way[0].numpy()
            under_way = (pinned, arrival)
        if under_way is not None:
            under_way[1].synchronize()
            yield under_way[0].numpy()

    @property
    def _drawer(self) -> Generator | OnnxGenerator:
        """What draws: on a CPU a copy of torch's generator that does the same in less time, made
        when it is first needed.
        """
        generator = self.image_generator.generator
        if not isinstance(generator, Generator) or self.device.type != "cpu":
            return generator
        if self._for_drawing is None:
            self._for_drawing = optimize_for_cpu(
                generator, torch.bfloat16 if self.precision == "bf16" else torch.float32
            )
        return self._for_drawing

    def _drawing(self) -> AbstractContextManager[None]:
        """On a CPU the copy's weights have their precision themselves."""
        enabled = self.precision == "bf16" and self.device.type != "cpu"
        context: AbstractContextManager[None] = torch.autocast(self.device.type, torch.bfloat16, enabled=enabled)
        return context

    def _image(self, portrait: UInt8[np.ndarray, "height width 3"]) -> Float[Tensor, "1 3 h w"]:
        """RGB in [0, 1] at the networks' size."""
        image = rearrange(self._tensor(portrait.astype(np.float32)), "h w c -> 1 c h w") * UNIT
        size = self.config.image_size
        return image if image.shape[-2:] == (size, size) else F.interpolate(image, size=(size, size), mode="area")

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)

    # ----------------------------------------------------------------------------------- the bundle
    def save(self, folder: Path) -> Path:
        """Write the bundle: the weights of the three stages, and `bundle.json`, last, with their
        hashes.
        """
        modules = {
            "image_generator": self.image_generator,
            "motion_field": self.motion_field,
            "head_pose": self.head_pose,
        }
        files = {file_name(stage): save(module, stage, self.config, folder) for stage, module in modules.items()}
        return bundle.write_listing(folder, files)

    @classmethod
    def load(cls, folder: Path, device: torch.device | str = "cpu", *, precision: str = "fp32") -> Animator:
        """Read a bundle.

        Raises:
            ConfigError: for an unknown precision.
            CheckpointError: when a file is missing, is not the one that was saved, or does not fit.
        """
        bundle.check(folder)
        image_generator, config = load(folder, "image_generator")
        motion_field, _ = load(folder, "motion_field")
        head_pose, _ = load(folder, "head_pose")
        assert isinstance(image_generator, ImageGenerator)
        assert isinstance(motion_field, MotionField)
        assert isinstance(head_pose, HeadPose)
        return cls(image_generator, motion_field, head_pose, config, precision=precision).to(device)

    @classmethod
    def from_pretrained(
        cls, name: str | Path, device: torch.device | str = "auto", *, precision: str = "auto"
    ) -> Animator:
        """Load a model by name.

        Args:
            name: the folder of a bundle, or a name of a registry such as
                models:/audio2head@champion, models:/audio2head/3.
            device: auto takes a GPU where there is one.
            precision: fp32 | bf16 | auto; see the class.

        Raises:
            ConfigError: for an unknown precision.
            CheckpointError: when there is no such model or nothing installed knows such names, or
                its files are not what was saved.
        """
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        return cls.load(bundle.locate(str(name)), device, precision=precision)


def has_bf16(device: torch.device) -> bool:
    """Whether a device computes in bfloat16, instead of emulating it."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return any(here for name, here in torch.cpu.get_capabilities().items() if name in {"amx_bf16", "avx512_bf16"})


def _without(frames: int, stream: Iterator[Keypoints]) -> Iterator[Keypoints]:
    """A stream of keypoints without its first frames."""
    for keypoints in stream:
        dropped = min(frames, len(keypoints.value))
        frames -= dropped
        if dropped < len(keypoints.value):
            yield Keypoints(*(x[dropped:] for x in keypoints))


def _as_poses(normalised: Float[Tensor, "1 n 6"]) -> Float32[np.ndarray, "n 6"]:
    """Rad and mm-like."""
    found: np.ndarray = denormalise(normalised[0].float()).cpu().numpy()
    return found


def _check(portrait: np.ndarray, keypoints: str) -> None:
    if portrait.ndim != 3 or portrait.shape[-1] != 3 or portrait.dtype != np.uint8:  # noqa: PLR2004 (RGB, in rows and columns)
        raise InputError(
            f"a portrait must be uint8 of shape (256, 256, 3), not {portrait.dtype} of shape {portrait.shape}"
        )
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
