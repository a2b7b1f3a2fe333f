"""The animator: one frame per frame of speech, options as documented, bundles checked."""

import itertools
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
import torch

from a2h_models.checkpoints import bundle
from a2h_models.data_types import WINDOW
from a2h_models.errors import CheckpointError, ConfigError, InputError
from a2h_models.features.speech import speech_features
from a2h_models.inference.animator import Animator
from a2h_models.inference.buffer import StreamBuffer
from a2h_models.inference.idle_motion import IdleMotion
from a2h_models.inference.windows import LEAD_IN, STEP, FrameSequences, speech_blocks, with_lead_in
from a2h_models.networks import STAGES, NetworksConfig, build

POSES = np.random.default_rng(5).standard_normal((16, 6)).astype(np.float32)


@pytest.fixture(scope="module")
def animator(narrow_networks: NetworksConfig) -> Animator:
    torch.manual_seed(0)
    return Animator(*(build(stage, narrow_networks) for stage in STAGES), narrow_networks)


@pytest.fixture(scope="module")
def portrait() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)


def speech(frames: int) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((frames, 4, 41)).astype(np.float32)


def film(animator: Animator, portrait: np.ndarray, frames: int, **options: object) -> np.ndarray:
    return np.stack(list(animator.animate(portrait, speech(frames), **options)))


