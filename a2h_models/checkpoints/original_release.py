"""The released checkpoint's names ↔ ours. Strict both ways: every tensor has exactly one place, or
the error names it.

The release is one `torch.save`d dict of four state dicts. `TABLE` is all there is to know about it;
release → ours → release gives back the same bits.
"""

from __future__ import annotations

import pickle
import re
import struct
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from a2h_models.data_types import WINDOW
from a2h_models.errors import CheckpointError, InputError
from a2h_models.files import atomic_path
from a2h_models.networks import STAGES, ImageGenerator, NetworksConfig, build
from a2h_models.networks.weights import fill, on_meta, refuse

RGB = 3
FIELDS = {"n": r"\d+", "m": r"\d+", "leaf": r"\w+", "rest": r".+"}  # what stands in braces in the table
TRAINING_ONLY = ("discriminator", "pose_discriminator")  # of the networks' config: nothing of them is in a release

ZIP = b"PK\x03\x04"  # how a file of torch 1.6 or newer begins
# What torch.load answers with when given a damaged checkpoint, found by cutting and overwriting two
# of them in 3000 ways.
UNREADABLE = (
    pickle.UnpicklingError,
    struct.error,
    zipfile.BadZipFile,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)


class StateDictTable(NamedTuple):
    """One of the release's state dicts."""

    stage: str
    prefix: str  # of our names
    names: tuple[tuple[str, str], ...]  # release ↔ ours; the first that fits counts
    # the fixed blur kernels: stored once by us, once for each of so many channels by the release
    blurs: Mapping[str, int]


def _hourglass(release: str, ours: str) -> tuple[tuple[str, str], ...]:
    return (
        (release + "encoder.down_blocks.{n}.{rest}", ours + "down.{n}.{rest}"),
        (release + "decoder.up_blocks.{n}.{rest}", ours + "up.{n}.{rest}"),
    )


def _resnet(release: str, ours: str) -> tuple[tuple[str, str], ...]:
    return (
        (release + "conv1.{leaf}", ours + "stem.{leaf}"),
        (release + "bn1.{leaf}", ours + "stem_norm.{leaf}"),
        (release + "fc.{leaf}", ours + "out.{leaf}"),
        *(
            (f"{release}layer{stage + 1}.{{n}}.{theirs}", f"{ours}stages.{stage}.{{n}}.{mine}")
            for stage in range(4)
            for theirs, mine in (
                ("conv{m}.{leaf}", "conv{m}.{leaf}"),
                ("bn{m}.{leaf}", "norm{m}.{leaf}"),
                ("downsample.{m}.{leaf}", "shortcut.{m}.{leaf}"),
            )
        ),
    )


TABLE: Mapping[str, StateDictTable] = {
    "kp_detector": StateDictTable(
        stage="image_generator",
        prefix="detector.",
        names=(
            ("down.weight", "blur.kernel"),
            *_hourglass("predictor.", "hourglass."),
            ("kp.{leaf}", "heatmap.{leaf}"),
            ("jacobian.{leaf}", "jacobian.{leaf}"),
        ),
        blurs={"down.weight": RGB},
    ),
    "generator": StateDictTable(
        stage="image_generator",
        prefix="generator.",
        names=(
            ("dense_motion_network.down.weight", "blur.kernel"),
            *_hourglass("dense_motion_network.hourglass.", "dense_motion.hourglass."),
            ("dense_motion_network.mask.{leaf}", "dense_motion.mask.{leaf}"),
            ("dense_motion_network.occlusion.{leaf}", "dense_motion.occlusion.{leaf}"),
            ("first.{rest}", "first.{rest}"),
            ("down_blocks.{n}.{rest}", "down.{n}.{rest}"),
            ("bottleneck.r{n}.{rest}", "bottleneck.{n}.{rest}"),
            ("up_blocks.{n}.{rest}", "up.{n}.{rest}"),
            ("final.{leaf}", "last.{leaf}"),
        ),
        blurs={"dense_motion_network.down.weight": RGB},
    ),
    "audio2kp": StateDictTable(
        stage="motion_field",
        prefix="",
        names=(
            ("down_id.weight", "blur_portrait.kernel"),
            ("down_pose.weight", "blur_box.kernel"),
            ("embedding.{n}.{leaf}", "listen.{n}.{leaf}"),
            ("predictor.encoder.down_blocks.{n}.res.{rest}", "hourglass.down.{n}.residual.{rest}"),
            ("predictor.encoder.down_blocks.{n}.norm_res.{leaf}", "hourglass.down.{n}.residual_norm.{leaf}"),
            ("predictor.decoder.up_blocks.{n}.res.{rest}", "hourglass.up.{n}.residual.{rest}"),
            ("predictor.decoder.up_blocks.{n}.norm2.{leaf}", "hourglass.up.{n}.residual_norm.{leaf}"),
            ("predictor.decoder.res_blocks.{n}.0.{rest}", "hourglass.skip.{n}.residual.{rest}"),
            ("predictor.decoder.res_blocks.{n}.1.{leaf}", "hourglass.skip.{n}.norm.{leaf}"),
            *_hourglass("predictor.", "hourglass."),
            ("kp.{leaf}", "heatmap.{leaf}"),
            ("jacobian.{leaf}", "jacobian.{leaf}"),
        ),
        blurs={"down_id.weight": RGB, "down_pose.weight": WINDOW},  # the release blurs a window's boxes as its channels
    ),
    "audio2pose": StateDictTable(
        stage="head_pose",
        prefix="",
        names=(
            *_resnet("em_audio.resnet.", "listen."),
            *_resnet("em_img.resnet.", "look."),
            ("lstm.{leaf}", "recur.{leaf}"),
            ("output.{leaf}", "out.{leaf}"),
        ),
        blurs={},
    ),
}


