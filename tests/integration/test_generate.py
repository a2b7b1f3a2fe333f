"""Portrait + speech → mp4, with an untrained model; and every input that cannot be used."""

import hashlib
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from a2h_models.errors import A2HError, ConfigError, FailedError, InputError, MediaError
from a2h_models.inference.animator import Animator
from pipelines import media
from pipelines.cli.main import main
from pipelines.config import GenerateCommand, GenerateConfig, TrackingConfig
from pipelines.core.files import PART_SUFFIX
from pipelines.inference import (
    NOTICE,
    crop_to_face,
    fit_portrait,
    frame_count,
    generate,
    read_provenance,
    resize_square,
)
from pipelines.inference.driving_pose import load_driving_poses
from pipelines.inference.provenance import GenerationOrigin, is_up_to_date
from pipelines.inference.speech import gate_silence
from tests.paths import ROOT


@pytest.fixture(scope="module")
def made_talker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second of a talker, as a video with sound."""
    from pipelines.synthetic import SceneConfig, make_speaker_videos

    pytest.importorskip("espeakng_loader")
    return Path(
        make_speaker_videos(tmp_path_factory.mktemp("talker"), count=1, seed=0, scene=SceneConfig(seconds=1.0))[0]
    )


@pytest.fixture(scope="module")
def portrait(tmp_path_factory: pytest.TempPathFactory, astronaut: np.ndarray) -> Path:
    path = tmp_path_factory.mktemp("portrait") / "ein Gesicht é.png"
    Image.fromarray(astronaut).save(path)
    return path


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1.01 s in stereo at 44.1 kHz, so that it has to be resampled and does not end with a frame."""
    path = tmp_path_factory.mktemp("speech") / "hallo.wav"
    tone = np.sin(2 * np.pi * 200 * np.arange(44_541) / 44_100) / 2
    soundfile.write(path, np.stack([tone, tone], axis=1), 44_100)
    return path


def command(portrait: Path, speech: Path, out: Path, model: str | Path, **values: object) -> GenerateCommand:
    return GenerateCommand(
        source_image=str(portrait),
        driven_audio=str(speech),
        result_dir=str(out),
        model=str(model),
        generate=GenerateConfig(**values),
        logger=TrackingConfig(),
    )


@pytest.mark.slow
def test_a_head_talks(portrait: Path, speech: Path, bundle: Path, tmp_path: Path) -> None:
    video = generate(command(portrait, speech, tmp_path / "new folder", bundle))
    assert video == tmp_path / "new folder" / "ein Gesicht é__hallo.mp4"
    info = media.probe(video)
    assert (info.video_codec, info.fps, info.width, info.height) == ("h264", 25.0, 64, 64)
    assert info.frames == 26  # 1.01 s need 25.25 frames
    assert info.duration_s == pytest.approx(1.04, abs=0.05)
    assert len(media.read_speech(video)) == pytest.approx(16_160, abs=1100)  # a block of AAC more or less
    assert NOTICE.encode() in video.read_bytes()
    assert read_provenance(video)["model"] == bundle.name
    assert list(video.parent.iterdir()) == [video]


@pytest.mark.slow
def test_the_champion_of_the_registry_talks(
    portrait: Path, speech: Path, registered: TrackingConfig, tmp_path: Path
) -> None:
    order = command(portrait, speech, tmp_path, "models:/audio2head@challenger", still=True, batch_size=5)
    order.logger = registered
    assert b'"model": "models:/audio2head/1"' in generate(order).read_bytes()


def test_speech_is_covered_to_its_end() -> None:
    assert [frame_count(np.zeros(samples)) for samples in (1, 640, 641, 16_000)] == [1, 1, 2, 25]


def test_the_notice_names_model_and_inputs() -> None:
    said = GenerationOrigin(model="models:/audio2head/3", portrait="aa", speech="bb").metadata()
    assert "Synthetic" in said["title"]
    assert json.loads(said["comment"]) == {
        "synthetic": True,
        "model": "models:/audio2head/3",
        "portrait_sha256": "aa",
        "speech_sha256": "bb",
    }


