"""Portrait + speech → mp4, with an untrained model; and every input that cannot be used."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from a2h_models.errors import A2HError, ConfigError, InputError
from pipelines import media
from pipelines.config import GenerateCommand, GenerateConfig, LoggerConfig
from pipelines.generate import NOTICE, _is_crop, crop, frames_of, generate, notice, whole


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
        logger=LoggerConfig(),
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
    assert list(video.parent.iterdir()) == [video]


@pytest.mark.slow
def test_the_champion_of_the_registry_talks(portrait: Path, speech: Path, registered: LoggerConfig, tmp_path: Path) -> None:
    order = command(portrait, speech, tmp_path, "models:/audio2head@challenger", still=True, batch_size=5)
    order.logger = registered
    assert b'"model": "models:/audio2head/1"' in generate(order).read_bytes()


def test_speech_is_covered_to_its_end() -> None:
    assert [frames_of(np.zeros(samples)) for samples in (1, 640, 641, 16_000)] == [1, 1, 2, 25]


def test_the_notice_names_model_and_inputs() -> None:
    said = notice("models:/audio2head/3", portrait="aa", speech="bb")
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
    assert crop(square, name="x.png") is square
    with pytest.raises(InputError, match=r"x\.png is not 256×256 pixels"):
        crop(square[:100], name="x.png")


@pytest.mark.parametrize(("samples", "limit"), [(320, 10.0), (32_000, 1.5)])
def test_speech_that_is_too_short_or_too_long(portrait: Path, bundle: Path, tmp_path: Path, samples: int, limit: float) -> None:
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
    assert whole(picture, name="a.png").shape == (256, 256, 3)
    assert np.array_equal(whole(picture[:256, :256], name="a.png"), picture[:256, :256])
    with pytest.raises(InputError, match="512×256"):
        whole(picture[:256], name="a.png")


def test_an_unknown_way_to_cut_is_named() -> None:
    with pytest.raises(ConfigError, match="preprocess=full"):
        _is_crop(GenerateConfig(preprocess="full"))
