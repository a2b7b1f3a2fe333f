"""The page through its real server, as programs use it: requests and answers."""

import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from a2h_models.errors import InputError
from pipelines import inference, media
from pipelines.app.handlers import error_html
from pipelines.cli.main import main
from tests.paths import ROOT

FILE = 3  # which of the endpoint's four answers is the file


@pytest.fixture(scope="module")
def client(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from gradio_client import Client

    connected = Client(
        url, verbose=False, analytics_enabled=False, download_files=str(tmp_path_factory.mktemp("downloads"))
    )
    yield connected
    connected.close()


def generate(client: Any, portrait: Path | None, speech: Path | None, **controls: object) -> Path:
    from gradio_client import handle_file

    files = [handle_file(str(path)) if path else None for path in (portrait, speech)]
    answer = client.predict(*files, **({"pose_file": None} | controls), api_name="/talk")[FILE]
    return Path(answer["value"] if isinstance(answer, dict) else answer)


@pytest.mark.slow
def test_a_request_returns_a_video(client: Any, portrait: Path, speech: Path, app_cache: Path) -> None:
    video = generate(client, portrait, speech, keypoints="absolute", pose="still", pose_scale=0.5)
    assert video.name == "face__hello.mp4"
    info = media.probe(video)
    assert (info.video_codec, info.fps, info.frames, info.has_audio) == ("h264", 25.0, 20, True)
    origin = inference.read_provenance(video)
    assert (origin["synthetic"], origin["model"]) == (True, "models:/audio2head/1")
    assert list(app_cache.rglob("face__hello.mp4"))  # the server's own copy lies in its cache folder


@pytest.mark.slow
def test_every_control_reaches_the_video(
    client: Any, portrait: Path, speech: Path, tmp_path: Path, astronaut: np.ndarray
) -> None:
    from gradio_client import handle_file

    poses = np.tile(np.array([0, 0, 0, 10, 20, 280], np.float32), (5, 1))
    np.save(tmp_path / "poses.npy", poses)
    moved = {
        "pose": "file",
        "pose_file": handle_file(str(tmp_path / "poses.npy")),
        "face": 1,
        "seed": 7,
        "idle_motion": 0.0,
    }
    pictures = generate(client, portrait, speech, preprocess="full", format="frames", mark=True, **moved)
    with zipfile.ZipFile(pictures) as archive:
        archive.extractall(tmp_path / "frames")
    frames = sorted((tmp_path / "frames").glob("*.png"))
    assert len(frames) == 20
    assert media.load_portrait(frames[0]).shape == astronaut.shape  # pasted back into the picture
    assert "pose_sha256" in inference.read_provenance(tmp_path / "frames")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["webm", "gif"])
def test_other_formats(client: Any, portrait: Path, speech: Path, kind: str) -> None:
    assert generate(client, portrait, speech, format=kind).name == f"face__hello.{kind}"


@pytest.mark.slow
def test_bad_portraits_are_reported(client: Any, speech: Path, meadow: Path, portrait: Path, tmp_path: Path) -> None:
    from gradio_client.exceptions import AppError

    with pytest.raises(AppError, match=r"^no face was found in meadow\.png<br>"):
        generate(client, meadow, speech)
    (tmp_path / "words.png").write_text("no picture at all")
    with pytest.raises(AppError, match=r"cannot identify image file .*words\.png"):
        generate(client, tmp_path / "words.png", speech)
    with pytest.raises(AppError, match=r"face\.png shows 1 face"):
        generate(client, portrait, speech, face=5)


@pytest.mark.slow
def test_missing_long_and_unknown_inputs_are_reported(
    client: Any, portrait: Path, speech: Path, tmp_path: Path
) -> None:
    from gradio_client.exceptions import AppError

    with pytest.raises(AppError, match="the speech is missing<br>upload or record it first"):
        generate(client, portrait, None)
    soundfile.write(tmp_path / "long.wav", np.ones(16_000 * 3) / 9, 16_000)
    with pytest.raises(AppError, match=r"^long\.wav: 3\.00 s of speech.*<br>cut it, or raise max_speech_s$"):
        generate(client, portrait, tmp_path / "long.wav")
    with pytest.raises(AppError, match="the head's motion from is missing<br>upload it, or choose another motion"):
        generate(client, portrait, speech, pose="file")
    with pytest.raises(AppError, match="not in the list of choices"):
        generate(client, portrait, speech, model="models:/audio2head/99")


@pytest.mark.slow
def test_a_port_that_is_taken_is_named(
    url: str, app_command: Callable[..., list[str]], app_port: int, tmp_path: Path
) -> None:
    assert url.endswith(f":{app_port}/")
    answer = subprocess.run(app_command(tmp_path), capture_output=True, text=True, check=False, cwd=ROOT)
    assert answer.returncode == 2
    assert f"port {app_port} of 127.0.0.1 cannot be used\n     say port=" in answer.stderr


def test_a_limit_of_nothing_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("gradio")
    assert main(["app", "concurrency=0"]) == 2
    assert "concurrency is 0, and must be ≥ 1" in capsys.readouterr().err


def test_errors_show_the_users_file_names_and_no_markup() -> None:
    error = InputError("/a/b/<i>.png is no picture", hint="give a PNG & smile")
    assert error_html(error, ["/a/b/<i>.png"]) == "&lt;i&gt;.png is no picture<br>give a PNG &amp; smile"


def test_help_needs_no_gradio(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)  # as if it were not installed
    assert main(["--help"]) == 0
    assert "\n  app " in capsys.readouterr().out
    assert main(["app", "--help"]) == 0