def test_a_portrait_without_a_face(speech: Path, bundle: Path, tmp_path: Path) -> None:
    Image.new("RGB", (300, 200), "green").save(tmp_path / "meadow.png")
    with pytest.raises(InputError, match=r"no face was found in .*meadow\.png"):
        generate(command(tmp_path / "meadow.png", speech, tmp_path, bundle))
    assert not list(tmp_path.glob("*.mp4"))


def test_without_mediapipe_only_a_crop_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    square = np.zeros((256, 256, 3), np.uint8)
    assert crop_to_face(square, name="x.png") is square
    with pytest.raises(InputError, match=r"x\.png is not 256×256 pixels"):
        crop_to_face(square[:100], name="x.png")


@pytest.mark.parametrize(("samples", "limit"), [(320, 10.0), (32_000, 1.5)])
def test_speech_that_is_too_short_or_too_long(
    portrait: Path, bundle: Path, tmp_path: Path, samples: int, limit: float
) -> None:
    soundfile.write(tmp_path / "x.wav", np.ones(samples) / 9, 16_000)
    with pytest.raises(InputError, match=r"x\.wav: .* s of speech; it must be 0\.04 to"):
        generate(command(portrait, tmp_path / "x.wav", tmp_path, bundle, max_speech_s=limit))


@pytest.mark.parametrize("which", ["portrait", "speech", "model"])
def test_what_is_not_there_is_named(portrait: Path, speech: Path, bundle: Path, tmp_path: Path, which: str) -> None:
    inputs = {"portrait": portrait, "speech": speech, "model": bundle} | {which: tmp_path / "nothing here"}
    with pytest.raises(A2HError, match="nothing here"):
        generate(command(inputs["portrait"], inputs["speech"], tmp_path, inputs["model"]))


def test_a_file_that_is_no_sound(portrait: Path, bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "x.wav").write_bytes(b"no sound at all")
    with pytest.raises(A2HError, match=r"x\.wav"):
        generate(command(portrait, tmp_path / "x.wav", tmp_path, bundle))


def test_a_crop_is_taken_whole_and_only_a_square_is_one() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (512, 512, 3), dtype=np.uint8)
    assert resize_square(picture, name="a.png").shape == (256, 256, 3)
    assert np.array_equal(resize_square(picture[:256, :256], name="a.png"), picture[:256, :256])
    with pytest.raises(InputError, match="512×256"):
        resize_square(picture[:256], name="a.png")


def test_an_unknown_way_to_cut_is_named() -> None:
    with pytest.raises(ConfigError, match="preprocess=extfull"):
        fit_portrait(np.zeros((256, 256, 3), np.uint8), GenerateConfig(preprocess="extfull"), name="a.png")


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"format": "avi"}, "format=avi"),
        ({"keypoints": "lazy"}, "keypoints='lazy'"),
        ({"precision": "int4"}, "precision='int4'"),
    ],
)
def test_unknown_words_are_named(
    portrait: Path, speech: Path, bundle: Path, tmp_path: Path, values: dict[str, str], sentence: str
) -> None:
    with pytest.raises(ConfigError, match=sentence):
        generate(command(portrait, speech, tmp_path, bundle, **values))
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["webm", "gif", "frames"])
def test_every_format_says_what_it_is(portrait: Path, speech: Path, bundle: Path, tmp_path: Path, kind: str) -> None:
    made = generate(command(portrait, speech, tmp_path, bundle, format=kind, mark=True))
    said = read_provenance(made)
    assert said["synthetic"] is True
    assert said["model"] == bundle.name
    assert said["portrait_sha256"] == hashlib.sha256(portrait.read_bytes()).hexdigest()
    assert said["speech_sha256"] == hashlib.sha256(speech.read_bytes()).hexdigest()
    if kind == "frames":
        assert len(list(made.glob("*.png"))) == 26
        assert read_provenance(made / "000025.png") == said
        assert len(media.read_speech(made / "speech.wav")) == 16_160
        assert generate(command(portrait, speech, tmp_path, bundle, format=kind)) == made  # another run takes its place
    elif kind == "webm":
        assert (media.probe(made).video_codec, media.probe(made).frames) == ("vp9", 26)
    else:
        with Image.open(made) as picture:
            assert (picture.n_frames, picture.info["duration"], picture.info["loop"]) == (26, 40, 0)
    assert [path.name for path in tmp_path.iterdir()] == [made.name]