@pytest.mark.parametrize("frames", [1, 40, 64, 101])
def test_as_many_frames_as_speech(animator: Animator, portrait: np.ndarray, frames: int) -> None:
    batches = list(animator.batches(portrait, speech(frames), batch_size=8))
    assert [len(batch) for batch in batches] == [8] * (frames // 8) + [frames % 8] * (frames % 8 > 0)
    assert batches[0].shape[1:] == (64, 64, 3)
    assert batches[0].dtype == np.uint8


def test_no_speech_no_frames(animator: Animator, portrait: np.ndarray) -> None:
    assert list(animator.animate(portrait, speech(0))) == []


def test_batch_size_does_not_matter(animator: Animator, portrait: np.ndarray) -> None:
    one, many = (film(animator, portrait, 20, batch_size=size).astype(int) for size in (1, 8))
    assert np.abs(one - many).max() <= 1


def test_past_the_end_is_silence_and_the_last_pose(animator: Animator, portrait: np.ndarray) -> None:
    """A window's missing frames are zeros with the very last pose: item T of the T + 1, not item T
    − 1.
    """
    short = speech(50)
    pose = animator.predict_pose(portrait, short)
    padded = np.concatenate([short, np.zeros((WINDOW - 50, 4, 41), np.float32)])
    poses = np.concatenate([pose[:50], np.repeat(pose[-1:], WINDOW - 50, axis=0)])
    (got, *_), (wanted, *_) = (
        list(animator.predict_keypoints(portrait, *pair)) for pair in ((short, pose), (padded, poses))
    )
    assert torch.equal(got.value, wanted.value)


def test_predicted_poses(animator: Animator, portrait: np.ndarray) -> None:
    pose = animator.predict_pose(portrait, speech(150))
    assert pose.shape == (151, 6)
    with torch.inference_mode():
        image = torch.from_numpy(portrait).float().permute(2, 0, 1)[None] / 255
        small = torch.nn.functional.interpolate(image, size=(64, 64), mode="area")
        at_once = animator.head_pose(torch.from_numpy(speech(150))[None], small)
    from a2h_models.features.head_pose import denormalise

    assert np.allclose(pose, denormalise(at_once[0]).numpy(), atol=1e-3)


def test_true_poses_drive(animator: Animator, portrait: np.ndarray) -> None:
    predicted = animator.predict_pose(portrait, speech(12))
    assert np.array_equal(film(animator, portrait, 12, pose=predicted), film(animator, portrait, 12))
    turned = np.tile(np.array([0.3, 0.5, 0.4, 100, 100, 300], np.float32), (12, 1))
    assert not np.array_equal(film(animator, portrait, 12, pose=turned), film(animator, portrait, 12))


def test_still_is_pose_scale_zero(animator: Animator, portrait: np.ndarray) -> None:
    assert np.array_equal(film(animator, portrait, 9, still=True), film(animator, portrait, 9, pose_scale=0.0))


def test_relative_keypoints_begin_at_the_portrait(animator: Animator, portrait: np.ndarray) -> None:
    first = film(animator, portrait, 9, keypoints="relative")[0].astype(int)
    encoded = animator.encode(portrait)
    assert np.abs(first - animator.render(encoded, encoded.keypoints)[0]).max() <= 1


def test_it_is_a_stream(animator: Animator, portrait: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first frames come after the first window, however long the speech is."""
    windows: list[int] = []
    original = animator.motion_field.forward
    monkeypatch.setattr(animator.motion_field, "forward", lambda *inputs: windows.append(1) or original(*inputs))
    stream = animator.animate(portrait, speech(10 * STEP))
    next(stream)
    assert len(windows) == 1
    assert not torch.is_inference_mode_enabled()  # the mode must not leak between two frames


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"portrait": np.zeros((256, 256, 3))}, "portrait"),
        ({"speech": np.zeros((4, 41), np.float32)}, "speech"),
        ({"pose": np.zeros((3, 6))}, "poses"),
    ],
)
def test_wrong_arrays_are_refused(
    animator: Animator, portrait: np.ndarray, change: dict[str, np.ndarray], message: str
) -> None:
    inputs = {"portrait": portrait, "speech": speech(8)} | change
    with pytest.raises(InputError, match=message):
        next(animator.animate(**inputs))


def test_an_unknown_way_to_take_keypoints_is_refused(animator: Animator, portrait: np.ndarray) -> None:
    with pytest.raises(ConfigError, match="keypoints='lazy'"):
        next(animator.animate(portrait, speech(8), keypoints="lazy"))


def test_bundle(animator: Animator, portrait: np.ndarray, tmp_path: Path) -> None:
    animator.save(tmp_path)
    again = Animator.load(tmp_path)
    assert again.config == animator.config
    assert np.array_equal(film(again, portrait, 5), film(animator, portrait, 5))
    path = tmp_path / "head_pose.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(CheckpointError, match=r"head_pose\.safetensors is not the file"):
        Animator.load(tmp_path)
    path.unlink()
    with pytest.raises(CheckpointError, match=r"holds no head_pose\.safetensors"):
        Animator.load(tmp_path)


def test_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"holds no bundle\.json"):
        Animator.load(tmp_path)
    (tmp_path / "bundle.json").write_text("{}")
    with pytest.raises(CheckpointError, match="not a bundle of this version"):
        Animator.load(tmp_path)


def test_a_relative_animation_does_not_begin_at_a_windows_border(animator: Animator, portrait: np.ndarray) -> None:
    """Keypoints are worst at the border, and all frames depend on the first: so silence in the
    first pose comes before.
    """
    frames, pose = 40, np.random.default_rng(2).standard_normal((41, 6)).astype(np.float32)
    script = with_lead_in(FrameSequences(StreamBuffer([speech(frames)]), StreamBuffer([pose])))
    heard, held = script.speech.read(0, LEAD_IN + frames), script.pose.read(0, LEAD_IN + frames + 1)
    assert not heard[:LEAD_IN].any()
    np.testing.assert_array_equal(heard[LEAD_IN:], speech(frames))
    np.testing.assert_array_equal(held, np.concatenate([np.repeat(pose[:1], LEAD_IN, axis=0), pose]))
    encoded = animator.encode(portrait)
    longer = torch.cat([some.value for some in animator.predict_keypoints(portrait, heard, held)])
    driving = torch.cat(
        [
            some.value
            for some in animator._driving(
                encoded, FrameSequences(StreamBuffer([speech(frames)]), StreamBuffer([pose])), relative=True
            )
        ]
    )
    moved = longer[LEAD_IN:] - longer[LEAD_IN : LEAD_IN + 1] + encoded.keypoints.value
    torch.testing.assert_close(driving, moved)


# ---------------------------------------------------------------------------- in pieces, in batches
@pytest.mark.parametrize("keypoints", ["absolute", "relative"])
def test_in_pieces_as_at_once(animator: Animator, portrait: np.ndarray, keypoints: str) -> None:
    """Whatever pieces the speech comes in, the frames are the same to the bit."""
    whole = speech(150)
    wanted = np.stack(list(animator.animate(portrait, whole, keypoints=keypoints)))
    pieces = (whole[start:stop] for start, stop in [(0, 1), (1, 1), (1, 70), (70, 101), (101, 150)])
    assert np.array_equal(np.stack(list(animator.animate(portrait, pieces, keypoints=keypoints))), wanted)


def test_poses_may_come_in_pieces(animator: Animator, portrait: np.ndarray) -> None:
    poses = np.random.default_rng(3).standard_normal((80, 6)).astype(np.float32)
    pieces = np.array_split(poses, 7)
    assert np.array_equal(film(animator, portrait, 70, pose=iter(pieces)), film(animator, portrait, 70, pose=poses))


def test_windows_together_as_one_by_one(animator: Animator, portrait: np.ndarray) -> None:
    one, many = (film(animator, portrait, 150, windows=count).astype(int) for count in (1, 3))
    assert np.abs(one - many).max() <= 1


def test_a_wave_is_as_good_as_its_features(animator: Animator, portrait: np.ndarray) -> None:
    wave = np.random.default_rng(4).integers(-999, 999, 20 * 640 - 100).astype(np.int16)
    heard = speech_features(wave, frames=20)
    assert np.array_equal(
        np.stack(list(animator.animate(portrait, wave))), np.stack(list(animator.animate(portrait, heard)))
    )


def test_memory_does_not_grow_with_the_length(animator: Animator, portrait: np.ndarray) -> None:
    """An endless speech: what has been shown is let go of."""
    import tracemalloc

    block = speech(64)
    film_of_hours = animator.batches(
        portrait, itertools.repeat(block), keypoints="relative", batch_size=32, pose=itertools.repeat(POSES)
    )
    for _ in itertools.islice(film_of_hours, 6):
        pass
    tracemalloc.start()
    try:
        for _ in itertools.islice(film_of_hours, 4):
            pass
        before, _ = tracemalloc.get_traced_memory()
        for _ in itertools.islice(film_of_hours, 32):
            pass
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    film_of_hours.close()
    assert after - before < block.nbytes  # 1024 frames later; their features alone are 16 blocks


# -------------------------------------------------------------------------------------- idle motion
def test_a_silent_head_sways_a_little(animator: Animator, portrait: np.ndarray) -> None:
    silence = np.zeros(16_000 * 8, np.int16)
    still, idle = (
        list(animator._poses(animator._image(portrait), speech_blocks(silence), IdleMotion(scale=s, seed=0)))
        for s in (0, 1)
    )
    offset = np.concatenate(idle) - np.concatenate(still)
    assert np.isfinite(offset).all()
    assert 0.2 < np.rad2deg(np.abs(offset[100:, :3]).max()) < 4
    assert np.rad2deg(np.abs(np.diff(offset[:, :3], axis=0)).max()) < 0.5  # a frame: no jumps, also at the start


def test_silence_has_frames(animator: Animator, portrait: np.ndarray) -> None:
    frames = np.stack(list(animator.animate(portrait, np.zeros(3200, np.int16), idle_motion=1.0, keypoints="relative")))
    assert len(frames) == 5


# ---------------------------------------------------------------------------------------- precision
def test_auto_precision_is_what_the_processor_has(animator: Animator, monkeypatch: pytest.MonkeyPatch) -> None:
    auto = Animator(
        animator.image_generator, animator.motion_field, animator.head_pose, animator.config, precision="auto"
    )
    for name, here, wanted in (
        ("avx512_bf16", True, "bf16"),
        ("avx512_bf16", False, "fp32"),
        ("amx_bf16", True, "bf16"),
    ):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda name=name, here=here: {name: here, "avx2": True})
        assert auto.precision == wanted
    assert animator.precision == "fp32"


# ------------------------------------------------------------------------------------------ drawing
def test_a_cpu_draws_with_a_copy_made_once(narrow_networks: NetworksConfig, portrait: np.ndarray) -> None:
    torch.manual_seed(1)
    networks = [build(stage, narrow_networks) for stage in STAGES]
    animator = Animator(*networks, narrow_networks)
    generator, first = animator.image_generator.generator, film(animator, portrait, 5)
    copied = animator._drawer
    assert copied is not generator
    assert copied is animator._drawer
    with torch.no_grad():
        generator.last.bias += 10
    assert np.array_equal(film(animator, portrait, 5), first)
    # made anew from the weights as they are now
    assert not np.array_equal(film(animator.to("cpu"), portrait, 5), first)


def test_what_is_saved_is_the_networks_themselves(animator: Animator, portrait: np.ndarray, tmp_path: Path) -> None:
    fresh = Animator(
        animator.image_generator, animator.motion_field, animator.head_pose, animator.config, precision="bf16"
    )
    fresh.save(tmp_path / "before")
    film(fresh, portrait, 3)
    fresh.save(tmp_path / "after")
    before, after = ((tmp_path / when / "image_generator.safetensors").read_bytes() for when in ("before", "after"))
    assert before == after


# -------------------------------------------------------------------------------------------- names
def test_from_pretrained(
    animator: Animator, portrait: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    animator.save(tmp_path / "a bundle")
    again = Animator.from_pretrained(tmp_path / "a bundle", "cpu", precision="fp32")
    assert np.array_equal(film(again, portrait, 3), film(animator, portrait, 3))
    with pytest.raises(CheckpointError, match=r"nothing .* knows names that begin with gopher:"):
        Animator.from_pretrained("gopher://audio2head")
    with pytest.raises(CheckpointError, match=r"nowhere holds no bundle\.json"):
        Animator.from_pretrained(tmp_path / "nowhere")
    found = EntryPoint("gopher", f"{__name__}:fetched", bundle.FETCHERS)
    monkeypatch.setattr(EntryPoint, "load", lambda _: lambda name: tmp_path / name.partition(":")[2])
    monkeypatch.setattr(
        bundle, "entry_points", lambda *, group, name: [found] if (group, name) == (bundle.FETCHERS, "gopher") else []
    )
    assert Animator.from_pretrained("gopher:a bundle").config == animator.config


def test_what_was_compiled_moves_along(narrow_networks: NetworksConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda render, **_: compiled.append(render.__self__) or render)
    Animator(*(build(stage, narrow_networks) for stage in STAGES), narrow_networks).compile().to("meta")
    assert [generator.last.weight.device.type for generator in compiled] == ["cpu", "meta"]