def ours_of(part: str, name: str) -> str | None:
    """Our name of a tensor of the release's part; None if it has none."""
    found = _translate(name, TABLE[part].names)
    return None if found is None else TABLE[part].prefix + found


def release_of(part: str, name: str) -> str | None:
    """The release's name of a tensor of ours, which begins with the part's prefix; None if it has
    none.
    """
    return _translate(name.removeprefix(TABLE[part].prefix), [(ours, theirs) for theirs, ours in TABLE[part].names])


def _translate(name: str, pairs: Any) -> str | None:
    for pattern, template in pairs:
        regex = re.sub(r"\\\{(\w+)\\\}", lambda field: f"(?P<{field[1]}>{FIELDS[field[1]]})", re.escape(pattern))
        if match := re.fullmatch(regex, name):
            return str(template.format(**match.groupdict()))
    return None


# ----------------------------------------------------------------------------------- release → ours
def read_release(path: Path, config: NetworksConfig | None = None) -> dict[str, nn.Module]:
    """The stages' networks from a released checkpoint, in evaluation mode. `config` None: the
    release's own sizes.

    Tensors stay in the file until they are used, where the file is of torch 1.6 or newer.

    Raises:
        InputError: when the file cannot be opened.
        CheckpointError: when it cannot be read without running code from it, or holds anything but
            the release's tensors.
    """
    try:
        path.open("rb").close()
    except OSError as error:
        raise InputError(
            f"no checkpoint at {path}"
            if isinstance(error, FileNotFoundError)
            else f"{path} cannot be opened: {error.strerror}",
            hint="the release's file is called audio2head.pth.tar",
        ) from error
    try:
        content = _load(path)
    except UNREADABLE as error:
        raise CheckpointError(f"{path} cannot be read as a checkpoint: {_reason(path, str(error))}") from error
    return from_release(content, config, source=str(path))


def _load(path: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch wonders about the pickle's protocol before it fails, or does not
        zipped = zipfile.is_zipfile(path)  # older files are one stream of pickles, which cannot be mapped into memory
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)


def _reason(path: Path, text: str) -> str:
    """What is wrong with a file, without torch's advice to trust it."""
    if found := re.search(r"GLOBAL (\S+)", text):
        return f"it asks for {found[1]}, which is code and not weights, and would be run"
    with path.open("rb") as file:
        start = file.read(len(ZIP))
    if not start:
        return "it is empty"
    return "it is cut off or damaged" if start == ZIP else "it is damaged, or something else"


def from_release(content: Any, config: NetworksConfig | None = None, *, source: str) -> dict[str, nn.Module]:
    """The same from the dict of four state dicts."""
    if not isinstance(content, dict) or set(content) != set(TABLE):
        found = (
            (", ".join(map(str, content)) or "nothing")
            if isinstance(content, dict)
            else f"one {type(content).__name__}"
        )
        missing = [part for part in TABLE if not isinstance(content, dict) or part not in content]
        raise CheckpointError(
            f"{source} must hold {', '.join(TABLE)}, not {found}",
            hint=f"missing: {', '.join(missing)}" if missing else "",
        )
    modules = _unfilled(config or NetworksConfig())
    wanted = _named(modules)
    refuse(list(chain.from_iterable(_complaints(part, content[part], wanted[part]) for part in TABLE)), source=source)
    tensors: dict[str, dict[str, Tensor]] = {stage: {} for stage in STAGES}
    for part, state in content.items():
        for name, tensor in state.items():
            tensors[TABLE[part].stage][str(ours_of(part, name))] = (
                tensor[:1].clone() if name in TABLE[part].blurs else tensor
            )
    for stage, module in modules.items():
        fill(module, tensors[stage], source=f"{source} ({stage})")
    return {stage: module.eval() for stage, module in modules.items()}