@pytest.mark.slow
def test_pasted_back_into_the_picture(
    portrait: Path, astronaut: np.ndarray, speech: Path, bundle: Path, tmp_path: Path
) -> None:
    made = generate(command(portrait, speech, tmp_path, bundle, preprocess="full", format="frames"))
    frame = np.asarray(Image.open(made / "000010.png"))
    assert frame.shape == astronaut.shape
    changed = np.abs(frame.astype(int) - astronaut).max(axis=2) > 0
    rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
    assert 100 < rows[-1] - rows[0] < 230  # the face and its surroundings …
    assert 100 < columns[-1] - columns[0] < 230
    assert np.array_equal(frame[300:], astronaut[300:])  # … and nothing else


@pytest.mark.slow
def test_the_head_follows_poses_from_a_file_and_from_a_video(
    portrait: Path, speech: Path, bundle: Path, tmp_path: Path, made_talker: Path
) -> None:
    np.save(tmp_path / "nod.npy", np.array([[0.1 * n, 0, 0, 20, 30, 280] for n in range(5)], np.float32))
    videos = []
    for number, ref_pose in enumerate(["", str(tmp_path / "nod.npy"), str(made_talker)]):
        order = command(portrait, speech, tmp_path / str(number), bundle, keypoints="absolute")
        order.ref_pose = ref_pose
        videos.append(generate(order))
    assert "pose_sha256" not in read_provenance(videos[0])
    assert read_provenance(videos[1])["pose_sha256"] == hashlib.sha256((tmp_path / "nod.npy").read_bytes()).hexdigest()
    frames = [np.concatenate(list(media.read_clip(video))).astype(int) for video in videos]
    assert all(len(film) == 26 for film in frames)
    assert np.abs(frames[1] - frames[0]).max() > 0
    assert np.abs(frames[2] - frames[1]).max() > 0


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (np.zeros((4, 5)), "shape"),
        (np.zeros((0, 6)), "shape"),
        (np.full((4, 6), np.nan), "finite"),
        (np.array([["a"] * 6]), "numbers"),
        (b"no array", "cannot be read as an array"),
    ],
)
def test_poses_that_are_none(content: np.ndarray | bytes, sentence: str, tmp_path: Path) -> None:
    if isinstance(content, bytes):
        (tmp_path / "x.npy").write_bytes(content)
    else:
        np.save(tmp_path / "x.npy", content)
    with pytest.raises(InputError, match=sentence) as caught:
        next(load_driving_poses(tmp_path / "x.npy", frames=3))
    assert "x.npy" in caught.value.message


def test_reference_poses_go_there_and_back(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(4)[:, None] * np.ones(6))
    got = np.concatenate(list(load_driving_poses(tmp_path / "x.npy", frames=9)))[:, 0]
    assert got.tolist() == [0, 1, 2, 3, 2, 1, 0, 1, 2]


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["silent.wav", "short.wav", "tone.mp3", "tone.m4a", "tone.ogg", "tone.flac", "talker.mp4"]
)
def test_any_speech(portrait: Path, bundle: Path, tmp_path: Path, name: str, made_talker: Path) -> None:
    sounds = {
        "silent.wav": np.zeros(8000),
        "short.wav": np.sin(np.arange(1600) / 9) / 3,
        "talker.mp4": None,
    }
    path, sound = tmp_path / name, sounds.get(name, np.sin(np.arange(11_025) / 9) / 3)
    if sound is None:
        path = made_talker
    elif path.suffix in {".wav", ".flac"}:
        soundfile.write(path, sound, 16_000)
    else:
        soundfile.write(tmp_path / "raw.wav", np.stack([sound] * 2, axis=1), 11_025)
        subprocess.run([media.ffmpeg_path(), "-loglevel", "error", "-i", tmp_path / "raw.wav", path], check=True)
    made = generate(command(portrait, path, tmp_path / "out", bundle))
    assert media.probe(made).frames == frame_count(media.read_speech(path))


def test_the_noise_of_a_silent_line_is_silence() -> None:
    noise = np.random.default_rng(0).integers(-30, 31, 3000).astype(np.int16)
    assert not gate_silence(noise).any()
    assert len(gate_silence(noise)) == 3000
    assert gate_silence(noise * 3) is not noise
    assert np.array_equal(gate_silence(noise * 3), noise * 3)


# ----------------------------------------------------------------------- nothing half, nothing lost
def test_a_run_that_fails_leaves_what_was_there(
    portrait: Path, speech: Path, bundle: Path, tmp_path: Path, monkeypatch
) -> None:
    target = tmp_path / f"{portrait.stem}__{speech.stem}.mp4"
    target.write_bytes(b"the video of yesterday")

    def broken(self: Animator, *_: object, **__: object) -> Iterator[np.ndarray]:
        yield np.zeros((8, 64, 64, 3), np.uint8)
        raise MediaError("the disk of the networks is full")

    monkeypatch.setattr(Animator, "batches", broken)
    with pytest.raises(MediaError, match="the disk of the networks"):
        generate(command(portrait, speech, tmp_path, bundle))
    assert target.read_bytes() == b"the video of yesterday"
    assert list(tmp_path.iterdir()) == [target]


KILLED = """
import os, signal, sys
import numpy as np
from a2h_models.inference.animator import Animator
from pipelines.config import GenerateCommand, GenerateConfig
from pipelines.inference import generate

def batches(self, *inputs, **options):
    for number in range(100):
        if number == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        yield np.zeros((8, 64, 64, 3), np.uint8)

Animator.batches = batches
config = GenerateConfig(preprocess="resize", format=sys.argv[5])
generate(GenerateCommand(source_image=sys.argv[1], driven_audio=sys.argv[2], result_dir=sys.argv[3], model=sys.argv[4], generate=config))
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mp4", "frames"])
def test_killed_half_way(portrait: Path, speech: Path, bundle: Path, tmp_path: Path, kind: str) -> None:
    out = tmp_path / "out"
    words = [sys.executable, "-c", KILLED, portrait, speech, out, bundle, kind]
    assert subprocess.run(words, check=False, cwd=ROOT).returncode == -signal.SIGKILL
    assert all(path.name.endswith(PART_SUFFIX) for path in out.iterdir())


# ------------------------------------------------------------------------------------------ inspect
def test_a_file_that_says_nothing(tmp_path: Path, made_talker: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    for path in (tmp_path / "a.png", made_talker):
        with pytest.raises(FailedError, match="does not say that it is synthetic"):
            read_provenance(path)
    (tmp_path / "empty.mp4").write_bytes(b"")
    for path in (tmp_path / "nothing.mp4", tmp_path / "empty.mp4", tmp_path):
        with pytest.raises(A2HError, match=path.name):
            read_provenance(path)


def test_inspect_prints_what_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    origin = GenerationOrigin(model="models:/audio2head/3", portrait="aa", speech="b=b;#\n\\")
    media.write_video(tmp_path / "x.mp4", iter([np.zeros((2, 16, 16, 3), np.uint8)]), None, metadata=origin.metadata())
    assert main(["inspect", str(tmp_path / "x.mp4")]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert {"synthetic: true", "model: models:/audio2head/3", "portrait_sha256: aa"} <= set(shown)
    assert read_provenance(tmp_path / "x.mp4") == {
        "synthetic": True,
        "model": "models:/audio2head/3",
        "portrait_sha256": "aa",
    } | {"speech_sha256": "b=b;#\n\\"}
    assert is_up_to_date(tmp_path / "x.mp4", origin)
    assert not is_up_to_date(tmp_path / "x.mp4", replace(origin, settings="other"))
    assert not is_up_to_date(tmp_path / "y.mp4", origin)