def _unfilled(config: NetworksConfig) -> dict[str, nn.Module]:
    return {stage: on_meta(partial(build, stage, config)) for stage in STAGES}


def _complaints(part: str, state: Any, wanted: Mapping[str, Tensor]) -> Iterator[str]:
    """What is wrong with one part, in the release's names, which are those of the file."""
    if not isinstance(state, Mapping):
        yield f"{part} is a {type(state).__name__} instead of tensors by name"
        return
    yield from (f"{part}.{name} is missing" for name in wanted.keys() - state.keys())
    for name, tensor in state.items():
        if name not in wanted:
            yield f"{part}.{name} is unknown"
        elif not isinstance(tensor, Tensor):
            yield f"{part}.{name} is a {type(tensor).__name__}, not a tensor"
        elif tensor.shape != wanted[name].shape:
            yield f"{part}.{name} has shape {tuple(tensor.shape)}, not {tuple(wanted[name].shape)}"
        elif tensor.dtype != wanted[name].dtype:
            yield f"{part}.{name} holds {tensor.dtype}, not {wanted[name].dtype}"
        elif name in TABLE[part].blurs and not torch.equal(tensor, tensor[:1].expand_as(tensor)):
            yield f"{part}.{name} blurs its channels differently"


# ----------------------------------------------------------------------------------- ours → release
def to_release(modules: Mapping[str, nn.Module]) -> dict[str, dict[str, Tensor]]:
    """The release's dict of four state dicts from the networks of the three stages.

    Raises:
        CheckpointError: for a network that the released code could not run as it is.
    """
    _refuse_blending(modules["image_generator"])
    return {part: {name: tensor.cpu() for name, tensor in state.items()} for part, state in _named(modules).items()}


def _refuse_blending(module: nn.Module) -> None:
    if isinstance(module, ImageGenerator) and module.generator.blend_source:
        raise CheckpointError(
            "a generator that blends in the portrait cannot be written as a release",
            hint="train with blend_source=false",
        )


def _named(modules: Mapping[str, nn.Module]) -> dict[str, dict[str, Tensor]]:
    return {part: dict(_renamed(part, modules[entry.stage])) for part, entry in TABLE.items()}


def _renamed(part: str, module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    entry = TABLE[part]
    for ours, tensor in module.state_dict().items():
        if ours.startswith(entry.prefix):
            name = release_of(part, ours)
            assert name is not None, f"{ours} is missing from the table of names"
            channels = entry.blurs.get(name)
            yield name, tensor.detach() if channels is None else tensor.detach().repeat(channels, 1, 1, 1)


def check_scale(modules: Mapping[str, nn.Module], config: NetworksConfig, *, source: str) -> None:
    """Make sure that the released code, whose sizes are fixed, can run these networks.

    Raises:
        CheckpointError: naming the first tensor, or else the first setting, that differs from the
            release's.
    """
    hint = "only networks of scale=paper fit the release's code"
    _refuse_blending(modules["image_generator"])
    ours = _named(modules)
    for part, state in _named(_unfilled(NetworksConfig())).items():
        for name, tensor in state.items():
            if name not in ours[part]:
                raise CheckpointError(f"{source} has no {part}.{name}, which the release has", hint=hint)
            if tensor.shape != ours[part][name].shape:
                found = tuple(ours[part][name].shape)
                raise CheckpointError(
                    f"{part}.{name} of {source} has shape {found}, the release's {tuple(tensor.shape)}", hint=hint
                )
        if more := [name for name in ours[part] if name not in state]:
            raise CheckpointError(f"{source} has {part}.{more[0]}, which the release has not", hint=hint)
    for key, found, wanted in _differences(asdict(config), asdict(NetworksConfig()), "networks"):
        raise CheckpointError(f"{source} was made with {key}={found}, the release's is {wanted}", hint=hint)


def _differences(ours: Mapping[str, Any], theirs: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any, Any]]:
    """Settings that matter when a head talks: dotted key, our value, their value."""
    for key, value in ours.items():
        if key in TRAINING_ONLY:
            continue
        if isinstance(value, Mapping):
            yield from _differences(value, theirs[key], f"{prefix}.{key}")
        elif value != theirs[key]:
            yield f"{prefix}.{key}", value, theirs[key]


def write_release(modules: Mapping[str, nn.Module], path: Path) -> Path:
    """Write the release's format, complete or not at all."""
    with atomic_path(path) as temporary:
        torch.save(to_release(modules), temporary)
    return path
